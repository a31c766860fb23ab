"""Reads labelled texts from JSONL, JSON, CSV, and from exports of Label Studio, doccano, Argilla and Prodigy.

One row may label several heads. A row that cannot be read becomes a `Problem` with its place and the reason; the other
rows are still read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from models.files.annotation_tools import Answer, BadRecordError, answers_of
from models.files.columns import plain, text_fields
from models.files.encodings import FileError, broken
from models.files.rows import BadRow
from models.files.tables import read_table
from models.files.targets import TargetAbsentError, TargetError, span_of
from models.heads import TOWARD
from models.json_types import JsonObject
from models.text import full_text

#: The `source` of a retraining's rows: annotations by people, and posts with the champion's labels.
PEOPLE, REHEARSAL = "labels", "rehearsal"
#: A column whose distinct values exceed this share of its rows does not hold classes.
_MOST_CLASSES = 0.5
_FEW_ROWS = 8
_NUMBER_OR_TIME = re.compile(r"-?\d+[.:/-]\d.*")


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and its classes by head; `at` is the time of the annotation as written, `place` is `file:line`.

    A class of the head `toward` is about the `subject`. `mention` is where `full_text` names it, and None where the row
    does not say and the text does not contain its words.
    """

    text: str
    labels: dict[str, str]
    place: str
    id: str = ""
    title: str = ""
    source: str = ""
    lang: str = ""
    annotator: str = ""
    at: str = ""
    suggested: dict[str, str] = field(default_factory=dict)
    subject: str = ""
    mention: tuple[int, int] | None = None

    @property
    def full_text(self) -> str:
        """Title and text as the classifier reads them."""
        return full_text(self.title, self.text)

    @property
    def instant(self) -> float:
        """The time of the annotation in seconds since 1970; minus infinity without a time."""
        try:
            at = datetime.fromisoformat(self.at)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return _epoch(self.at)


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that could not be read, and its place; `structural` where the syntax of the file is broken."""

    place: str
    reason: str
    structural: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The content of one file; `unknown` lists the columns that are neither heads nor about the text."""

    rows: list[LabelledText]
    problems: list[Problem]
    unknown: list[str]


class LabelFileError(ValueError):
    """No row of the file can be read; the message names the file, the reason and the remedy."""


def read_labelled(
    path: Path, head: str = "label", classes: Mapping[str, Sequence[str]] | None = None
) -> tuple[list[LabelledText], list[Problem]]:
    """Yields the rows and the problems of one file; see `read_label_file`."""
    found = read_label_file(path, head, classes)
    return found.rows, found.problems


def read_label_file(
    path: Path,
    head: str = "label",
    classes: Mapping[str, Sequence[str]] | None = None,
    text_field: str | None = None,
    encoding: str | None = None,
) -> LabelFile:
    """Reads one file and detects its format from its content.

    `head` is the head of labels that name none (a column `label`, doccano, Argilla 1, Prodigy). With `classes`, only
    columns that are heads of it count, and heads and labels that differ only in case take its spelling. `text_field`
    names the field of the text instead of the known names.
    """
    rows: list[tuple[LabelledText, bool]] = []
    problems: list[Problem] = []
    try:
        for row in read_table(path, encoding):
            place = f"{path.name}:{row.line}"
            if isinstance(row, BadRow):
                problems.append(Problem(place, row.reason, row.structural))
                continue
            try:
                if row.surplus:
                    raise BadRecordError("more values than columns; quote the commas in the text")
                found = [
                    (_made(a, place, text_field), a.columns)
                    for a in answers_of(_stated(row.values), head, classes or ())
                ]
                if not any(r.labels for r, _ in found):
                    raise BadRecordError("has no label: add a column or field besides the text, or an annotation")
                rows += [(r, columns) for r, columns in found if r.labels]
            except BadRecordError as error:
                problems.append(Problem(place, str(error)))
    except FileError as error:
        raise LabelFileError(str(error)) from None
    heads = {plain(h): h for h in classes} if classes else None
    unknown = _no_heads([r for r, columns in rows if columns], heads)
    kept: list[LabelledText] = []
    for labelled, columns in rows:
        labels = {h: x for h, x in labelled.labels.items() if not columns or h not in unknown}
        if labels:
            kept.append(replace(labelled, labels=labels))
        else:
            problems.append(
                Problem(labelled.place, f"has no column of a head ({', '.join(classes or ())}), and no 'label'")
            )
    return LabelFile(folded(kept, classes or {}), problems, sorted(unknown))


def _stated(values: JsonObject) -> JsonObject:
    """The row without its empty columns."""
    return {k: v for k, v in values.items() if v is not None and v != ""}


