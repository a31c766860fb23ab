"""The demo gives the same alerts each time: whatever the ticks, whatever is idle, whoever is slow. Without a broker."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pipeline.alerting.clock import Clock
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.state import STATE, EvaluatorState
from pipeline.alerting.worker.alert_worker import AlertWorker
from pipeline.cli.demo.command import demo
from pipeline.demo.feed import Item
from pipeline.demo.play import _Places
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import ScoredPost
from pipeline.domain.progress import Progress
from pipeline.settings import AlertSettings
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, scored

DAYS = 10
SHOWN = ("key", "severity", "started_at", "resolved_at", "observed", "expected", "score")


def posts() -> list[ScoredPost]:
    """A crisis on the third day, while the key is cold, and one on the last."""
    rng = random.Random(6)
    rows = [(rng.uniform(0, DAYS * 1440), rng.random() < 0.15) for _ in range(DAYS * 24 * 20)]
    for day in (2, DAYS - 1):
        rows += [(day * 1440 + 600 + rng.uniform(0, 150), True) for _ in range(140)]
    return [
        scored(i, minute=at, text=f"d{i}", sentiment="negative" if bad else "neutral", subjects=["Nova"])
        for i, (at, bad) in enumerate(sorted(rows))
    ]


def worker_of(store: SqliteStore, ceiling: Any, publish: Any) -> AlertWorker:
    return AlertWorker(
        store=store,
        evaluator=Evaluator(store, NegativeDefinition(), DetectorConfig(), Policy()),
        settings=AlertSettings(idle_s=60.0, calibrate_every_days=0),
        channels=[],
        publish=publish,
        holds=lambda: True,
        ceiling=ceiling,
        metrics=Metrics(CollectorRegistry()),
        clock=Clock(sleep=lambda _: asyncio.sleep(0)),
    )


async def played(path: Path, seed: int) -> list[dict[str, Any]]:
    """The feed in pieces, with ticks at random between them; both partitions claim to be idle, and ahead, at random."""
    rng, rows = random.Random(seed), posts()
    store = SqliteStore(path)
    store.setup()
    store.put_state(STATE, EvaluatorState.begun_at(rows[0].post.event_time))
    complete_to: list[datetime | None] = [rows[0].post.event_time]

    async def publish(key: str, alert: Mapping[str, Any]) -> None:
        await asyncio.sleep(0)

    worker = worker_of(store, lambda: complete_to[0], publish)
    pieces, at = [], 0
    while at < len(rows):
        step = rng.choice([60, 240, 700])
        pieces.append(rows[at : at + step])
        at += step
    for number, piece in enumerate(pieces):
        cut = rng.randrange(len(piece))
        for part in (piece[cut:], piece[:cut]):  # what was sent later may be indexed first
            store.index(part, START, 1)
            ahead = piece[-1].post.event_time
            worker.on_progress(
                [Progress("opinion.forum", p, number + 1, number + 1, ahead, partitions=2) for p in (0, 1)]
            )
            for _ in range(rng.choice([0, 0, 1, 2])):
                await worker.tick()
        following = pieces[number + 1][0].post.event_time if number + 1 < len(pieces) else None
        complete_to[0] = following
    last = rows[-1].post.event_time - timedelta(minutes=5)
    for _ in range(500):
        if worker.evaluated_to(last):
            break
        worker.on_progress(
            [Progress("opinion.forum", p, 10**6, 10**6, rows[-1].post.event_time, partitions=2) for p in (0, 1)]
        )
        await worker.tick()
        await asyncio.sleep(0.01)
    assert worker.evaluated_to(last)
    found = sorted((a.to_json() for a in store.alerts()), key=lambda a: (a["started_at"], a["key"]))
    store.close()
    return [{name: alert[name] for name in SHOWN} for alert in found]


def test_random_ticks_give_the_same_alerts(tmp_path: Path) -> None:
    runs = [asyncio.run(played(tmp_path / f"{seed}.sqlite", seed)) for seed in range(4)]
    assert len(runs[0]) >= 2
    assert all(run == runs[0] for run in runs[1:])


def test_the_end_waits_for_events_that_are_being_handled(tmp_path: Path) -> None:
    rows = posts()
    store = SqliteStore(tmp_path / "s.sqlite")
    store.setup()
    store.put_state(STATE, EvaluatorState.begun_at(rows[0].post.event_time))
    store.index(rows, START, 1)
    early: list[bool] = []
    last = rows[-1].post.event_time - timedelta(minutes=5)

    async def publish(key: str, alert: Mapping[str, Any]) -> None:
        early.append(worker.evaluated_to(last))

    worker = worker_of(store, lambda: None, publish)
    worker.on_progress([Progress("opinion.forum", 0, 1, 1, rows[-1].post.event_time, partitions=1)])
    asyncio.run(worker.tick())
    assert early
    assert not any(early)
    assert worker.evaluated_to(last)
    store.close()


def item(text: str, topic: str = "opinion.forum") -> Item:
    return Item(topic, START, json.dumps({"source": "a", "id": text, "text": text}).encode())


def test_one_text_goes_to_one_partition_and_waits_where_another_topic_has_it() -> None:
    places = _Places()
    first, alone = places.of(item("the phone caught fire"))
    assert not alone
    assert places.of(item("RT @ann: the phone caught fire")) == (first, False)
    assert places.of(item("the phone caught fire", "opinion.news"))[1]
    places.forget()
    assert not places.of(item("the phone caught fire", "opinion.news"))[1]
    assert places.of(Item("opinion.forum", START, b"\xff")) == (0, False)
    assert len({places.of(item(f"post number {i}"))[0] for i in range(40)}) == 4


def test_a_feed_without_subjects_says_where_they_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    def stop(*_: Any) -> None:
        raise Stopped

    monkeypatch.setattr("pipeline.cli.demo.show.open_classifier", stop)
    (tmp_path / "posts.jsonl").write_text('{"source": "a", "id": "1", "text": "x"}\n')
    for config, said in (("", True), ('[subjects]\nNova = ["Nova"]\n', False)):
        (tmp_path / "mine.toml").write_text(config)
        with pytest.raises(Stopped):
            demo(once=True, feed=tmp_path / "posts.jsonl", config=tmp_path / "mine.toml")
        told = capsys.readouterr().err
        assert ("no subjects are set" in told) is said
        assert ("mine.toml" in told) is said
