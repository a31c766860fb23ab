"""The verdict on an item of a bulk response, which depends only on its status and error type. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from models.json_types import JsonObject
from pipeline.store.elasticsearch.refusals import DOCUMENT_ERRORS, TRANSIENT_ERRORS, Refusal, item


class ItemVerdict(Enum):
    """What to do about an item."""

    WRITTEN = "written"
    CONFLICT = "conflict"
    RETRY = "retry"
    SPLIT = "split"
    REJECTED = "rejected"
    FATAL = "fatal"


#: Lucene says this about a value that is too long to be indexed; Elasticsearch has no error type for it.
_IMMENSE = "immense term"
#: The limit of shards, which a person can raise, prevented the creation of an index for the document.
_TRANSIENT_BULK_ERRORS = frozenset({"validation_exception"})


def verdict(status: object, error_type: object = "") -> ItemVerdict:
    """The verdict is defined for every status: an unknown status is retried, never dropped.

    >>> verdict(201), verdict(409), verdict(400, "document_parsing_exception"), verdict(403, "security_exception")
    (<ItemVerdict.WRITTEN: 'written'>, <ItemVerdict.CONFLICT: 'conflict'>, <ItemVerdict.REJECTED: 'rejected'>, \
<ItemVerdict.FATAL: 'fatal'>)
    """
    if not isinstance(status, int) or isinstance(status, bool):
        return ItemVerdict.RETRY
    if 200 <= status < 300:
        return ItemVerdict.WRITTEN
    if status == 409:
        return ItemVerdict.CONFLICT
    if error_type in TRANSIENT_ERRORS or error_type in _TRANSIENT_BULK_ERRORS:
        return ItemVerdict.RETRY
    if status == 413:
        return ItemVerdict.SPLIT
    if status == 400:
        # A 400 that is not a mapping error may be our own bad request, which must not become a dead letter.
        return ItemVerdict.REJECTED if error_type in DOCUMENT_ERRORS else ItemVerdict.FATAL
    if status in {401, 403, 404}:
        return ItemVerdict.FATAL
    return ItemVerdict.RETRY


def item_verdicts(response: object, n_items: int) -> list[ItemVerdict]:
    """One verdict per item that was sent; all are RETRY if the response is malformed or has another number of items."""
    items = response.get("items") if isinstance(response, dict) else None
    if not isinstance(items, list) or len(items) != n_items:
        return [ItemVerdict.RETRY] * n_items
    return [_item(item) for item in items]


def first_refusal(response: object, verdicts: Sequence[ItemVerdict], verdict: ItemVerdict) -> Refusal | None:
    """The refusal of the first item with `verdict`; None if the response has no error for it."""
    items = response.get("items") if isinstance(response, dict) else None
    for entry, got in zip(items if isinstance(items, list) else (), verdicts, strict=False):
        body = _body(entry)
        if got is verdict and isinstance(error := body.get("error"), dict):
            status = body.get("status")
            return item(status if isinstance(status, int) else 0, error)
    return None


def _item(entry: Any) -> ItemVerdict:
    body = _body(entry)
    if body.get("result") == "not_found":  # a delete of a missing document: 404, but no index is missing
        return ItemVerdict.CONFLICT
    error = body.get("error")
    if not isinstance(error, dict):
        return verdict(body.get("status"))
    if body.get("status") == 400 and _IMMENSE in str(error.get("reason")):
        return ItemVerdict.REJECTED
    kind = error.get("type")
    return verdict(body.get("status"), kind if isinstance(kind, str) else "")


def _body(entry: Any) -> JsonObject:
    body = next(iter(entry.values())) if isinstance(entry, dict) and len(entry) == 1 else None
    return body if isinstance(body, dict) else {}
