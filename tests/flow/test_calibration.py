"""Thresholds from the index: found, saved, taken over by the evaluator and the worker, confirmed episodes left out."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from pipeline.alerting.clock import Clock
from pipeline.alerting.counting.count_cache import CountCache
from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.detection.thresholds import CALIBRATION, Calibration, Threshold
from pipeline.alerting.evaluation import calibration
from pipeline.alerting.evaluation.calibration import calibrate_on_index, history_of
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.worker.alert_worker import AlertWorker
from pipeline.alerting.worker.calibration_schedule import CALIBRATE_CHECK_S
from pipeline.domain.counting import NegativeDefinition, Scope
from pipeline.domain.errors import Fatal
from pipeline.domain.metrics import Metrics
from pipeline.domain.operator_state import OperatorState, operator_key
from pipeline.domain.post import ScoredPost
from pipeline.domain.progress import Progress
from pipeline.settings import AlertSettings
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, an_alert, scored

pytestmark = pytest.mark.long
RULE = DetectorConfig()
DAYS = 16


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen days of eight subjects, 12 posts an hour each, a fifth negative, and one storm on the twelfth day."""
    rng = np.random.default_rng(8)
    path = tmp_path_factory.mktemp("calibration") / "store.sqlite"
    store = SqliteStore(path)
    store.setup()
    posts: list[ScoredPost] = []
    for minute in range(0, DAYS * 24 * 60, 5):
        for key in range(8):
            storm = key == 0 and 11 * 1440 <= minute < 11 * 1440 + 240
            bad = rng.random() < (0.9 if storm else 0.2)
            posts.append(
                scored(
                    len(posts), minute=minute, text=f"p{len(posts)}", sentiment="negative" if bad else "neutral",
                    subjects=[f"Brand {key}"], topic=f"topic{key}",
                )
            )  # fmt: skip
    store.index(posts, START, 1)
    store.close()
    return path


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(path)
    yield opened
    opened.database.connection.execute("DELETE FROM state")
    opened.database.connection.execute("DELETE FROM alerts")
    opened.close()


@pytest.fixture(autouse=True)
def _few_key_weeks_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "LEAST_KEY_WEEKS", 5.0)


def counts_of(store: SqliteStore) -> CountCache:
    return CountCache(store, NegativeDefinition(), keep=True)


def evaluator(store: SqliteStore) -> Evaluator:
    made = Evaluator(store, NegativeDefinition(), RULE, Policy())
    made.resume()
    return made


def test_the_counts_of_the_index_are_all_there(store: SqliteStore) -> None:
    history = history_of(counts_of(store), START, START + timedelta(days=DAYS))
    assert len(history.keys) == 24, "topics, subjects, and subjects within topics"
    assert history.posts.shape == history.negatives.shape == (24, DAYS * 288)
    assert int(history.posts[history.keys.index("subject:Brand 3")].sum()) == DAYS * 288
    assert history.scopes["subject:Brand 3|topic:topic3"] == Scope("topic3", "Brand 3")
    assert history.scopes.keys() == set(history.keys)


def test_the_rate_is_reached_and_a_confirmed_storm_does_not_raise_the_threshold(store: SqliteStore) -> None:
    heard: list[float] = []
    before = calibrate_on_index(store, counts_of(store), RULE, 0.0, NegativeDefinition(), heard.append).thresholds[
        "10 to 50/h"
    ]
    assert before.per_key_week == 0
    assert before.fire > 6, "the storm counts as false: nobody said that it was real"
    assert heard[-1] == 1.0
    storm = START + timedelta(days=11)
    for key in ("subject:Brand 0", "topic:topic0", "subject:Brand 0|topic:topic0"):
        store.put_alert(an_alert(key, key=key, started_at=storm.isoformat(), pending=[]))
        store.put_state(operator_key(key), OperatorState(acknowledged_at=storm))
    after = calibrate_on_index(store, counts_of(store), RULE, 0.0, NegativeDefinition()).thresholds["10 to 50/h"]
    assert after.fire < before.fire - 1
    for key in ("subject:Brand 0", "topic:topic0", "subject:Brand 0|topic:topic0"):
        store.put_state(
            operator_key(key),
            OperatorState(acknowledged_at=storm, false_alarm_at=storm),
        )
    taken_back = calibrate_on_index(store, counts_of(store), RULE, 0.0, NegativeDefinition()).thresholds["10 to 50/h"]
    assert taken_back.fire == before.fire, "who acknowledged it found out that it was none"


def test_too_short_a_history_is_refused_with_what_there_is(tmp_path: Path) -> None:
    short = SqliteStore(tmp_path / "short.sqlite")
    short.setup()
    with pytest.raises(Fatal, match="nothing"):
        calibrate_on_index(short, counts_of(short), RULE, 0.1, NegativeDefinition())
    short.index([scored(1, minute=0), scored(2, minute=5 * 1440)], START, 1)
    with pytest.raises(Fatal, match=r"5\.0 days"):
        calibrate_on_index(short, counts_of(short), RULE, 0.1, NegativeDefinition())
    short.close()


