"""Files of labelled texts: JSONL, CSV, Label Studio JSON, doccano JSONL, Argilla records. Pure but for the reading.

One row may carry several heads. What cannot be read becomes a `Problem` that names the place and the reason; the
rest of the file is still read.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Columns that are about a text; in a plain file, every other column with text is a head.
_ABOUT = {
    "id", "text", "title", "source", "lang", "annotator", "at", "created_at", "url", "post", "kind", "author",
    "published_at", "dup_in_train", "suggested", "model", "v", "extra", "reposts", "likes", "comments", "_id",
}  # fmt: skip

#: The `source` of a retraining's rows: what people said, and posts as the champion labelled them.
PEOPLE, REHEARSAL = "labels", "rehearsal"


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and its classes by head; `at` is ISO 8601 or empty, `place` is `file:line` or `file:record`."""

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

    @property
    def full_text(self) -> str:
        """Title and text as the classifier reads them."""
        return f"{self.title}\n{self.text}" if self.title and self.text else self.title or self.text


@dataclass(frozen=True, slots=True)
class Problem:
    """What could not be read, and where."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class LabelFileError(ValueError):
    """The whole file cannot be read; the message names the file, the reason and the remedy."""


def read_labelled(path: Path, head: str = "label") -> tuple[list[LabelledText], list[Problem]]:
    """Rows and problems of one file; its format is found out from its content.

    `head` names the head of labels that come without one (a column `label`, doccano, Argilla 1).
    """
    text = _decoded(path)
    name = path.name
    suffixes = [s for s in path.suffixes if s != ".gz"]
    if suffixes and suffixes[-1].lower() in {".csv", ".tsv"}:
        records: Iterator[tuple[str, Any]] = _csv(text, name, "\t" if suffixes[-1].lower() == ".tsv" else ",")
    elif text.lstrip()[:1] == "[":
        records = _json_array(text, name)
    else:
        records = _json_lines(text, name)
    rows: list[LabelledText] = []
    problems: list[Problem] = []
    for place, record in records:
        try:
            if isinstance(record, str):
                raise _BadRecordError(record)
            found = _record(record, place, head)
            if not found:
                raise _BadRecordError("has no label: it needs a column or field besides the text, or an annotation")
            rows += found
        except _BadRecordError as error:
            problems.append(Problem(place, str(error)))
    return rows, problems


class _BadRecordError(ValueError):
    pass


def _decoded(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
    except (OSError, EOFError) as error:
        raise LabelFileError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise LabelFileError(
            f"{path}:{line}: not UTF-8 (byte {error.start}); convert the file, e.g. iconv -f gb18030 -t utf-8"
        ) from None


def _csv(text: str, name: str, delimiter: str) -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    for row in reader:
        place = f"{name}:{reader.line_num}"
        if None in row:
            yield place, "more values than columns; quote the commas in the text"
        else:
            yield place, {k.strip(): v for k, v in row.items() if v is not None and v != ""}


def _json_lines(text: str, name: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                value: Any = json.loads(line)
            except (ValueError, RecursionError) as error:
                value = f"not JSON: {error}"
            yield f"{name}:{number}", value


def _json_array(text: str, name: str) -> Iterator[tuple[str, Any]]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LabelFileError(f"{name}: not JSON: {error}") from None
    for number, value in enumerate(values, 1):
        yield f"{name}#{number}", value


def _record(record: Any, place: str, head: str) -> list[LabelledText]:
    if not isinstance(record, dict):
        raise _BadRecordError("not an object")
    if isinstance(record.get("data"), dict) and "annotations" in record:
        return _label_studio(record, place)
    if isinstance(record.get("fields"), dict):
        return _argilla(record, place)
    if "annotation" in record and ("inputs" in record or "text" in record):
        return _argilla_1(record, place, head)
    return _plain(record, place, head)


def _plain(record: Mapping[str, Any], place: str, head: str) -> list[LabelledText]:
    labels: dict[str, str] = {}
    named = record.get("labels")
    if isinstance(named, dict):
        labels.update({k: _one(v) for k, v in named.items() if v not in (None, "", [])})
    given = record.get("label", named if isinstance(named, (list, str)) else None)
    if given not in (None, "", []):
        labels[head] = _one(given)
    if not labels:
        labels = {k: v for k, v in record.items() if k not in _ABOUT and isinstance(v, str) and v}
    suggested = record.get("suggested")
    return _made(record, labels, place, suggested=suggested if isinstance(suggested, dict) else {})


def _label_studio(record: Mapping[str, Any], place: str) -> list[LabelledText]:
    rows = []
    for annotation in _objects(record, "annotations"):
        if annotation.get("was_cancelled"):
            continue
        choices = [r for r in _objects(annotation, "result") if r.get("type") == "choices"]
        labels = {_named(r, "from_name"): _one(_object(r, "value").get("choices")) for r in choices}
        by = annotation.get("completed_by", "")
        who = by.get("email", by.get("id", "")) if isinstance(by, dict) else by
        about = {**record["data"], "annotator": str(who), "at": annotation.get("created_at", "")}
        about.setdefault("id", record.get("id", ""))
        if labels:
            rows += _made(about, labels, place)
    return rows


def _argilla(record: Mapping[str, Any], place: str) -> list[LabelledText]:
    """Argilla 2 gives its answers by question, the records of feedback datasets by user."""
    about = {**_object(record, "metadata"), **record["fields"], "id": record.get("id", "")}
    by_user: dict[str, dict[str, str]] = {}
    for question, answer in _answers(record):
        if answer.get("status") in (None, "submitted"):
            by_user.setdefault(str(answer.get("user_id", "")), {})[question] = _one(answer.get("value"))
    return [row for user, labels in by_user.items() for row in _made({**about, "annotator": user}, labels, place)]


def _answers(record: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(record.get("responses"), list):
        for response in _objects(record, "responses"):
            values = _object(response, "values")
            yield from ((question, {**response, **_object(values, question)}) for question in values)
    else:
        by_question = _object(record, "responses")
        yield from ((question, answer) for question in by_question for answer in _objects(by_question, question))


def _argilla_1(record: Mapping[str, Any], place: str, head: str) -> list[LabelledText]:
    inputs = record.get("inputs")
    about = {**record, **(inputs if isinstance(inputs, dict) else {"text": inputs or record.get("text")})}
    about["annotator"] = record.get("annotation_agent", "")
    return _made(about, {head: _one(record["annotation"])}, place) if record["annotation"] else []


def _object(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object in a field; empty where the field is missing or null."""
    value = record.get(name) or {}
    if not isinstance(value, dict):
        raise _BadRecordError(f"field {name!r} is a {type(value).__name__}: it needs an object")
    return value


