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
from models.files.encodings import FileError, broken, opened, text_of
from models.files.rows import BadRow, Row
from models.files.tables import Format, format_of, lines_of, rows_of_lines
from models.files.targets import COLUMNS, TargetError, targeted
from models.heads import Prediction
from models.json_types import Json, JsonObject
from pipeline.classify.scoring import toward_each
from pipeline.cli.classify.questions import TARGET, Question, QuestionReader
from pipeline.cli.out_file import open_for_writing
from pipeline.cli.progress import progress_bar
from pipeline.cli.terminal import err
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import EXIT_USAGE, Fatal

_WINDOW = 2048
TOWARD_COLUMNS = ("toward", "toward_score", "toward_whole_text")
_SHOWN = 20


def classify_file(
    file: Path,
    out: Path | None,
    classifier: OnnxEngine,
    counting: NegativeDefinition,
    questions: QuestionReader,
    format_: Format | None,
    encoding: str | None,
) -> None:
    """Writes every row with its labels, in the same order, to `out` or to standard output.

    A row with a target gets the sentiment toward it, and with a matcher in `questions` a row gets its subjects. Raises
    `Fatal` at the end where a row could not be read or has no text, and where the file has no rows.
    """
    unlabelled = _Unlabelled(file)
    try:
        with ExitStack() as stack:
            text = stack.enter_context(text_of(stack.enter_context(opened(file)), str(file), encoding))
            lines = lines_of(text, str(file))
            first = list(islice(lines, 1))
            form = format_ or format_of(str(file), first[0] if first else "{")
            rows = unlabelled.rows(rows_of_lines(chain(first, lines), str(file), form))
            target = stack.enter_context(open_for_writing(out)) if out else sys.stdout
            write = _jsonl_writer(target)
            if form in {Format.csv, Format.tsv}:
                added = _added(classifier, counting, by_subject=questions.matcher is not None)
                write = _csv_writer(target, added, "," if form is Format.csv else "\t")
            bar = stack.enter_context(progress_bar())
            task = bar.add_task("rows", total=None)
            while window := list(islice(rows, _WINDOW)):
                asked = [unlabelled.question(row, questions) for row in window]
                read = [question for question in asked if question is not None]
                predictions = iter(classifier.predict([q.text for q in read], [q.mentions for q in read]))
                for row, question in zip(window, asked, strict=True):
                    labels: JsonObject = {}
                    if question is not None:
                        labels = labels_of(next(predictions), question, counting, questions.matcher is not None)
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
                self._report(row)

    def question(self, row: Row, questions: QuestionReader) -> Question | None:
        """What the row asks; None, and a report, for a row without a text or with a target that is not in its text."""
        try:
            question = questions.read(row.values)
        except TargetError as error:
            self._report(BadRow(row.line, str(error)))
            return None
        if question is None:
            found = ", ".join(map(str, list(row.values)[:10]))
            self._report(BadRow(row.line, f"has no text; give --text-field with one of its fields: {found}"))
        else:
            self._labelled += 1
        return question

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

    def _report(self, row: BadRow) -> None:
        self._unread.append(row)
        if len(self._unread) <= _SHOWN:
            err.print(f"{self._file}:{row.line}: {row.reason}", markup=False)


def labels_of(
    prediction: Prediction, question: Question, counting: NegativeDefinition, by_subject: bool = False
) -> JsonObject:
    """`HEAD` and `HEAD_score` of every head, `negative_score`, and what it says of the mentions; scores in [0, 1].

    Of a target these are `toward`, `toward_score` and `toward_whole_text`; `by_subject`, these are `subjects` and the
    list `toward`, as in a document of the index.
    """
    found: dict[str, Json] = {}
    for name in prediction.heads:
        found[name] = prediction.label(name)
        found[f"{name}_score"] = round(prediction.score(name), 4)
    if counting.head in prediction.heads:
        found["negative_score"] = round(counting.score(prediction.meant(counting.head)), 4)
    toward = toward_each(prediction, sorted(question.mentions), counting)
    if by_subject:
        found["subjects"] = list(toward)
        found["toward"] = [
            {
                "subject": subject,
                "label": target.label,
                "score": round(target.score, 4),
                "negative_score": round(target.negative_score, 4),
                "whole_text": target.whole_text,
            }
            for subject, target in toward.items()
        ]
    elif target := toward.get(TARGET):
        found["toward"], found["toward_score"] = target.label, round(target.score, 4)
        found["toward_whole_text"] = target.whole_text
    return found


def _added(classifier: OnnxEngine, counting: NegativeDefinition, *, by_subject: bool) -> list[str]:
    """The columns that a table gets; those of a target only where a row has one."""
    return [
        *(x for h in classifier.heads for x in (h, f"{h}_score")),
        *(["negative_score"] if counting.head in classifier.heads else []),
        *(["subjects", "toward"] if by_subject else []),
    ]


def _jsonl_writer(target: IO[str]) -> Callable[[Row, JsonObject], None]:
    def write(row: Row, labels: JsonObject) -> None:
        line = json.dumps({**row.values, **labels}, ensure_ascii=False)
        # UTF-8 cannot hold a lone surrogate, so it stays escaped.
        target.write((json.dumps({**row.values, **labels}) if broken(line) else line) + "\n")

    return write


def _csv_writer(target: IO[str], added: list[str], delimiter: str) -> Callable[[Row, JsonObject], None]:
    """Writes the columns of the first row, then the labels, then the values that a row has beyond its columns.

    Columns with the place of a target, or words that name it in the first row, get the columns of what the model says
    of it. A list is written as JSON.
    """
    writer = csv.writer(target, delimiter=delimiter)
    names: list[str] = []

    def write(row: Row, labels: JsonObject) -> None:
        if not names:
            toward = TOWARD_COLUMNS if {COLUMNS.start, COLUMNS.end} <= {*row.columns} or targeted(row.values) else ()
            names.extend(dict.fromkeys([*row.columns, *added, *toward]))
            writer.writerow(names)
        made = {
            **row.values,
            **{k: json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for k, v in labels.items()},
        }
        writer.writerow([*(made.get(name, "") for name in names), *row.surplus])

    return write
