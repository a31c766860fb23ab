"""Where the system stands, from the store and the topics: the same over all workers and restarts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.alerting.counting.source_outage import SOURCE_OUTAGES
from pipeline.domain.ledger import current_progress
from pipeline.domain.post import EPOCH
from pipeline.domain.progress import Progress, same_log
from pipeline.domain.states import SERVED_MODEL, ServedModel
from pipeline.store.protocol import StatusStore

#: For so long a partition may stand still before `status` says that it is waited for.
PATIENCE = timedelta(seconds=60)


def from_store(
    store: StatusStore,
    topics: Collection[str] | None = None,
    now: datetime | None = None,
    logs: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Counts are of records; consumed = indexed + duplicate + dead + in_flight. `lag` is as the workers saw it last.

    Counts are of all that was ever read; `lag` and `waiting` are of `topics`, those of the settings (None: of all).
    The others are `retired`. `logs` are the identities of the topics that Kafka has, as the brokers name them (None:
    they were not asked).
    """
    rows = store.all_progress()
    progress = current_progress(rows)
    read = [p for p in progress.values() if topics is None or p.topic in topics]
    counts = {name: sum(getattr(p, name) for p in rows) for name in ("indexed", "duplicate", "dead")}
    counts["in_flight"] = sum(p.in_flight for p in read)
    model = store.state(SERVED_MODEL) or ServedModel("")
    open_alerts, outages = store.alerts(open_only=True), store.state(SOURCE_OUTAGES)
    return {
        "consumed": sum(counts.values()),
        **counts,
        "skipped": sum(p.skipped for p in rows),
        "lag": sum(p.lag for p in read),
        "waiting": _waiting(read, topics or (), logs, now or datetime.now(UTC)),
        "retired": sorted({p.topic for p in progress.values()} - {p.topic for p in read}),
        "open_alerts": len(open_alerts),
        "silent_sources": [outage.source for outage in outages.sources] if outages else [],
        "model": " ".join(filter(None, (model.name, model.version))),
    }


def _waiting(
    read: Collection[Progress], topics: Collection[str], logs: Mapping[str, str] | None, now: datetime
) -> list[dict[str, Any]]:
    """What each partition waits for, since when, and what settles it; those that wait for nothing are left out."""
    size = {p.topic: p.partitions for p in read}
    spoken = {(p.topic, p.partition) for p in read}
    start = "start a worker: 'opinionwatch run classify'"
    setup = "run 'opinionwatch setup' to create it, or correct kafka.topics; 'opinionwatch check' says which"
    absent = set(topics) - logs.keys() if logs is not None else set()
    found = [
        _place(topic, 0, 0, "Kafka has no such topic, or does not let this user see it", None, setup)
        for topic in absent
    ]
    found += [
        _place(topic, partition, 0, "no classify worker has spoken of it yet", None, start)
        for topic in set(topics) - absent
        for partition in range(max(1, size.get(topic, 1)))
        if (topic, partition) not in spoken
    ]
    for p in read:
        since = p.advanced_at
        if p.topic in absent:
            continue
        if logs is not None and not same_log(p.log, logs[p.topic]):
            reason, since = "the topic was created again, or is in another cluster", p.reported_at
            remedy = f"{start}; it reads the topic from its first record"
        elif now - p.reported_at > PATIENCE:
            reason, since, remedy = "no classify worker speaks of it", p.reported_at, start
        elif not p.lag or now - p.advanced_at <= PATIENCE:
            continue
        elif p.open_transaction:
            reason = "what is next belongs to a transaction that is not committed"
            remedy = f"end it: 'kafka-transactions.sh abort --topic {p.topic} --partition {p.partition} ...'"
        else:
            reason, remedy = "records wait, and the worker does not move", "see the worker's log and its /readyz"
        found.append(_place(p.topic, p.partition, p.lag, reason, since, remedy))
    return sorted(found, key=lambda w: (w["topic"], w["partition"]))


def _place(topic: str, partition: int, lag: int, reason: str, since: datetime | None, remedy: str) -> dict[str, Any]:
    when = None if since is None or since == EPOCH else since.isoformat(timespec="seconds")
    return {"topic": topic, "partition": partition, "lag": lag, "reason": reason, "since": when, "remedy": remedy}
