"""The device that training runs on, and whether it multiplies bf16 in hardware."""

from __future__ import annotations

import torch
from torch import nn


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def bf16_pays(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware; elsewhere oneDNN emulates it, 80 times slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001
