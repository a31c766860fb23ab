"""A bounded least-recently-used map; safe from several threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

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
        self._capacity, self._weigh = capacity, weigh
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()
        self.weight = 0

    def get(self, key: K) -> V | None:
        with self._lock:
            value = self._entries.get(key)
            if value is not None:
                self._entries.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> None:
        with self._lock:
            old = self._entries.pop(key, None)
            self.weight += self._weigh(value) - (0 if old is None else self._weigh(old))
            self._entries[key] = value
            while self.weight > self._capacity:
                self.weight -= self._weigh(self._entries.popitem(last=False)[1])

    def __len__(self) -> int:
        return len(self._entries)
