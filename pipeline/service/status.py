"""Summarises the state of the system from the store and the topics, over all workers and restarts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from models.json_types import JsonObject
from pipeline.alerting.counting.source_outage import SOURCE_OUTAGES
from pipeline.domain.ledger import current_progress
from pipeline.domain.post import EPOCH
from pipeline.domain.progress import Progress, same_log
from pipeline.domain.states import SERVED_MODEL, ServedModel
from pipeline.store.protocol import StatusStore

#: A partition may stand still for this long before `status` lists it as waiting.
PATIENCE = timedelta(seconds=60)
_START = "start a worker: 'opinionwatch run classify'"
_SETUP = "run 'opinionwatch setup' to create it, or correct kafka.topics; 'opinionwatch check' says which"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A partition in which records wait: for what, since when, and what a person can do about it."""

    topic: str
    partition: int
    lag: int
    reason: str
    since: datetime
    remedy: str

    @property
    def shown_since(self) -> str | None:
        """When the wait began, with whole seconds; None if it is unknown."""
        return None if self.since == EPOCH else self.since.isoformat(timespec="seconds")

    def to_json(self) -> JsonObject:
        """As in `status --json`."""
        return {**asdict(self), "since": self.shown_since}


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the system: all records that were ever read, consumed = indexed + duplicate + dead + in_flight.

    `lag` is what the workers last saw. `lag` and `waiting` cover the topics of the settings only; any other topic is
    `retired`. `silent_sources` are the sources with an outage.
    """

    consumed: int
    indexed: int
    duplicate: int
    dead: int
    in_flight: int
    skipped: int
    lag: int
    waiting: tuple[Waiting, ...]
    retired: tuple[str, ...]
    open_alerts: int
    silent_sources: tuple[str, ...]
    model: str

    def to_json(self) -> JsonObject:
        """The object that `status --json` prints."""
        return {**asdict(self), "waiting": [each.to_json() for each in self.waiting]}


def from_store(
    store: StatusStore,
    topics: Collection[str] | None = None,
    now: datetime | None = None,
    logs: Mapping[str, str] | None = None,
) -> Status:
    """Summarises what the store holds; `topics` are those of the settings (None: every topic).

    `logs` has the identities of the topics that exist in Kafka (None: Kafka was not asked).
    """
    rows = store.all_progress()
    progress = current_progress(rows)
    read = [p for p in progress.values() if topics is None or p.topic in topics]
    indexed, duplicate = sum(p.indexed for p in rows), sum(p.duplicate for p in rows)
    dead, in_flight = sum(p.dead for p in rows), sum(p.in_flight for p in read)
    model = store.state(SERVED_MODEL) or ServedModel("")
    open_alerts, outages = store.alerts(open_only=True), store.state(SOURCE_OUTAGES)
    return Status(
        consumed=indexed + duplicate + dead + in_flight,
        indexed=indexed,
        duplicate=duplicate,
        dead=dead,
        in_flight=in_flight,
        skipped=sum(p.skipped for p in rows),
        lag=sum(p.lag for p in read),
        waiting=tuple(_waiting(read, topics or (), logs, now or datetime.now(UTC))),
        retired=tuple(sorted({p.topic for p in progress.values()} - {p.topic for p in read})),
        open_alerts=len(open_alerts),
        silent_sources=tuple(outage.source for outage in outages.sources) if outages else (),
        model=" ".join(filter(None, (model.name, model.version))),
    )


def _waiting(
    read: Collection[Progress], topics: Collection[str], logs: Mapping[str, str] | None, now: datetime
) -> list[Waiting]:
    """Returns the partitions that wait for something, in order."""
    size = {p.topic: p.partitions for p in read}
    reported = {(p.topic, p.partition) for p in read}
    absent = set(topics) - logs.keys() if logs is not None else set()
    found = [
        Waiting(topic, 0, 0, "Kafka has no such topic, or does not let this user see it", EPOCH, _SETUP)
        for topic in absent
    ]
    found += [
        Waiting(topic, partition, 0, "no classify worker has reported it yet", EPOCH, _START)
        for topic in set(topics) - absent
        for partition in range(max(1, size.get(topic, 1)))
        if (topic, partition) not in reported
    ]
    for p in read:
        if p.topic not in absent and (waiting := _waiting_for(p, logs, now)):
            found.append(waiting)
    return sorted(found, key=lambda w: (w.topic, w.partition))


def _waiting_for(progress: Progress, logs: Mapping[str, str] | None, now: datetime) -> Waiting | None:
    """Returns what a reported partition waits for; None if it waits for nothing."""
    since = progress.advanced_at
    if logs is not None and not same_log(progress.log, logs[progress.topic]):
        reason, since = "the topic was created again, or is in another cluster", progress.reported_at
        remedy = f"{_START}; it reads the topic from its first record"
    elif now - progress.reported_at > PATIENCE:
        reason, since, remedy = "no classify worker reports it", progress.reported_at, _START
    elif not progress.lag or now - progress.advanced_at <= PATIENCE:
        return None
    elif progress.open_transaction:
        reason = "the next record belongs to a transaction that is not committed"
        remedy = f"end it: 'kafka-transactions.sh abort --topic {progress.topic} --partition {progress.partition} ...'"
    else:
        reason, remedy = "records wait, and the worker does not move", "check the worker's log and its /readyz"
    return Waiting(progress.topic, progress.partition, progress.lag, reason, since, remedy)
