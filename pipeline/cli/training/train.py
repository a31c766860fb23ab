"""`opinionwatch train`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import AsJson, settings_of
from pipeline.cli.presenter import Presenter
from pipeline.cli.terminal import err
from pipeline.cli.training.extra import extra_train, refusing
from pipeline.cli.training.options import Data, DataDir, ForGpu, HeadName, Recipe
from pipeline.cli.training.scores import score_lines

if TYPE_CHECKING:
    from training.progress import Progress
    from training.request import Request


def train(
    data: Data = None,
    config: Recipe = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", help="Start from a bundle, a model folder, or a name on the hub (default: the model in service)."
        ),
    ] = None,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Write the bundle to this folder; OUT.work lets a stopped run continue.")
    ] = Path("trained"),
    data_dir: DataDir = None,
    head: HeadName = "label",
    name: Annotated[str | None, typer.Option("--name", help="Give the bundle this name.")] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Give the bundle this version (default: the time).")
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option("--teacher", help="Learn also from the labels of this bundle with the same heads. Repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Use this seed instead of the recipe's.")] = None,
    for_gpu: ForGpu = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a model and write a bundle with a report; after Ctrl-C the same command continues the run.

    Example: opinionwatch train --data my.jsonl
    """
    with extra_train():
        from training.request import Request

    request = Request(
        out=out_dir,
        base=_base(base),
        version=version or f"{datetime.now(UTC):%Y%m%d.%H%M}",
        config=config,
        data=tuple(data or ()),
        data_dir=data_dir,
        head=head,
        name=name,
        teachers=tuple(teacher or ()),
        for_gpu=for_gpu,
        seed=seed,
    )
    report = refusing(lambda: _train(request))
    show = Presenter(as_json)
    # Only the first process of a process group has a report.
    if as_json or report:
        show.show(report, _lines(report, out_dir))


def _lines(report: dict[str, Any], out_dir: Path) -> Iterator[str]:
    yield from score_lines(report["after"], report["before"])
    yield f"bundle {out_dir}, report {out_dir / 'report.html'}"


def _base(given: str | None) -> str:
    """The model to start from; raises `Fatal` for a bundle that no trusted key signed, where keys are trusted."""
    from models.bundle import MANIFEST, read_bundle
    from pipeline.classify.model_provider import bundle_in_service

    model = settings_of(None).model
    if given is None:
        return str(bundle_in_service(model))
    if (Path(given) / MANIFEST).exists():
        refusing(lambda: read_bundle(Path(given), model.trusted_keys))
    return given


def _train(request: Request) -> dict[str, Any]:
    """Trains with a progress bar on a terminal, and with lines elsewhere."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    with extra_train():
        from training.train import train as run

    if not err.is_terminal:
        return run(request, lambda line: err.print(line, markup=False))
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Bars(*columns, TimeRemainingColumn(), console=err) as bar:
        task = bar.add_task("training", total=None)

        def report(progress: Progress) -> None:
            description = f"loss {progress.loss:.3f}, {progress.rows_per_s:.0f} rows/s"
            bar.update(task, total=progress.steps, completed=progress.step, description=description)

        return run(request, lambda line: bar.console.print(line, markup=False), report)
