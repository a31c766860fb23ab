"""`opinionwatch status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter

if TYPE_CHECKING:
    from models.json_types import JsonObject


def status(as_json: AsJson = False, config: Config = None) -> None:
    """Show lag, counts, dead letters, open alerts and the model, over all workers and restarts.

    Example: opinionwatch status --json
    """
    from pipeline.service.status import from_store
    from pipeline.store.factory import open_store

    settings = settings_of(config)
    if settings.embedded:
        found = from_store(open_store(settings.store), settings.kafka.topics, logs=None)
    else:
        from pipeline.kafka import admin

        logs = admin.logs(settings.kafka)
        found = from_store(open_store(settings.store), settings.kafka.topics, logs=logs)
        rows = admin.offsets(settings.kafka)
        found["lag"] = sum(max(0, end - committed) for _, _, committed, end in rows)
        found["partitions"] = [
            {"topic": topic, "partition": partition, "committed": committed, "end": end}
            for topic, partition, committed, end in rows
        ]
    Presenter(as_json).show(found, _lines(found))


def _lines(found: JsonObject) -> Iterator[str]:
    for name in ("consumed", "indexed", "duplicate", "dead", "in_flight", "lag", "open_alerts", "model"):
        yield f"{name:14} {found[name]}"
    for place in found["waiting"]:
        name = f"{place['topic']}/{place['partition']}" + (f" since {place['since']}" if place["since"] else "")
        yield f"{'waiting':14} {name}: {place['reason']}; {place['remedy']}"
    if found["retired"]:
        yield f"{'retired topics':14} {', '.join(found['retired'])}: no worker reads them now; their posts still count"
    if found["silent_sources"]:
        yield f"{'silent sources':14} {', '.join(found['silent_sources'])}"
