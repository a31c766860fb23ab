"""The verdict on one item of a bulk response: a pure and total function of its status and error type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from pipeline.store.elasticsearch.refusals import OF_A_DOCUMENT, PASSING, Refusal, item


class ItemVerdict(Enum):
    """What to do about one item."""

    WRITTEN = "written"
    CONFLICT = "conflict"
    RETRY = "retry"
    SPLIT = "split"
    REJECTED = "rejected"
    FATAL = "fatal"


#: Lucene's for a value that is too long for its index; Elasticsearch gives it no type of its own.
_IMMENSE = "immense term"
#: The limit of shards, which a person can raise: no index could be made for the document.
_PASSING_OF_A_BULK = frozenset({"validation_exception"})


def verdict(status: object, error_type: object = "") -> ItemVerdict:
    """Totally defined: an unknown status is retried, never dropped.

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
    if error_type in PASSING or error_type in _PASSING_OF_A_BULK:
        return ItemVerdict.RETRY
    if status == 413:
        return ItemVerdict.SPLIT
    if status == 400:
        # A 400 that is no mapping error (a bad request of ours, say) must not become a dead letter.
        return ItemVerdict.REJECTED if error_type in OF_A_DOCUMENT else ItemVerdict.FATAL
    if status in {401, 403, 404}:
        return ItemVerdict.FATAL
    return ItemVerdict.RETRY


def item_verdicts(response: object, n_items: int) -> list[ItemVerdict]:
    """One verdict per item sent; a short, long or malformed response means that nothing is known: all RETRY."""
    items = response.get("items") if isinstance(response, Mapping) else None
    if not isinstance(items, list) or len(items) != n_items:
        return [ItemVerdict.RETRY] * n_items
    return [_item(item) for item in items]


def first_refusal(response: object, verdicts: Sequence[ItemVerdict], verdict: ItemVerdict) -> Refusal | None:
    """What the server said of the first item with `verdict`; None where it said nothing."""
    items = response.get("items") if isinstance(response, Mapping) else None
    for entry, got in zip(items if isinstance(items, list) else (), verdicts, strict=False):
        body = _body(entry)
        if got is verdict and isinstance(error := body.get("error"), Mapping):
            status = body.get("status")
            return item(status if isinstance(status, int) else 0, error)
    return None


def _item(entry: Any) -> ItemVerdict:
    body = _body(entry)
    if body.get("result") == "not_found":  # to be deleted, and not there: a 404 that is no missing index
        return ItemVerdict.CONFLICT
    error = body.get("error")
    if not isinstance(error, Mapping):
        return verdict(body.get("status"))
    if body.get("status") == 400 and _IMMENSE in str(error.get("reason")):
        return ItemVerdict.REJECTED
    kind = error.get("type")
    return verdict(body.get("status"), kind if isinstance(kind, str) else "")


def _body(entry: Any) -> Mapping[str, Any]:
    body = next(iter(entry.values())) if isinstance(entry, Mapping) and len(entry) == 1 else None
    return body if isinstance(body, Mapping) else {}
