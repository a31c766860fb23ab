"""`opinionwatch train`, `evaluate`, `export` and `noise`: they need the extra `train`, which serving does not have."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from models.bundle import MANIFEST, read_bundle
from pipeline.classify.model_provider import bundle_in_service
from pipeline.cli.common import AsJson, err, out, print_json, settings_of
from pipeline.domain.errors import EXIT_CONFIG, EXIT_USAGE, Fatal

Recipe = Annotated[Path | None, typer.Option("--config", help="Recipe (TOML): heads, sources, hyperparameters.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of the files that a recipe names.")]
Data = Annotated[
    list[Path] | None,
    typer.Option("--data", help="Labelled file (JSONL, CSV, Label Studio, doccano, Argilla); more than once."),
]
ForGpu = Annotated[bool, typer.Option("--for-gpu", help="The bundle also gets the graph that a GPU runs.")]
HeadName = Annotated[str, typer.Option("--head", help="Head of labels that name none.")]


class ExportPrecision(StrEnum):
    """Of `export`."""

    fp32 = "fp32"
    fp16 = "fp16"
    fp16_packed = "fp16-packed"


def train(
    data: Data = None,
    config: Recipe = None,
    base: Annotated[
        str | None,
        typer.Option("--base", help="A bundle, a model folder, or a name on the hub (default: the model in service)."),
    ] = None,
    out_dir: Annotated[Path, typer.Option("--out", help="The bundle to write; its work folder resumes.")] = Path(
        "trained"
    ),
    data_dir: DataDir = None,
    head: HeadName = "label",
    name: Annotated[str | None, typer.Option("--name", help="The bundle's name.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="The bundle's version (default: the time).")] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option("--teacher", help="A bundle with the same heads whose labels are learned too; more than once."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="In place of the recipe's.")] = None,
    for_gpu: ForGpu = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tunes and exports a bundle with a report; started again after Ctrl-C, it goes on where it was.

    Example: opinionwatch train --data my.jsonl
    """
    command = training("train")
    request = training("request").Request(
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
    report = refusing(lambda: _with_bar(command, request))
    if as_json:
        print_json(report)
    elif report:
        show_scores(report["after"], report["before"])
        out.print(f"bundle {out_dir}, report {out_dir / 'report.html'}", markup=False)


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    data: Data = None,
    config: Recipe = None,
    data_dir: DataDir = None,
    head: HeadName = "label",
    as_json: AsJson = False,
) -> None:
    """Accuracy, precision, recall and F1 of a bundle on labelled files, per class, in slices, with intervals.

    Example: opinionwatch evaluate models/starter --data labelled.jsonl --head sentiment --json
    """
    if not data and config is None:
        raise Fatal("nothing to evaluate on", "give --data FILE, or --config and --data-dir", EXIT_USAGE)
    read = refusing(lambda: read_bundle(bundle, settings_of(None).model.trusted_keys))
    found = refusing(lambda: training("train").evaluate(read, data or (), head, config, data_dir))
    if as_json:
        print_json(found)
    else:
        show_scores(found, {})


def export(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    out_dir: Annotated[Path, typer.Option("--out", help="The bundle to write.")],
    precision: Annotated[
        ExportPrecision | None, typer.Option("--precision", help="Of a bundle with this graph alone (default: fp32).")
    ] = None,
    for_gpu: ForGpu = False,
) -> None:
    """The same model in fp32, which int8 is compared with; in fp16; or as it is, with what a GPU runs beside it.

    Example: opinionwatch export models/starter --out starter-gpu --for-gpu
    """
    if for_gpu and precision:
        raise Fatal(
            "--for-gpu and --precision", "take one: --for-gpu adds a graph, --precision replaces it", EXIT_USAGE
        )
    command = training("train")
    if for_gpu:
        refusing(lambda: command.export_for_gpu(bundle, out_dir))
    else:
        refusing(lambda: command.export(bundle, out_dir, (precision or ExportPrecision.fp32).value))
    out.print(f"bundle {out_dir}", markup=False)


def noise(
    data: Data = None,
    head: HeadName = "label",
    limit: Annotated[int, typer.Option("--limit", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """Labels that look wrong, the most suspect first: a list to review before training.

    Example: opinionwatch noise --data my.jsonl --limit 20
    """
    if not data:
        raise Fatal("no file given", "give --data FILE", EXIT_USAGE)
    rows = refusing(lambda: training("train").label_error_report(data, head, limit))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        text = " ".join(row["text"].split())[:70]
        out.print(f"{row['margin']:.2f}  {row['head']}: {row['given']} -> {row['suggested']}  {text}", markup=False)
    if not rows:
        out.print("no label looks wrong")


def _base(given: str | None) -> str:
    """What to start from: where keys are trusted, a bundle that none of them signed is refused."""
    model = settings_of(None).model
    if given is None:
        return str(bundle_in_service(model))
    if (Path(given) / MANIFEST).exists():
        refusing(lambda: read_bundle(Path(given), model.trusted_keys))
    return given


def training(name: str) -> Any:
    """A module of `training`; raises `Fatal` where the extra is not installed."""
    try:
        return import_module(f"training.{name}")
    except ImportError as error:
        raise Fatal(f"training needs {error.name}", "pip install 'opinionwatch[train]' (5 GB)", EXIT_CONFIG) from None


def refusing(call: Any) -> Any:
    """Runs `call`; what training refuses becomes a `Fatal`: a file of rows is a matter of usage."""
    config = training("config")
    try:
        return call()
    except config.TrainingDataError as error:
        raise Fatal(str(error), "", EXIT_USAGE) from None
    except (config.TrainingConfigError, import_module("models.bundle").BundleError) as error:
        raise Fatal(str(error), "", EXIT_CONFIG) from None


def _with_bar(command: Any, request: Any) -> Any:
    with ExitStack() as stack:
        if not err.is_terminal:
            return command.train(request, lambda line: err.print(line, markup=False))
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        bar = stack.enter_context(Progress(*columns, TimeRemainingColumn(), console=err))
        task = bar.add_task("training", total=None)

        def tell(p: Any) -> None:
            bar.update(
                task, total=p.steps, completed=p.step, description=f"loss {p.loss:.3f}, {p.rows_per_s:.0f} rows/s"
            )

        return command.train(request, lambda line: bar.console.print(line, markup=False), tell)


def show_scores(after: dict[str, Any], before: dict[str, Any]) -> None:
    """A line per set and head."""
    for key, row in after.items():
        low, high = row["interval"]["accuracy"]
        old = f", before {before[key]['accuracy']:.3f} and {before[key]['macro_f1']:.3f}" if key in before else ""
        out.print(
            f"{key:40} accuracy {row['accuracy']:.3f} ({low:.3f} to {high:.3f})  "
            f"precision {row['macro_precision']:.3f}  recall {row['macro_recall']:.3f}  "
            f"macro F1 {row['macro_f1']:.3f}{old}  {row['rows']} rows",
            markup=False,
        )
