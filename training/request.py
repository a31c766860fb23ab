"""What the command line asks of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """The arguments of `opinionwatch train`.

    `data` are labelled files, `data_dir` is the folder of the files that a recipe names, and `teachers` are bundles
    with the same heads. With `for_gpu`, the bundle also gets the graph that a GPU runs. `seed` overrides the recipe's.
    """

    out: Path
    base: str
    version: str
    config: Path | None = None
    data: tuple[Path, ...] = ()
    data_dir: Path | None = None
    head: str = "label"
    name: str | None = None
    teachers: tuple[Path, ...] = ()
    for_gpu: bool = False
    seed: int | None = None

    @property
    def work(self) -> Path:
        """The folder of checkpoints and intermediate files, from which a killed training resumes."""
        return self.out.with_name(self.out.name + ".work")
