"""The verdict on one item of a bulk response: a pure and total function of its status and error type."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any


class ItemVerdict(Enum):
    """What to do about one item."""

    WRITTEN = "written"
    CONFLICT = "conflict"
    RETRY = "retry"
    SPLIT = "split"
    REJECTED = "rejected"
    FATAL = "fatal"


_MAPPING = frozenset({"document_parsing_exception", "mapper_parsing_exception", "strict_dynamic_mapping_exception"})
_PASSING = frozenset({"cluster_block_exception", "es_rejected_execution_exception", "unavailable_shards_exception"})


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
    if error_type in _PASSING:
        return ItemVerdict.RETRY
    if status == 413:
        return ItemVerdict.SPLIT
    if status == 400:
        # A 400 that is no mapping error (a bad request of ours, say) must not become a dead letter.
        return ItemVerdict.REJECTED if error_type in _MAPPING else ItemVerdict.FATAL
    if status in {401, 403, 404}:
        return ItemVerdict.FATAL
    return ItemVerdict.RETRY


def item_verdicts(response: object, n_items: int) -> list[ItemVerdict]:
    """One verdict per item sent; a short, long or malformed response means that nothing is known: all RETRY."""
    items = response.get("items") if isinstance(response, Mapping) else None
    if not isinstance(items, list) or len(items) != n_items:
        return [ItemVerdict.RETRY] * n_items
    return [_item(item) for item in items]


def _item(item: Any) -> ItemVerdict:
    if not isinstance(item, Mapping) or len(item) != 1:
        return ItemVerdict.RETRY
    body = next(iter(item.values()))
    if not isinstance(body, Mapping):
        return ItemVerdict.RETRY
    if body.get("result") == "not_found":  # to be deleted, and not there: a 404 that is no missing index
        return ItemVerdict.CONFLICT
    error = body.get("error")
    return verdict(body.get("status"), error.get("type") if isinstance(error, Mapping) else "")
