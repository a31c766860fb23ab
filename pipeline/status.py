"""Where the system stands, from the store and the topics: the same over all workers and restarts."""

from __future__ import annotations

from typing import Any

from pipeline.alerting.sources import SILENT
from pipeline.store.base import Store


def from_store(store: Store) -> dict[str, Any]:
    """Counts are of records; consumed = indexed + duplicate + dead + in_flight. `lag` is as the workers saw it last."""
    progress = store.load_progress().values()
    counts = {name: sum(getattr(p, name) for p in progress) for name in ("indexed", "duplicate", "dead", "in_flight")}
    info = store.state("model") or {}
    open_alerts = store.alerts(open_only=True)
    return {
        "consumed": sum(counts.values()),
        **counts,
        "lag": sum(p.lag for p in progress),
        "open_alerts": len(open_alerts),
        "silent_sources": [s["source"] for s in (store.state(SILENT) or {}).get("sources", [])],
        "model": " ".join(filter(None, (info.get("name"), info.get("version")))),
    }
