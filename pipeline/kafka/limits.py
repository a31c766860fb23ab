"""Sizes of the records that the workers read and write."""

from __future__ import annotations

#: The largest value that the dead-letter topic keeps; a larger one is dead-lettered by reference.
MAX_VALUE_BYTES = 10_000_000
#: The same with key and headers: what the topics and the producers accept.
MAX_RECORD_BYTES = MAX_VALUE_BYTES + 100_000
