"""Where the system stands, from the store and the topics: the same over all workers and restarts."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.alerting.sources import SILENT
from pipeline.ledger import current
from pipeline.posts import Progress
from pipeline.store.base import Store

#: For so long a partition may stand still before `status` says that it is waited for.
PATIENCE = timedelta(seconds=60)


def from_store(store: Store, topics: Collection[str] | None = None, now: datetime | None = None) -> dict[str, Any]:
    """Counts are of records; consumed = indexed + duplicate + dead + in_flight. `lag` is as the workers saw it last.

    Counts are of all that was ever read; `lag` and `waiting` are of `topics`, those of the settings (None: of all).
    The others are `retired`.
    """
    rows = store.all_progress()
    progress = current(rows)
    read = [p for p in progress.values() if topics is None or p.topic in topics]
    counts = {name: sum(getattr(p, name) for p in rows) for name in ("indexed", "duplicate", "dead")}
    counts["in_flight"] = sum(p.in_flight for p in read)
    info = store.state("model") or {}
    open_alerts = store.alerts(open_only=True)
    return {
        "consumed": sum(counts.values()),
        **counts,
        "skipped": sum(p.skipped for p in rows),
        "lag": sum(p.lag for p in read),
        "waiting": [w for p in read if (w := waiting(p, now or datetime.now(UTC)))],
        "retired": sorted({p.topic for p in progress.values()} - {p.topic for p in read}),
        "open_alerts": len(open_alerts),
        "silent_sources": [s["source"] for s in (store.state(SILENT) or {}).get("sources", [])],
        "model": " ".join(filter(None, (info.get("name"), info.get("version")))),
    }


def waiting(p: Progress, now: datetime) -> dict[str, Any] | None:
    """What a partition waits for, since when, and what settles it; None where nothing keeps the verdict."""
    if now - p.reported_at > PATIENCE:
        reason, since = "no classify worker speaks of it", p.reported_at
        remedy = "start a worker: 'opinionwatch run classify'"
    elif p.lag and now - p.advanced_at > PATIENCE and p.open_transaction:
        reason, since = "what is next belongs to a transaction that is not committed", p.advanced_at
        remedy = f"end it: 'kafka-transactions.sh abort --topic {p.topic} --partition {p.partition} ...'"
    elif p.lag and now - p.advanced_at > PATIENCE:
        reason, since = "records wait, and the worker does not move", p.advanced_at
        remedy = "see the worker's log and its /readyz"
    else:
        return None
    place = {"topic": p.topic, "partition": p.partition, "lag": p.lag}
    return {**place, "reason": reason, "since": since.isoformat(timespec="seconds"), "remedy": remedy}