def _objects(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects in the array in a field; none where the field is missing or null."""
    values = record.get(name) or []
    if not isinstance(values, list) or not all(isinstance(v, dict) for v in values):
        raise _BadRecordError(f"field {name!r} needs an array of objects")
    return values


def _named(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value:
        raise _BadRecordError(f"field {name!r} needs the name of a head")
    return value


def _one(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise _BadRecordError(f"{len(value)} labels for one head: it needs exactly one")
        value = value[0]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise _BadRecordError("an annotation without a label")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _BadRecordError(f"a label is a {type(value).__name__}: it needs a text")
    return str(value).strip()


def _made(
    about: Mapping[str, Any], labels: dict[str, str], place: str, suggested: dict[str, str] | None = None
) -> list[LabelledText]:
    text, title = about.get("text") or "", about.get("title") or ""
    if not isinstance(text, str) or not isinstance(title, str):
        raise _BadRecordError("field 'text' is no text")
    if not text.strip() and not title.strip():
        raise _BadRecordError("field 'text' is missing or empty")
    if not labels:
        return []
    at = about.get("at") or about.get("created_at") or ""
    plain = {k: str(about.get(k) or "") for k in ("source", "lang", "annotator")}
    identity = str(about.get("post") or about.get("_id") or about.get("id") or "")
    return [LabelledText(text, labels, place, identity, title, at=str(at), suggested=suggested or {}, **plain)]


def heads_of(rows: Sequence[LabelledText]) -> dict[str, list[str]]:
    """Heads and their classes, in the order of first sight."""
    heads: dict[str, dict[str, None]] = {}
    for row in rows:
        for head, label in row.labels.items():
            heads.setdefault(head, {})[label] = None
    return {head: list(labels) for head, labels in heads.items()}
