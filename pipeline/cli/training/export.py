"""`opinionwatch export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.presenter import Presenter
from pipeline.cli.training.extra import extra_train, refusing
from pipeline.cli.training.options import ForGpu
from pipeline.domain.errors import EXIT_USAGE, Fatal


class Precision(StrEnum):
    """The precision of an exported graph."""

    fp32 = "fp32"
    fp16 = "fp16"
    fp16_packed = "fp16-packed"


def export(
    bundle: Annotated[Path, typer.Argument(help="The folder of a bundle.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Write the bundle to this folder.")],
    precision: Annotated[
        Precision | None, typer.Option("--precision", help="Write the graph in this precision only (default: fp32).")
    ] = None,
    for_gpu: ForGpu = False,
) -> None:
    """Write the same model in fp32 or fp16, or unchanged with a second graph for a GPU.

    Example: opinionwatch export models/starter --out starter-gpu --for-gpu
    """
    if for_gpu and precision:
        raise Fatal(
            "--for-gpu and --precision exclude each other",
            "give one of them: --for-gpu adds a graph, --precision replaces it",
            EXIT_USAGE,
        )
    with extra_train():
        from training.train import export as export_in
        from training.train import export_for_gpu

    if for_gpu:
        refusing(lambda: export_for_gpu(bundle, out_dir))
    else:
        refusing(lambda: export_in(bundle, out_dir, (precision or Precision.fp32).value))
    Presenter().line(f"bundle {out_dir}")
