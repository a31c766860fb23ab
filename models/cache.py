"""A bounded least-recently-used map that several threads may share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from cachetools import LRUCache

K = TypeVar("K")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Keeps the most recently used entries whose weights sum to at most `capacity` (>= 0).

    With the default `weigh`, every value weighs 1 and the capacity is a number of entries.

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
        """The total weight of the entries."""
        return int(self._entries.currsize)

    def get(self, key: K) -> V | None:
        with self._lock:
            return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """Stores a value; drops a value that alone weighs more than the capacity."""
        with self._lock:
            self._entries.pop(key, None)
            if self._entries.getsizeof(value) <= self._entries.maxsize:
                self._entries[key] = value

    def __len__(self) -> int:
        return len(self._entries)
