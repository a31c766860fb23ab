"""A bounded least-recently-used map; safe from several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from cachetools import LRUCache

K = TypeVar("K")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Keeps the entries used last whose weights together are at most `capacity` (>= 0).

    `weigh(value)` is 1 by default: then the capacity is a number of entries.

    >>> cache = LruCache(2)
    >>> for name in "aba": cache.put(name, name.upper())
    >>> cache.put("c", "C"); cache.get("a"), cache.get("b")
    ('A', None)
    """

    def __init__(self, capacity: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self._entries: LRUCache[K, V] = LRUCache(capacity, weigh)
        self._lock = threading.Lock()

    @property
    def weight(self) -> int:
        """What the entries weigh together."""
        return int(self._entries.currsize)

    def get(self, key: K) -> V | None:
        with self._lock:
            return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """A value that alone weighs more than the capacity is not kept."""
        with self._lock:
            self._entries.pop(key, None)
            if self._entries.getsizeof(value) <= self._entries.maxsize:
                self._entries[key] = value

    def __len__(self) -> int:
        return len(self._entries)