def test_the_evaluator_fires_at_the_threshold_of_the_tier_and_says_its_rate(store: SqliteStore) -> None:
    def keys_told(tiers: dict[str, Threshold]) -> set[str]:
        store.database.connection.execute("DELETE FROM state")
        store.put_state(CALIBRATION, Calibration(START, 0.1, tiers))
        made = evaluator(store)
        events = []
        for end in (START + timedelta(hours=1), START + timedelta(days=DAYS)):
            events += [e for chunk in made.advance(end) for e in chunk]
        assert {e.threshold for e in events} <= set(tiers.values())
        return {e.episode.key for e in events}

    usual = {"10 to 50/h": Threshold(4.5, 0.07, 40.0)}
    assert "subject:Brand 0" in keys_told(usual)
    assert keys_told({"10 to 50/h": replace(usual["10 to 50/h"], fire=90.0)}) == set()


def test_the_worker_calibrates_beside_its_evaluation_and_only_when_it_is_due(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def publish(key: str, alert: object) -> None:
        return None

    clock_s, runs, used = [1000.0], list[float](), evaluator(store)
    calibrate = used.calibrate

    def counted(target: float) -> Calibration:
        runs.append(target)
        return calibrate(target)

    monkeypatch.setattr(used, "calibrate", counted)
    made = AlertWorker(
        store=store,
        evaluator=used,
        settings=AlertSettings(),
        channels=[],
        publish=publish,
        holds=lambda: True,
        metrics=Metrics(CollectorRegistry()),
        clock=Clock(now=lambda: datetime(2026, 11, 24, tzinfo=UTC), monotonic=lambda: clock_s[0]),
    )
    end = START + timedelta(days=DAYS)
    made.on_progress([Progress("t", 0, 720, 720, end)])

    async def look() -> None:
        await made.tick()
        assert store.state(CALIBRATION) is None, "the evaluation does not wait for it"
        async with asyncio.timeout(60):
            while used.calibration is None:
                await asyncio.sleep(0.01)
        for _ in range(2):
            clock_s[0] += CALIBRATE_CHECK_S
            await made.tick()
        assert len(runs) == 1, "a week has not gone by"

    asyncio.run(look())
    saved = store.state(CALIBRATION)
    assert saved
    assert saved.thresholds["10 to 50/h"].per_key_week <= 0.1
    assert end - saved.at < timedelta(minutes=10)
    assert used.calibration == saved
    by_hand = replace(saved, thresholds={"10 to 50/h": Threshold(5.5, 0.01, 99.0)})
    store.put_state(CALIBRATION, by_hand)
    clock_s[0] += CALIBRATE_CHECK_S
    asyncio.run(made.tick())
    assert used.calibration == by_hand, "what 'backtest --save' wrote is taken over"


def backtest(path: Path, *options: str, **settings: str) -> Any:
    """What `opinionwatch backtest --index --json` says of the store at `path`."""
    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli.main import main; main()", "backtest", "--index", "--json", *options],
        env={"OPINIONWATCH_STORE__URL": f"sqlite:///{path}", "PATH": "", **settings},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_backtest_reads_the_index_and_saves(path: Path, store: SqliteStore) -> None:
    found = backtest(path, "--target-false-alerts", "0.2", "--save")
    assert found["keys"] == 24
    assert any(e["key"] == "subject:Brand 0" for e in found["episodes"])
    assert store.state(CALIBRATION)


def test_a_backtest_of_the_index_says_what_min_authors_would_have_held(path: Path, store: SqliteStore) -> None:
    """The storm is 48 posts, most of them negative, of nobody: each is one more author."""

    def episodes(least: int) -> list[dict[str, object]]:
        found = backtest(path, OPINIONWATCH_ALERTS__MIN_AUTHORS=str(least))
        assert found["held"] == sum(e["held"] is not None for e in found["episodes"])
        storm: list[dict[str, object]] = [e for e in found["episodes"] if e["key"] == "subject:Brand 0"]
        assert storm
        return storm

    assert {e["held"] for e in episodes(10)} == {None}
    (held,) = {e["held"] for e in episodes(90)}
    assert 30 <= int(str(held).split(" of ")[0]) <= 60
    assert str(held).endswith("of 90 authors")


def test_a_chart_marks_the_episode() -> None:
    from rich.console import Console

    from pipeline.alerting.alerts.terminal_chart import share_chart
    from pipeline.alerting.evaluation.backtest import episodes, negative_scores

    rng = np.random.default_rng(1)
    posts = rng.poisson(50, (2, 14 * 24))
    negatives = rng.binomial(posts, 0.2)
    negatives[1, 300:306] = posts[1, 300:306] * 9 // 10
    history = CountHistory(("calm", "storm"), START, 3600, posts, negatives)
    found = episodes(history, negative_scores(history, DetectorConfig.every(3600)), [5.0, 5.0], Policy())
    console = Console(record=True, width=120, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(share_chart(history, found))
    first, second = console.export_text().splitlines()[:2]
    assert first.startswith("storm")
    assert max(first) > max(second), "the storm's bar is the highest"
