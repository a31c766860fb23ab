"""The processes of one training: several where torchrun started them, else one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from training.devices import default_device


@dataclass(frozen=True)
class ProcessGroup:
    """The position `rank` of this process among `size` processes; the process of rank 0 writes files and reports."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=default_device)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wait_for_all(self) -> None:
        """Returns when every process of the group has called it."""
        if self.size > 1:
            torch.distributed.barrier()

    def wrap(self, model: nn.Module) -> Callable[..., Tensor]:
        """The model, with its gradients averaged over all processes."""
        if self.size == 1:
            return model
        devices = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=devices, find_unused_parameters=True)


def join_process_group() -> ProcessGroup:
    """Joins the group of processes that torchrun started; a group of one without torchrun."""
    distributed = torch.distributed
    if not distributed.is_torchelastic_launched():
        return ProcessGroup()
    cuda = torch.cuda.is_available()
    distributed.init_process_group("nccl" if cuda else "gloo")
    device = torch.device("cuda", distributed.get_node_local_rank()) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    return ProcessGroup(distributed.get_rank(), distributed.get_world_size(), device)
