"""Plays a feed through the real workers in one process, and counts the outcome of its records."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

from models.json_types import JsonObject
from pipeline.alerting.evaluation.state import STATE, EvaluatorState
from pipeline.classify.codec import decode
from pipeline.classify.stage import Classifier, served_model
from pipeline.demo.feed import Item
from pipeline.domain.alert import Alert
from pipeline.domain.errors import EXIT_BUG, EXIT_USAGE, Fatal, Poison
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import Origin, Record
from pipeline.domain.states import SERVED_MODEL
from pipeline.ingest.columns import Rules
from pipeline.ingest.post_files import Intake, checked, posts_of
from pipeline.kafka.embedded import EmbeddedBroker
from pipeline.service.workers import Workers
from pipeline.settings import ChannelSettings, Settings
from pipeline.store.protocol import Store
from pipeline.store.sqlite.store import SqliteStore

log = logging.getLogger(__name__)
#: The embedded broker keeps 5 MB per partition and drops older records: the feed never runs further ahead than this.
MAX_AHEAD, MAX_AHEAD_BYTES = 6000, 4_000_000
DRAIN_S = 120.0
#: The feed pauses this often until everything sent is indexed; only then may the alert role evaluate up to there.
_PAUSES, _LEAST_BETWEEN = 14, 200
#: Seconds that a finished demo waits for its notifications.
_NOTIFY_S = 10.0
_PARTITIONS = 4
#: Rejected rows of a file that are reported.
_SHOWN = 20
#: The fields of an alert that the summary shows.
_ALERT = ("key", "severity", "started_at", "first_notified_at", "resolved_at", "observed", "expected", "evidence")


@dataclass
class Session:
    """The state of a running demo, which the view and the console read."""

    settings: Settings
    store: Store
    workers: Workers
    items: Sequence[Item]
    sent: int = 0
    at: datetime | None = None
    started: float = field(default_factory=time.monotonic)
    finished: float | None = None
    drained: bool = False
    complete_to: datetime | None = None

    @property
    def done(self) -> int:
        """Records with an outcome: indexed, duplicate or dead."""
        m = self.workers.metrics
        return total(m, "indexed") + total(m, "duplicate") + total(m, "dead")


def total(metrics: Metrics, name: str) -> int:
    """Sum of a posts counter over all its labels."""
    counter = {"consumed": metrics.consumed, "indexed": metrics.indexed}.get(name)
    counter = counter or {"duplicate": metrics.duplicate, "dead": metrics.dead}[name]
    return int(sum(s.value for family in counter.collect() for s in family.samples if s.name.endswith("_total")))


#: Switches off all that depends on the clock of the machine, so that a feed always gives the same alerts.
_STEADY = {"idle_s": 3.0, "evaluate_every_s": 0.25, "calibrate_every_days": 0.0, "no_data_share": 1.0}


def demo_settings(settings: Settings, folder: Path, subjects: dict[str, list[str]]) -> Settings:
    """The user's settings with the embedded broker and a temporary store."""
    return settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(update={"bootstrap_servers": "embedded", "session_timeout_s": 30.0}),
            "store": settings.store.model_copy(update={"url": f"sqlite:///{folder}/demo.sqlite"}),
            "alerts": settings.alerts.model_copy(
                # A channel that always works, so that every alert is notified.
                update={**_STEADY, "channels": [*settings.alerts.channels, ChannelSettings(name="demo", kind="log")]}
            ),
            "subjects": settings.subjects or subjects,
        }
    )


