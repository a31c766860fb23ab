"""Reads the answers in exports of Label Studio, Argilla, doccano, Prodigy, and in plain rows. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from models.files.columns import TEXT, TITLE, plain
from models.files.targets import COLUMNS, placed, targeted
from models.heads import SENTIMENT, TOWARD
from models.json_types import Json, JsonObject

#: Columns that describe a text or its annotation; in a plain file, every other column with text is a head.
_ABOUT = frozenset(
    map(
        plain,
        (
            *TEXT, *TITLE, "id", "source", "lang", "language", "annotator", "at", "created_at", "updated_at", "url",
            "post",
            "kind", "author", "published_at", "dup_in_train", "suggested", "model", "v", "extra", "reposts", "likes",
            "comments", "_id", "data", "meta", "metadata", "annotation_id", "lead_time", "was_cancelled",
            "ground_truth",
            "completed_by", "created_username", "created_ago", "file_upload", "drafts", "predictions",
            "total_annotations",
            "cancelled_annotations", "total_predictions", "comment_count", "unresolved_comment_count", "project",
            "last_comment_updated_at", "comment_authors", "inner_id", "agreement", "annotators", "annotator_email",
            "user",
            "user_id", "username", "annotation_approver", "is_confirmed", "is_approved", "example", "answer", "accept",
            "options", "config", "status", "state", "response", "_input_hash", "_task_hash", "_session_id", "_view_id",
            "_annotator_id", "_timestamp", "_is_binary", "timestamp", "time", "date", "spans", "tokens", "entities",
            "relations", "cats", "server_id", "_server_id", "external_id", "record_id", "uuid", "inserted_at",
            "event_timestamp",
            "annotation_agent", "prediction", "prediction_agent", "metrics", "vectors", "explanation", "multi_label",
            "search_keywords",
            "skipped", "rejected", "discarded", "cancelled", "canceled", "ignored", "is_skipped", "notes", "remark",
            "index",
            "score", "confidence", "split", "fold", "weight", "hash", "row", "no", "number", "unnamed: 0", "column 1",
        ),
    )
)  # fmt: skip
_REFUSING = ("was_cancelled", "cancelled", "canceled", "skipped", "is_skipped", "rejected", "discarded", "ignored")
_REFUSALS = frozenset({
    "reject", "rejected", "ignore", "ignored", "skip", "skipped", "discard", "discarded", "draft", "cancelled",
    "canceled",
    "pending", "invalid",
})  # fmt: skip
#: The columns of a target; in a row without one, a column of this name may hold classes.
_TARGET = frozenset(map(plain, COLUMNS))
#: Names of a question that do not say what it asks.
_NAMELESS = frozenset({"label", "labels", "choice", "choices", "class", "classes", "category", "textclass"})


class BadRecordError(ValueError):
    """A record without a usable label; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's answer about a text: classes by head, and the fields that describe text and annotation.

    With `columns`, the heads are names of columns, and some of these columns may hold something else. `fields` are the
    candidates for the text, for tools that keep the fields of a record separate.
    """

    about: JsonObject
    labels: dict[str, str]
    columns: bool = False
    fields: JsonObject = field(default_factory=dict)


def answers_of(record: Json, head: str, heads: Collection[str] = ()) -> list[Answer]:
    """The answers in one record; answers without a name get `head`. Raises `BadRecordError`.

    A column of a plain record is a head where it is named as one of `heads`, or has no other known meaning.
    """
    if not isinstance(record, dict):
        raise BadRecordError("not an object")
    tasks = "annotations" if "annotations" in record else "completions"
    if isinstance(record.get("data"), dict) and tasks in record:
        return _label_studio(record, tasks, head)
    if isinstance(record.get("fields"), dict):
        return _argilla(record, head)
    if (why := _refusal(record)) is not None:
        raise BadRecordError(f"the annotation does not count: {why}")
    if "annotation" in record and ("inputs" in record or "text" in record):
        return _argilla_1(record, head)
    if "answer" in record and ("_input_hash" in record or "accept" in record):
        return _prodigy(record, head)
    return _plain(record, head, {plain(h) for h in (head, *heads)})


def _refusal(record: JsonObject) -> str | None:
    """Why an annotation does not count (rejected, skipped, draft ...); None where it counts."""
    for name in _REFUSING:
        if str(record.get(name) or "").strip().casefold() in {"true", "1", "yes", "1.0"}:
            return f"{name} is set"
    for name in ("answer", "status", "state"):
        value = record.get(name)
        if isinstance(value, str) and value.strip().casefold() in _REFUSALS:
            return f"{name} is {value.strip()!r}"
    return None


def _plain(record: JsonObject, head: str, heads: set[str]) -> list[Answer]:
    about, names = _ABOUT, set(map(plain, record))
    if placed(record) and SENTIMENT in names and TOWARD not in names and not _has_label(record):
        # Public sets of targets call the sentiment toward the target so.
        record = {TOWARD if plain(k) == SENTIMENT else k: v for k, v in record.items()}
        names.add(TOWARD)
    if targeted(record) and (TOWARD in names or _has_label(record)):
        head, heads, about = TOWARD, {*heads, TOWARD} - _TARGET, _ABOUT | _TARGET
    named = record.get("labels")
    if isinstance(named, dict):
        return [Answer(record, {k: one(v) for k, v in named.items() if v not in (None, "", [])})]
    by_name = {plain(k): v for k, v in record.items()}
    given = _given(by_name, named)
    if given not in (None, "", []):
        return [Answer(record, {head: one(given)})]
    flat = {k.removesuffix(".responses"): v for k, v in record.items() if k.endswith(".responses")}
    if flat:
        answered = {k: one(v) for k, v in flat.items() if v and _submitted(record, k)}
        return [Answer({**record, "annotator": _first(record, flat, "users")}, answered)]
    columns = {k: v for k, v in record.items() if plain(k) in heads or plain(k) not in about}
    found = {k: v for k, v in columns.items() if isinstance(v, (str, dict)) and v}
    labels = {k: one(v) for k, v in found.items() if isinstance(v, str) or "choices" in v}
    return [Answer(record, labels, columns=True)]


def _given(by_name: JsonObject, named: object) -> Json:
    return by_name.get("label", named if isinstance(named, (list, str)) else by_name.get("标签"))


def _has_label(record: JsonObject) -> bool:
    return _given({plain(k): v for k, v in record.items()}, record.get("labels")) not in (None, "", [])


def _submitted(record: JsonObject, question: str) -> bool:
    status = record.get(f"{question}.responses.status") or ["submitted"]
    return isinstance(status, list) and bool(status) and status[0] == "submitted"


def _first(record: JsonObject, questions: JsonObject, what: str) -> str:
    found = record.get(f"{next(iter(questions))}.responses.{what}")
    return str(found[0]) if isinstance(found, list) and found else ""


def _label_studio(record: JsonObject, tasks: str, head: str) -> list[Answer]:
    data, answers, refused = _object(record, "data"), [], 0
    for annotation in _objects(record, tasks):
        if _refusal(annotation) is not None:
            refused += 1
            continue
        choices = [r for r in _objects(annotation, "result") if r.get("type") == "choices"]
        labels = {_named(r, "from_name", head): one(_object(r, "value").get("choices")) for r in choices}
        by = annotation.get("completed_by", "")
        who = by.get("email", by.get("id", "")) if isinstance(by, dict) else by
        at = annotation.get("updated_at") or annotation.get("created_at") or ""
        about: JsonObject = {"id": record.get("id", ""), **data, "annotator": str(who), "at": at}
        if labels:
            answers.append(Answer(about, labels, fields=data))
    if refused and not answers:
        raise BadRecordError("the annotation does not count: it was skipped or cancelled")
    return answers


def _argilla(record: JsonObject, head: str) -> list[Answer]:
    """Argilla 2 lists answers by question; records of feedback datasets list them by user."""
    at = record.get("updated_at") or record.get("inserted_at") or ""
    fields = _object(record, "fields")
    about: JsonObject = {**_object(record, "metadata"), **fields, "id": record.get("id", ""), "at": at}
    by_user: dict[str, dict[str, str]] = {}
    refused = 0
    for question, answer in _questions(record):
        if answer.get("status") in (None, "submitted"):
            name = head if plain(question) in _NAMELESS else question
            by_user.setdefault(str(answer.get("user_id", "")), {})[name] = one(answer.get("value"))
        else:
            refused += 1
    if refused and not by_user:
        raise BadRecordError("the annotation does not count: it is a draft or was discarded")
    return [Answer({**about, "annotator": user}, labels, fields=fields) for user, labels in by_user.items()]


def _questions(record: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    if isinstance(record.get("responses"), list):
        for response in _objects(record, "responses"):
            values = _object(response, "values")
            if not values:
                yield "", {"status": response.get("status") or "draft"}
            yield from ((question, {**response, **_object(values, question)}) for question in values)
    else:
        by_question = _object(record, "responses")
        yield from ((question, answer) for question in by_question for answer in _objects(by_question, question))


def _argilla_1(record: JsonObject, head: str) -> list[Answer]:
    inputs = record.get("inputs")
    about: JsonObject = {
        **record,
        **(inputs if isinstance(inputs, dict) else {"text": inputs or record.get("text")}),
        "annotator": record.get("annotation_agent", ""),
        "at": record.get("event_timestamp") or "",
    }
    return [Answer(about, {head: one(record["annotation"])})] if record["annotation"] else []


def _prodigy(record: JsonObject, head: str) -> list[Answer]:
    about: JsonObject = {**record, "at": record.get("_timestamp") or "", "annotator": record.get("_annotator_id") or ""}
    accepted = record.get("accept")
    if accepted in (None, []):
        accepted = record.get("label")
    return [Answer(about, {head: one(accepted)})] if accepted not in (None, "", []) else []


def _object(record: JsonObject, name: str) -> JsonObject:
    """The object in a field; {} where the field is missing or null."""
    value = record.get(name) or {}
    if not isinstance(value, dict):
        raise BadRecordError(f"field {name!r} is a {type(value).__name__} but must be an object")
    return value


def _objects(record: JsonObject, name: str) -> list[JsonObject]:
    """The objects in the array in a field; [] where the field is missing or null."""
    values = record.get(name) or []
    listed = values if isinstance(values, list) else [values]
    objects: list[JsonObject] = [value for value in listed if isinstance(value, dict)]
    if listed is not values or len(objects) < len(listed):
        raise BadRecordError(f"field {name!r} must be an array of objects")
    return objects


def _named(record: JsonObject, name: str, head: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value:
        raise BadRecordError(f"field {name!r} must name a head")
    return head if plain(value) in _NAMELESS else value


def one(value: Json) -> str:
    """The single class in a value. Raises `BadRecordError`."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        value = _nested(value)
    if isinstance(value, dict) and "choices" in value:
        value = value["choices"]
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise BadRecordError(f"{len(value)} labels for one head; give exactly one")
        value = value[0]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRecordError("an annotation without a label")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise BadRecordError(f"a label is a {type(value).__name__} but must be a text")
    return str(value).strip()


def _nested(text: str) -> Json:
    """The parsed JSON of a CSV cell; the text itself where it is not JSON."""
    try:
        parsed: Json = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return parsed
