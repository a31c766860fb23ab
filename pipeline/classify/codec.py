"""Decodes the bytes of a record into a `Post`, or raises `Poison` with the reason. Pure: no clock, no I/O."""

from __future__ import annotations

from datetime import datetime, timedelta

from models.json_types import JsonObject
from models.text import MAX_NAME, clean, clean_line, content_hash, full_text, is_text
from pipeline.classify.fields import Fields, as_text
from pipeline.classify.json_object import MAX_BYTES, STAGE, json_object
from pipeline.classify.language import UNDETERMINED, detect
from pipeline.domain.errors import Poison
from pipeline.domain.post import EARLIEST, EPOCH, LATEST, Post, Record, document_id

MAX_TEXT = 100_000
MAX_ID = 500
MAX_URL = 2_000
MAX_LANG = 35
KINDS = frozenset({"news", "forum", "comment", "review"})
KNOWN = frozenset(
    {
        "v",
        "id",
        "source",
        "kind",
        "url",
        "title",
        "text",
        "author",
        "published_at",
        "lang",
        "reposts",
        "likes",
        "comments",
        "extra",
    }
)
#: `published_at` is plausible from EARLIEST until this long after the record's timestamp.
MAX_AHEAD = timedelta(hours=1)


def decode(record: Record) -> Post:
    """Validates one record; raises `Poison`.

    `v`, `source`, `text` or `title`, and `id` or `url` must be valid. Any other invalid field is left out, and the
    post's `ignored` names it. Where `lang` names no language, it is detected.
    The event time is `published_at` if that is plausible: after the year 2000 and at most an hour ahead of the record's
    timestamp. Otherwise it is the record's timestamp, and `time_suspect` is set if the field was present. If the record
    has no usable timestamp, the event time is always suspect.
    """
    if record.by_reference:
        raise Poison(STAGE, "too_large", f"{record.by_reference[0]} bytes, at most {MAX_BYTES}")
    raw = json_object(record.value)
    if raw.get("v", 1) not in (1, "1", "1.0", None) or isinstance(raw.get("v"), bool):
        raise Poison(STAGE, "unknown_version", "field 'v' must be 1")
    fields = Fields(raw)
    source = _needed(raw, "source")
    if len(source) > MAX_NAME:
        raise Poison(STAGE, "too_large", f"field 'source' has over {MAX_NAME} characters")
    native = _identity(raw)
    text, title = _needed(raw, "text"), raw.get("title")
    if text and title is not None and not (isinstance(title, str) and is_text(title)):
        fields.ignored.append("title")
        title = ""
    else:
        title = _needed(raw, "title")
    # Checked before and after cleaning: a text that is too long costs no work, and composition may lengthen a text.
    _limit(text, title)
    title, text = clean_line(title, MAX_TEXT), clean(text)
    _limit(text, title)
    if not (shown_source := clean_line(source, MAX_NAME)):
        raise Poison(STAGE, "missing_field", "field 'source' is needed")
    if not native.strip():
        raise Poison(STAGE, "missing_field", "field 'id' or 'url' is needed")
    if not (title.strip() or text.strip()):
        raise Poison(STAGE, "missing_field", "field 'text' or 'title' is needed")
    event_time, suspect = _event_time(fields, record)
    lang = fields.language("lang", MAX_LANG)
    return Post(
        id=document_id(source, native),
        source=shown_source,
        native_id=clean_line(as_text(raw.get("id")) or "", MAX_ID),
        kind=fields.choice("kind", KINDS),
        url=fields.url("url", MAX_URL),
        title=title,
        text=text,
        author=fields.line("author", MAX_NAME) or fields.line("author_id", MAX_NAME),
        lang=detect(full_text(title, text)) if lang in {"", UNDETERMINED} else lang,
        event_time=event_time,
        time_suspect=suspect,
        content_hash=content_hash(full_text(title, text)),
        reposts=fields.count("reposts"),
        likes=fields.count("likes"),
        comments=fields.count("comments"),
        extra=fields.others(KNOWN),
        origin=record.origin,
        ignored=tuple(fields.ignored),
    )


def _needed(raw: JsonObject, name: str) -> str:
    """Returns the field as it was sent, "" if it is missing; raises `Poison` if it is not a text."""
    value = raw.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Poison(STAGE, "wrong_type", f"field '{name}' must be a string")
    if not is_text(value):
        raise Poison(STAGE, "lone_surrogate", f"field '{name}'")
    return value


def _limit(text: str, title: str) -> None:
    if len(text) > MAX_TEXT or len(title) > MAX_TEXT:
        raise Poison(STAGE, "too_large", f"field 'text' or 'title' has over {MAX_TEXT} characters")


def _identity(raw: JsonObject) -> str:
    """Returns what identifies the post within its source, as it was sent: the id, else the URL."""
    given = raw.get("id")
    if (native := as_text(given)) is None and given is not None:
        native = _needed(raw, "id")
    if native:
        return native
    url = raw.get("url")
    return url if isinstance(url, str) and is_text(url) else ""


def _event_time(fields: Fields, record: Record) -> tuple[datetime, bool]:
    recorded = record.time
    published, field = fields.time("published_at", "created_at")
    if not field:
        return recorded or EPOCH, recorded is None
    latest = recorded + MAX_AHEAD if recorded else LATEST
    if published and EARLIEST <= published <= latest:
        return published, recorded is None
    fields.ignored.append("published_at")
    return recorded or EPOCH, True