async def play(
    settings: Settings,
    subjects: dict[str, list[str]],
    items: Sequence[Item],
    classifier: Classifier,
    *,
    seconds: float,
    attend: Callable[[Session], Any],
    alerting: bool = True,
) -> Summary:
    """Feeds `items` in about `seconds` (0: as fast as they are classified); returns the summary.

    `attend(session)` is an async context manager that surrounds the run, e.g. to show a view; its exit may wait for
    the user. Without `alerting` only the classify role runs.
    """
    with tempfile.TemporaryDirectory(prefix="opinionwatch-demo-") as folder:
        settings = demo_settings(settings, Path(folder), subjects)
        store = SqliteStore(Path(folder) / "demo.sqlite")
        store.setup()
        store.put_state(SERVED_MODEL, served_model(classifier))
        store.put_state(STATE, EvaluatorState.begun_at(items[0].at))
        broker = EmbeddedBroker()
        kafka = settings.kafka
        broker.create(
            sorted({*kafka.topics, *(i.topic for i in items), kafka.dead_topic, kafka.progress_topic})
            + [kafka.alerts_topic]
        )
        workers = Workers(settings, broker.address, store, Metrics())
        workers.add_classify(classifier)
        session = Session(settings, store, workers, items, complete_to=items[0].at)
        if alerting:
            workers.add_alert(lambda: session.complete_to)
        try:
            await workers.start()
            async with attend(session):
                session.started = time.monotonic()
                await _race(_run(session, broker, seconds), workers)
        finally:
            await workers.close()
        summary = summarise(session)
        store.close()
        return summary


async def _run(session: Session, broker: EmbeddedBroker, seconds: float) -> None:
    await _feed(session, broker, seconds)
    await _all_done(session)
    session.complete_to = None
    session.finished = time.monotonic()
    deadline = time.monotonic() + DRAIN_S
    bounds = session.store.bounds()
    alerts = session.workers.alert
    while bounds and alerts and not alerts.worker.evaluated_to(_last_bucket(session)):
        if time.monotonic() > deadline:
            raise Fatal(f"the alert role did not finish within {DRAIN_S:.0f} s", "run the demo again", EXIT_BUG)
        await asyncio.sleep(0.05)
    deadline = time.monotonic() + _NOTIFY_S
    while any(_awaits_channels(alert) for alert in session.store.alerts()) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    session.drained = True


def _awaits_channels(alert: Alert) -> bool:
    return bool(alert.notifications.pending) and not alert.notifications.held


async def _all_done(session: Session) -> None:
    """Returns when every record that was sent has its outcome."""
    deadline = time.monotonic() + DRAIN_S
    while session.done < session.sent or (session.workers.classify and session.workers.classify.flow.in_flight):
        if time.monotonic() > deadline:
            left = session.sent - session.done
            raise Fatal(f"{left} records had no outcome within {DRAIN_S:.0f} s", "run the demo again", EXIT_BUG)
        await asyncio.sleep(0.02)


def _last_bucket(session: Session) -> datetime:
    reached = max(p.event_time for p in session.store.load_progress().values())
    return reached - timedelta(seconds=300)


