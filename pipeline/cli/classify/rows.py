"""Labels the rows of a file: the same rows in the same order."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import IO

from models.engine import OnnxEngine
from models.files.columns import text_fields
from models.files.encodings import FileError, broken, opened, text_of
from models.files.rows import BadRow, Row
from models.files.tables import Format, format_of, lines_of, rows_of_lines
from models.heads import Prediction
from models.json_types import JsonObject
from models.text import full_text
from pipeline.cli.out_file import open_for_writing
from pipeline.cli.progress import progress_bar
from pipeline.cli.terminal import err
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.settings import AlertSettings

_WINDOW = 2048
_SHOWN = 20


def classify_file(
    file: Path,
    out: Path | None,
    classifier: OnnxEngine,
    alerts: AlertSettings,
    text_field: str | None,
    format_: Format | None,
    encoding: str | None,
) -> None:
    """Writes every row with its labels, in the same order, to `out` or to standard output.

    Raises `Fatal` at the end where a row could not be read or has no text, and where the file has no rows.
    """
    counting = alerts.counting
    unlabelled = _Unlabelled(file)
    try:
        with ExitStack() as stack:
            text = stack.enter_context(text_of(stack.enter_context(opened(file)), str(file), encoding))
            lines = lines_of(text, str(file))
            first = list(islice(lines, 1))
            form = format_ or format_of(str(file), first[0] if first else "{")
            rows = unlabelled.rows(rows_of_lines(chain(first, lines), str(file), form))
            target = stack.enter_context(open_for_writing(out)) if out else sys.stdout
            added = [
                *(x for h in classifier.heads for x in (h, f"{h}_score")),
                *(["negative_score"] if counting.head in classifier.heads else []),
            ]
            write = _jsonl_writer(target)
            if form in {Format.csv, Format.tsv}:
                write = _csv_writer(target, added, "," if form is Format.csv else "\t")
            bar = stack.enter_context(progress_bar())
            task = bar.add_task("rows", total=None)
            while window := list(islice(rows, _WINDOW)):
                texts = [_text(row.values, text_field) for row in window]
                predictions = iter(classifier.predict([x for x in texts if x is not None]))
                for row, read in zip(window, texts, strict=True):
                    labels = {} if read is None else labels_of(next(predictions), counting)
                    unlabelled.count(row, labels)
                    write(row, labels)
                bar.update(task, advance=len(window))
    except FileError as error:
        raise Fatal(error.problem, error.remedy, EXIT_USAGE) from None
    unlabelled.verify()


class _Unlabelled:
    """Reports rows that get no labels on standard error, the first ones by line."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._labelled = 0
        self._unread: list[BadRow] = []

    def rows(self, rows: Iterator[Row | BadRow]) -> Iterator[Row]:
        """The rows that can be read; it reports all others."""
        for row in rows:
            if isinstance(row, Row):
                yield row
            else:
                self._unread.append(row)
                self._report(row.line, row.reason)

    def count(self, row: Row, labels: JsonObject) -> None:
        """Counts a written row, and reports one without labels."""
        if labels:
            self._labelled += 1
        else:
            self._unread.append(BadRow(row.line, "has no text"))
            found = ", ".join(map(str, list(row.values)[:10]))
            self._report(row.line, f"has no text; give --text-field with one of its fields: {found}")

    def verify(self) -> None:
        """Raises `Fatal` where a row could not be labelled, or where there was none."""
        if self._unread:
            lines = ", ".join(str(x.line) for x in self._unread[:5])
            raise Fatal(
                f"{self._file}: {len(self._unread)} rows could not be labelled (line {lines}), {self._labelled} were",
                "correct these lines",
                EXIT_USAGE,
            )
        if not self._labelled:
            raise Fatal(
                f"{self._file}: no row could be labelled, because the file holds none",
                "give a file with rows",
                EXIT_USAGE,
            )

    def _report(self, line: int, problem: str) -> None:
        if len(self._unread) <= _SHOWN:
            err.print(f"{self._file}:{line}: {problem}", markup=False)


def labels_of(prediction: Prediction, counting: NegativeDefinition) -> JsonObject:
    """`HEAD` and `HEAD_score` of every head, and `negative_score`; scores in [0, 1]."""
    found: JsonObject = {}
    for name in prediction.heads:
        found[name] = prediction.label(name)
        found[f"{name}_score"] = round(prediction.score(name), 4)
    if counting.head in prediction.heads:
        found["negative_score"] = round(counting.score(prediction.meant(counting.head)), 4)
    return found


def _text(row: JsonObject, text_field: str | None) -> str | None:
    """Title and text as the classifier reads them; None where a row has neither field."""
    text_column, title_column = text_fields(row, text_field)
    if not (text_column or title_column):
        return None
    title, text = row.get(title_column), row.get(text_column)
    title, text = (x if x.strip() else "" for x in map(_as_text, (title, text)))
    return full_text(title, text)


def _as_text(value: object) -> str:
    """A text, or a number as text, without lone surrogates, which no tokenizer accepts; "" for any other value."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _jsonl_writer(target: IO[str]) -> Callable[[Row, JsonObject], None]:
    def write(row: Row, labels: JsonObject) -> None:
        line = json.dumps({**row.values, **labels}, ensure_ascii=False)
        # UTF-8 cannot hold a lone surrogate, so it stays escaped.
        target.write((json.dumps({**row.values, **labels}) if broken(line) else line) + "\n")

    return write


def _csv_writer(target: IO[str], added: list[str], delimiter: str) -> Callable[[Row, JsonObject], None]:
    """Writes the columns of the first row, then the labels, then the values that a row has beyond its columns."""
    writer = csv.writer(target, delimiter=delimiter)
    names: list[str] = []

    def write(row: Row, labels: JsonObject) -> None:
        if not names:
            names.extend(dict.fromkeys([*row.columns, *added]))
            writer.writerow(names)
        made = {**row.values, **labels}
        writer.writerow([*(made.get(name, "") for name in names), *row.surplus])

    return write
