"""`store.url` -> a store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pipeline.settings import StoreSettings
from pipeline.store.base import Store


def open_store(settings: StoreSettings) -> Store:
    """Opens `sqlite:///path` or `http(s)://[user@]host:port`; nothing is created on an Elasticsearch."""
    if settings.url.startswith("sqlite:///"):
        from pipeline.store.sqlite import SqliteStore

        return SqliteStore(Path(settings.url.removeprefix("sqlite:///")))
    from pipeline.store.elasticsearch import ElasticsearchStore

    parts = urlsplit(settings.url)
    return ElasticsearchStore(
        f"{parts.scheme}://{parts.hostname}:{parts.port or 9200}{parts.path}",
        username=parts.username or "",
        password=settings.password.get_secret_value(),
        ca_file=settings.ca_file,
        timeout_s=settings.timeout_s,
        analyzer=settings.analyzer,
        period=settings.period,
        replicas=settings.replicas,
        backfill_before=settings.backfill_before,
    )