async def _feed(session: Session, broker: EmbeddedBroker, seconds: float) -> None:
    reached, done = [0, *accumulate(len(item.value) for item in session.items)], 0
    between = max(_LEAST_BETWEEN, len(session.items) // _PAUSES)
    places = _Places()
    for number, item in enumerate(session.items):
        while number - done > MAX_AHEAD or reached[number] - reached[done] > MAX_AHEAD_BYTES:
            if (now := session.done) == done:
                await asyncio.sleep(0.02)
            done = now
        if seconds and (early := session.started + seconds * number / len(session.items) - time.monotonic()) > 0.01:
            broker.flush()
            await asyncio.sleep(early)
        partition, alone = places.of(item)
        if alone or (number and number % between == 0):
            broker.flush()
            await _all_done(session)
            places.forget()
            session.complete_to = item.at
        broker.send(item.topic, b"", item.value, item.timestamp_ms, partition)
        session.sent, session.at = number + 1, item.at
        if number % 50 == 0:
            await asyncio.sleep(0)
    broker.flush()


class _Places:
    """Chooses partitions so that the first of two posts with the same text always counts as the original.

    Posts with the same text go to the same partition, which is read in order; topics are read in parallel.
    """

    def __init__(self) -> None:
        self._topics: dict[str, str] = {}

    def of(self, item: Item) -> tuple[int, bool]:
        """The partition of a record, and whether it must wait until everything sent is indexed.

        It must wait if another topic has its text.
        """
        try:
            text = decode(Record(Origin(item.topic, 0, 0), item.timestamp_ms, item.value)).content_hash
        except Poison:
            return 0, False
        return int(text[:8], 16) % _PARTITIONS, self._topics.setdefault(text, item.topic) != item.topic

    def forget(self) -> None:
        """Forgets all texts, once everything sent is indexed."""
        self._topics.clear()


async def _race(work: Any, workers: Workers) -> None:
    """Runs `work` until it ends, or until the workers fail or stop."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(workers.wait())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()


@dataclass(frozen=True, slots=True)
class Summary:
    """What a demo did: its counts of records, its alerts from the first to the last, and how fast it was."""

    consumed: int
    indexed: int
    duplicate: int
    dead: int
    in_flight: int
    alerts: tuple[Alert, ...]
    posts_per_s: float
    model: str

    def to_json(self) -> JsonObject:
        """The object that `--once --json` prints."""
        return {
            "consumed": self.consumed,
            "indexed": self.indexed,
            "duplicate": self.duplicate,
            "dead": self.dead,
            "in_flight": self.in_flight,
            "alerts": [_shown(alert) for alert in self.alerts],
            "posts_per_s": self.posts_per_s,
            "model": self.model,
        }


def _shown(alert: Alert) -> JsonObject:
    written = alert.to_json()
    return {**{name: written[name] for name in _ALERT}, "disputed": alert.disputed}


def summarise(session: Session) -> Summary:
    """Summarises the run up to now."""
    metrics = session.workers.metrics
    consumed, elapsed = total(metrics, "consumed"), (session.finished or time.monotonic()) - session.started
    classify = session.workers.classify
    return Summary(
        consumed=consumed,
        indexed=total(metrics, "indexed"),
        duplicate=total(metrics, "duplicate"),
        dead=total(metrics, "dead"),
        in_flight=classify.flow.in_flight if classify else 0,
        alerts=tuple(sorted(session.store.alerts(), key=lambda alert: alert.started_at)),
        posts_per_s=round(consumed / elapsed, 1),
        model=f"{classify.classifier.name} {classify.classifier.version}" if classify else "",
    )


def read_feed(path: Path, default_topic: str, report: Callable[[str], None]) -> list[Item]:
    """The posts of a file in the order of their times; `report` gets a line for each row that is not a post.

    A readable row that is not a post is played too, and becomes a dead letter as in production. A row without a time
    gets the time of the row before it. Raises `Fatal` where no row is a post.
    """
    items: list[Item] = []
    intake = Intake()
    at = datetime.now(UTC)
    now_ms = round(at.timestamp() * 1000)
    with posts_of(path, Rules(), default_source=path.stem) as (_, entries):
        for entry in entries:
            intake.see(entry)
            topic = default_topic
            try:
                post = checked(entry, path, now_ms)
            except Poison as poison:
                intake.reject(entry, poison.reason)
                if intake.rejected.total() <= _SHOWN:
                    report(f"{path}:{entry.line}: {entry.problem or poison}")
            else:
                intake.take(entry)
                at = post.event_time if entry.timed and not post.time_suspect else at
                topic = "opinion.news" if post.kind == "news" else default_topic
            if entry.value:
                items.append(Item(topic, at, entry.value))
    if not intake.produced:
        raise Fatal(
            f"--feed {path}: {intake.nothing_used}",
            "see the reasons above; docs/ingest.md lists the names of fields",
            EXIT_USAGE,
        )
    for line in intake.lines() if intake.rejected or intake.left_out else ():
        report(line)
    return sorted(items, key=lambda i: i.at)
