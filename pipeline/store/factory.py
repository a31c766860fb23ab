"""Opens the store that `store.url` names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.domain.errors import Fatal
from pipeline.settings import StoreSettings
from pipeline.store.protocol import Store


def open_store(settings: StoreSettings) -> Store:
    """Opens `sqlite:///path` or `http(s)://[user@]host:port`; it creates nothing in Elasticsearch."""
    if settings.url.startswith("sqlite:///"):
        from pipeline.store.sqlite.store import SqliteStore

        return SqliteStore(Path(settings.url.removeprefix("sqlite:///")))
    from pipeline.store.elasticsearch.store import ElasticsearchStore

    try:
        parts = urlsplit(settings.url)
        host, port = parts.hostname or "", parts.port or 9200
    except ValueError as error:
        raise Fatal(f"store.url cannot be used: {error}", "write it as http(s)://[user@]host:port") from None
    return ElasticsearchStore(
        f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}{parts.path}",
        username=unquote(parts.username or ""),
        password=settings.password.get_secret_value(),
        ca_file=settings.ca_file,
        timeout_s=settings.timeout_s,
        analyzer=settings.analyzer,
        period=settings.period,
        replicas=settings.replicas,
        backfill_before=settings.backfill_before,
    )
