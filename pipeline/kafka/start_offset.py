"""Where a worker begins to read a partition that was assigned to it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PartitionBounds:
    """What Kafka knows of a partition: the group's `committed` offset, the log's begin and end, and its identity."""

    committed: int | None
    begin: int
    end: int
    log: str = ""


@dataclass(frozen=True, slots=True)
class StartOffset:
    """The first offset to read; Kafka has deleted `deleted` records before it that were never read.

    `reason` says why this is not where the group had stopped; it is "" if it is.
    """

    offset: int
    deleted: int = 0
    reason: str = ""


def start_offset(bounds: PartitionBounds, *, recorded: int | None, replaced: bool) -> StartOffset:
    """Chooses the first offset to read.

    Every record of this log below `recorded` is durable according to the ledger; None if the ledger has no entry for
    this log. With `replaced`, both the ledger and the committed offset are those of a former log of the same name.
    If the log ends before the offset that was reached, it has lost records or is another log. Then it is read from its
    beginning, which duplicates nothing.

    >>> start_offset(PartitionBounds(40, 0, 90), recorded=40, replaced=False)
    StartOffset(offset=40, deleted=0, reason='')
    >>> start_offset(PartitionBounds(40, 70, 90), recorded=45, replaced=False).deleted
    25
    >>> start_offset(PartitionBounds(None, 0, 90), recorded=45, replaced=False).offset
    45
    >>> start_offset(PartitionBounds(8000, 0, 90), recorded=None, replaced=True).offset
    0
    """
    if replaced:
        return StartOffset(bounds.begin, reason="the topic is another log than the one read before under this name")
    reached = recorded if bounds.committed is None else bounds.committed
    if reached is None:
        return StartOffset(bounds.begin)
    if reached > bounds.end:
        return StartOffset(bounds.begin, reason=f"the log ends at {bounds.end}, before the offset reached ({reached})")
    if reached < bounds.begin:
        durable = max(reached, recorded or 0)
        return StartOffset(max(bounds.begin, durable), deleted=max(0, bounds.begin - durable))
    if bounds.committed is None:
        return StartOffset(reached, reason="the group's committed offset has expired, and the ledger has the position")
    return StartOffset(reached)
