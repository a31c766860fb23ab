"""Where a worker begins to read a partition that it was given. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """What Kafka says of a partition: the group's `committed` offset, the log's first and last, and its identity."""

    committed: int | None
    begin: int
    end: int
    log: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """The first offset to read; `deleted` records before it are gone that nobody had read.

    `why` says why it is not where the group had stopped, "" where it is.
    """

    offset: int
    deleted: int = 0
    why: str = ""


def start_of(found: Bounds, *, books: int | None, closed: bool) -> Start:
    """`books`: below it every record of this log is durable, None where there are no books of it.

    `closed`: the books at hand are of a former log, and so is the committed offset. A log that ends before what
    was read of it has lost records, or is another one: all that there is of it is read, which doubles nothing.

    >>> start_of(Bounds(40, 0, 90), books=40, closed=False)
    Start(offset=40, deleted=0, why='')
    >>> start_of(Bounds(40, 70, 90), books=45, closed=False).deleted
    25
    >>> start_of(Bounds(None, 0, 90), books=45, closed=False).offset
    45
    >>> start_of(Bounds(8000, 0, 90), books=None, closed=True).offset
    0
    """
    if closed:
        return Start(found.begin, why="it is another log than the one that was read before, under the same name")
    known = books if found.committed is None else found.committed
    if known is None:
        return Start(found.begin)
    if known > found.end:
        return Start(found.begin, why=f"the log ends at {found.end}, before what was read of it ({known})")
    if known < found.begin:
        durable = max(known, books or 0)
        return Start(max(found.begin, durable), deleted=max(0, found.begin - durable))
    if found.committed is None:
        return Start(known, why="the group has no committed offset (it expires): the books say how far it was")
    return Start(known)
