"""`opinionwatch status`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter

if TYPE_CHECKING:
    from pipeline.service.status import Status


def status(as_json: AsJson = False, config: Config = None) -> None:
    """Show lag, counts, dead letters, open alerts and the model, over all workers and restarts.

    Example: opinionwatch status --json
    """
    from pipeline.service.status import from_store
    from pipeline.store.factory import open_store

    settings = settings_of(config)
    show = Presenter(as_json).show
    if settings.embedded:
        found = from_store(open_store(settings.store), settings.kafka.topics, logs=None)
        show(found.to_json(), _lines(found))
        return
    from pipeline.kafka import admin

    logs = admin.logs(settings.kafka)
    found = from_store(open_store(settings.store), settings.kafka.topics, logs=logs)
    rows = admin.offsets(settings.kafka)
    found = replace(found, lag=sum(max(0, end - committed) for _, _, committed, end in rows))
    partitions = [
        {"topic": topic, "partition": partition, "committed": committed, "end": end}
        for topic, partition, committed, end in rows
    ]
    show({**found.to_json(), "partitions": partitions}, _lines(found))


def _lines(found: Status) -> Iterator[str]:
    for name in ("consumed", "indexed", "duplicate", "dead", "in_flight", "lag", "open_alerts", "model"):
        yield f"{name:14} {getattr(found, name)}"
    for place in found.waiting:
        since = f" since {place.shown_since}" if place.shown_since else ""
        yield f"{'waiting':14} {place.topic}/{place.partition}{since}: {place.reason}; {place.remedy}"
    if found.retired:
        yield f"{'retired topics':14} {', '.join(found.retired)}: no worker reads them now; their posts still count"
    if found.silent_sources:
        yield f"{'silent sources':14} {', '.join(found.silent_sources)}"
