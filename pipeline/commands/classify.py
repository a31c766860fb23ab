"""`opinionwatch classify`: labels a file offline, same rows, same order."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.progress import Progress

from models.labels import Prediction
from pipeline.classifier import open_classifier
from pipeline.commands.common import Config, err, settings_of
from pipeline.errors import EXIT_USAGE, Fatal

_WINDOW = 2048


def classify(
    file: Annotated[
        Path, typer.Argument(help="JSONL with `text` (and `title`), or CSV with those columns; - reads JSONL.")
    ],
    model: Annotated[Path | None, typer.Option("--model", help="A bundle (default: model.bundle).")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write (default: standard output).")] = None,
    config: Config = None,
) -> None:
    """Adds topic, sentiment and their scores to every row of a file.

    Example: opinionwatch classify posts.jsonl --out labelled.jsonl
    """
    settings = settings_of(config, model__bundle=str(model) if model else None)
    as_csv = file.suffix.lower() == ".csv"
    classifier = open_classifier(settings.model)
    head, negative = settings.alerts.head, settings.alerts.negative
    with ExitStack() as stack:
        source = _opened(file, stack)
        rows = _csv_rows(source, file) if as_csv else _jsonl_rows(source, file)
        target = stack.enter_context(out.open("w", encoding="utf-8", newline="")) if out else sys.stdout
        writer: Any = None
        bar = stack.enter_context(Progress(console=err, transient=True, disable=not err.is_terminal))
        task = bar.add_task("rows", total=None)
        while window := list(islice(rows, _WINDOW)):
            predictions = classifier.predict([_text(row) for row in window])
            for row, prediction in zip(window, predictions, strict=True):
                labelled = {**row, **labels_of(prediction, head, negative)}
                if as_csv:
                    writer = writer or _csv_writer(target, labelled)
                    writer.writerow(labelled)
                else:
                    target.write(json.dumps(labelled, ensure_ascii=False) + "\n")
            bar.update(task, advance=len(window))


def labels_of(prediction: Prediction, head: str, negative: list[str]) -> dict[str, Any]:
    """`HEAD` and `HEAD_score` of every head, and `negative_score`; scores in [0, 1]."""
    found: dict[str, Any] = {}
    for name in prediction.heads:
        found[name] = prediction.label(name)
        found[f"{name}_score"] = round(prediction.score(name), 4)
    if head in prediction.heads:
        probabilities = prediction.probabilities(head)
        found["negative_score"] = round(min(1.0, sum(probabilities.get(n, 0.0) for n in negative)), 4)
    return found


def _opened(file: Path, stack: ExitStack) -> IO[str]:
    if str(file) == "-":
        return sys.stdin
    try:
        return stack.enter_context(file.open(encoding="utf-8-sig", newline=""))
    except OSError as error:
        raise Fatal(f"{file}: {error.strerror}", "give a JSONL or CSV file", EXIT_USAGE) from None


def _jsonl_rows(source: IO[str], file: Path) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        for number, line in enumerate(source, 1):
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("text", row.get("title")), str):
                raise Fatal(f"{file}:{number}: needs an object with a string field 'text'", "mend the line", EXIT_USAGE)
            yield row
    except UnicodeDecodeError:
        raise Fatal(f"{file}:{number + 1}: is not UTF-8", "convert the file to UTF-8", EXIT_USAGE) from None
    except json.JSONDecodeError as error:
        raise Fatal(f"{file}:{number}: is not JSON ({error.msg})", "write one object a line", EXIT_USAGE) from None


def _csv_rows(source: IO[str], file: Path) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(source)
    if not {"text", "title"} & set(reader.fieldnames or ()):
        raise Fatal(f"{file}:1: has no column 'text'", "name the column of the posts 'text'", EXIT_USAGE)
    for number, row in enumerate(reader, 2):
        if None in row:
            raise Fatal(f"{file}:{number}: has more values than columns", "quote commas in the text", EXIT_USAGE)
        yield row


def _text(row: dict[str, Any]) -> str:
    title, text = row.get("title") or "", row.get("text") or ""
    return f"{title}\n{text}" if isinstance(title, str) and title and text else str(text or title)


def _csv_writer(target: IO[str], row: dict[str, Any]) -> Any:
    writer = csv.DictWriter(target, list(row))
    writer.writeheader()
    return writer
