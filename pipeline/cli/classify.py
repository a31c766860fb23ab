"""`opinionwatch classify`: labels a file offline, same rows, same order."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.progress import Progress

from models.files.columns import text_fields
from models.files.encodings import FileError, broken, opened, text_of
from models.files.rows import BadRow, Row
from models.files.tables import Format, format_of, lines_of, rows_of_lines
from models.heads import Prediction
from models.text import full_text
from pipeline.classify.model_provider import open_classifier
from pipeline.cli.common import Config, err, settings_of
from pipeline.cli.out_file import written
from pipeline.domain.errors import EXIT_USAGE, Fatal

_WINDOW = 2048
_SHOWN = 20


def classify(
    file: Annotated[
        Path, typer.Argument(help="JSONL, JSON or CSV with a text (and a title), in any encoding; - reads stdin.")
    ],
    model: Annotated[Path | None, typer.Option("--model", help="A bundle (default: model.bundle).")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write (default: standard output).")] = None,
    text_field: Annotated[str | None, typer.Option("--text-field", help="The column that is the text.")] = None,
    format_: Annotated[Format | None, typer.Option("--format", help="In place of what the content says.")] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="In place of what the content says.")] = None,
    config: Config = None,
) -> None:
    """Adds topic, sentiment and their scores to every row of a file; a row without a field of text stays as it is.

    Example: opinionwatch classify posts.jsonl --out labelled.jsonl
    """
    settings = settings_of(config, model__bundle=str(model) if model else None)
    classifier = open_classifier(settings.model)
    head, negative = settings.alerts.head, settings.alerts.negative
    told = _Told(file)
    try:
        with ExitStack() as stack:
            text = stack.enter_context(text_of(stack.enter_context(opened(file)), str(file), encoding))
            lines = lines_of(text, str(file))
            first = list(islice(lines, 1))
            form = format_ or format_of(str(file), first[0] if first else "{")
            rows = told.rows(rows_of_lines(chain(first, lines), str(file), form))
            target = stack.enter_context(written(out)) if out else sys.stdout
            added = [
                *(x for h in classifier.heads for x in (h, f"{h}_score")),
                *(["negative_score"] if head in classifier.heads else []),
            ]
            write = _jsonl_writer(target)
            if form in {Format.csv, Format.tsv}:
                write = _csv_writer(target, added, "," if form is Format.csv else "\t")
            bar = stack.enter_context(Progress(console=err, transient=True, disable=not err.is_terminal))
            task = bar.add_task("rows", total=None)
            while window := list(islice(rows, _WINDOW)):
                texts = [_text(row.values, text_field) for row in window]
                found = iter(classifier.predict([x for x in texts if x is not None]))
                for row, said in zip(window, texts, strict=True):
                    labels = {} if said is None else labels_of(next(found), head, negative)
                    told.count(row, labels)
                    write(row, labels)
                bar.update(task, advance=len(window))
    except FileError as error:
        raise Fatal(error.problem, error.remedy, EXIT_USAGE) from None
    told.end()


class _Told:
    """What is said of rows that got no labels."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._labelled = 0
        self._unread: list[BadRow] = []

    def rows(self, rows: Iterator[Row | BadRow]) -> Iterator[Row]:
        """Those that can be read; the others are named."""
        for row in rows:
            if isinstance(row, Row):
                yield row
            else:
                self._unread.append(row)
                self._say(row.line, row.reason, len(self._unread))

    def count(self, row: Row, labels: dict[str, Any]) -> None:
        """Takes note of a written row; one without labels is named."""
        if labels:
            self._labelled += 1
        else:
            self._unread.append(BadRow(row.line, "has no text"))
            found = ", ".join(map(str, list(row.values)[:10]))
            self._say(row.line, f"has no text; --text-field names it, the fields are: {found}", len(self._unread))

    def _say(self, line: int, problem: str, number: int) -> None:
        if number <= _SHOWN:
            err.print(f"{self._file}:{line}: {problem}", markup=False)

    def end(self) -> None:
        """Raises `Fatal` where a row could not be read, or none was labelled."""
        if self._unread:
            lines = ", ".join(str(x.line) for x in self._unread[:5])
            raise Fatal(
                f"{self._file}: {len(self._unread)} rows could not be labelled (line {lines}), {self._labelled} were",
                "correct these lines",
                EXIT_USAGE,
            )
        if not self._labelled:
            raise Fatal(
                f"{self._file}: no row could be labelled, the file holds none", "give a file with rows", EXIT_USAGE
            )


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


def _text(row: dict[str, Any], text_field: str | None) -> str | None:
    """Title and text as the classifier reads them; None where a row has a field of neither."""
    text_column, title_column = text_fields(row, text_field)
    if not (text_column or title_column):
        return None
    title, text = row.get(title_column), row.get(text_column)
    title, text = (x if x.strip() else "" for x in map(_as_text, (title, text)))
    return full_text(title, text)


def _as_text(value: Any) -> str:
    """A text without half characters, which no tokenizer takes, or a number as one; "" for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _jsonl_writer(target: IO[str]) -> Callable[[Row, dict[str, Any]], None]:
    def write(row: Row, labels: dict[str, Any]) -> None:
        line = json.dumps({**row.values, **labels}, ensure_ascii=False)
        # Half a character has no place in UTF-8: it stays escaped.
        target.write((json.dumps({**row.values, **labels}) if broken(line) else line) + "\n")

    return write


def _csv_writer(target: IO[str], added: list[str], delimiter: str) -> Callable[[Row, dict[str, Any]], None]:
    """Writes the columns of the first row, then the labels; what a row has beyond its columns comes last."""
    writer = csv.writer(target, delimiter=delimiter)
    names: list[str] = []

    def write(row: Row, labels: dict[str, Any]) -> None:
        if not names:
            names.extend(dict.fromkeys([*row.columns, *added]))
            writer.writerow(names)
        made = {**row.values, **labels}
        writer.writerow([*(made.get(name, "") for name in names), *row.surplus])

    return write