def _made(answer: Answer, place: str, text_field: str | None) -> LabelledText:
    about, subject = answer.about, ""
    if TOWARD in map(plain, answer.labels):
        # Elsewhere a column "subject" holds a title.
        subject = str(about.get("subject") or about.get("target") or "")
        answer = replace(answer, about={k: v for k, v in about.items() if plain(k) != "subject"})
    text_column, title_column = _texts(answer, text_field)
    text, title = about.get(text_column) or "", about.get(title_column) or ""
    if not isinstance(text, str) or not isinstance(title, str):
        raise BadRecordError(f"field {text_column!r} is not a text")
    if not text.strip() and not title.strip():
        raise BadRecordError(
            f"field {text_field or 'text'!r} is missing or empty; name the text's field with --text-field"
        )
    by_name = {plain(k): v for k, v in about.items()}
    at = by_name.get("at") or by_name.get("updatedat") or by_name.get("createdat") or ""
    who = by_name.get("annotator") or by_name.get("annotatoremail") or by_name.get("username") or ""
    identity = about.get("post") or about.get("_id") or about.get("id") or ""
    suggested = about.get("suggested")
    made = LabelledText(
        text,
        answer.labels,
        place,
        str(identity),
        title,
        str(about.get("source") or ""),
        str(about.get("lang") or ""),
        str(who if not isinstance(who, dict) else who.get("email", "")),
        str(at),
        {str(k): str(v) for k, v in suggested.items()} if isinstance(suggested, dict) else {},
        subject=subject,
        mention=_mention(about, text, title, subject) if TOWARD in map(plain, answer.labels) else None,
    )
    said = (
        made.text,
        made.title,
        made.id,
        made.source,
        made.lang,
        made.annotator,
        made.at,
        made.subject,
        *made.suggested.values(),
    )
    if any(map(broken, said)):
        raise BadRecordError(
            "contains half a character (a lone surrogate); correct it in the program that wrote the file"
        )
    return made


def _mention(about: JsonObject, text: str, title: str, subject: str) -> tuple[int, int] | None:
    row = about if "target" in about or not subject else {**about, "target": subject}
    try:
        start, end = span_of(row, text)
    except TargetAbsentError:
        return None
    except TargetError as error:
        raise BadRecordError(str(error)) from None
    before = len(full_text(title, text)) - len(text)
    return before + start, before + end


def _texts(answer: Answer, text_field: str | None) -> tuple[str, str]:
    text, title = text_fields(answer.about, text_field)
    if text or title or text_field:
        return text, title
    if isinstance(answer.about.get("data"), str):
        return "data", ""
    fields = [k for k, v in answer.fields.items() if isinstance(v, str) and v]
    if len(fields) > 1:
        raise BadRecordError(f"cannot tell which field is the text; name it with --text-field: {', '.join(fields)}")
    return "".join(fields), ""


def _no_heads(rows: Sequence[LabelledText], heads: Mapping[str, str] | None) -> set[str]:
    """The columns that are not heads: by the scheme if there is one, else by whether their values look like classes."""
    values: dict[str, Counter[str]] = {}
    for row in rows:
        for column, label in row.labels.items():
            values.setdefault(column, Counter())[label] += 1
    if heads is not None:
        return {c for c in values if plain(c) not in heads}
    unlike = {
        column
        for column, counts in values.items()
        if all(_NUMBER_OR_TIME.fullmatch(x) for x in counts)
        or (counts.total() >= _FEW_ROWS and len(counts) > _MOST_CLASSES * counts.total())
    }
    return unlike if len(unlike) < len(values) else set()


def folded(rows: Sequence[LabelledText], classes: Mapping[str, Sequence[str]]) -> list[LabelledText]:
    """The rows with one spelling per head and label: the scheme's, else the most frequent one of the file."""
    heads = {plain(h): h for h in classes}
    counted: dict[str, Counter[str]] = {}
    for row in rows:
        for h, x in row.labels.items():
            counted.setdefault(heads.get(plain(h), h), Counter())[x] += 1
    spellings: dict[str, dict[str, str]] = {}
    for h, counts in counted.items():
        known = list(classes.get(h, ())) or [x for x, _ in counts.most_common()]
        folded = Counter(x.casefold() for x in known)
        clear = {x.casefold(): x for x in reversed(known) if folded[x.casefold()] == 1 or h not in classes}
        spellings[h] = {x: x if x in classes.get(h, ()) else clear.get(x.casefold(), x) for x in counts}
    made = []
    for row in rows:
        named = {heads.get(plain(h), h): x for h, x in row.labels.items()}
        made.append(replace(row, labels={h: spellings[h].get(x, x) for h, x in named.items()}))
    return made


def _epoch(text: str) -> float:
    """Converts seconds or milliseconds since 1970 to seconds."""
    try:
        value = float(text)
    except ValueError:
        return float("-inf")
    return value / 1000 if value > 1e11 else value


def heads_of(rows: Sequence[LabelledText]) -> dict[str, list[str]]:
    """The heads and their classes, in the order of their first appearance."""
    heads: dict[str, dict[str, None]] = {}
    for row in rows:
        for head, label in row.labels.items():
            heads.setdefault(head, {})[label] = None
    return {head: list(labels) for head, labels in heads.items()}
