"""The formats of files that `ingest` and the demo read."""

from __future__ import annotations

from enum import StrEnum


class FileFormat(StrEnum):
    """How a file is written; readers detect it from the content where nobody gives it."""

    jsonl = "jsonl"
    json = "json"
    csv = "csv"
    tsv = "tsv"
    feed = "feed"
