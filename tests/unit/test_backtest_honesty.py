"""A calibration that takes a crisis for false says so; an index of any shape is no bug."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulator import brands
from pipeline.alerting.counting.count_cache import CountCache
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.evaluation.backtest import calibrate, negative_scores
from pipeline.alerting.evaluation.calibration import history_of
from pipeline.alerting.evaluation.confirmed import deciding, without_episode
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.cli.backtest.command import backtest
from pipeline.cli.guard import guarded
from pipeline.domain.counting import NegativeDefinition
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, scored


@pytest.fixture
def with_crisis(tmp_path: Path) -> Path:
    """28 days of 44 sparse keys and a crisis, as a CSV."""
    history, _ = brands(16.0, 28, first=120, second=0, seed=2)
    rows = ["timestamp,key,posts,negative"]
    for i, key in enumerate(history.keys):
        for b in range(history.posts.shape[1]):
            at = history.end_of(b) - timedelta(seconds=history.bucket_s)
            rows.append(f"{at.isoformat()},{key},{history.posts[i, b]},{history.negatives[i, b]}")
    (tmp_path / "history.csv").write_text("\n".join(rows))
    return tmp_path / "history.csv"


def ran(capsys: pytest.CaptureFixture[str], **arguments: Any) -> tuple[int, dict[str, Any], str]:
    code = guarded(lambda: backtest(**arguments, as_json=True))
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def test_the_crisis_that_sets_the_threshold_is_named_and_can_be_left_out(
    with_crisis: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, plain, _ = ran(capsys, file=with_crisis)
    crisis = next(e for e in plain["episodes"] if e["key"].startswith("subject:b0"))
    code, poisoned, said = ran(capsys, file=with_crisis, target=0.0)
    assert code == 0
    assert max(poisoned["thresholds"].values()) > 8
    assert crisis["key"] in {d["key"] for d in poisoned["suspected"]}
    assert "count as false alarms" in said
    assert "--calibrate-on" in said
    assert "--except 'subject:b0" in said or "--except 'topic:t0" in said
    name = f"{crisis['key']}@{crisis['fired_at']}"
    code, clean, said = ran(capsys, file=with_crisis, target=0.0, real=[name])
    assert code == 0
    assert max(clean["thresholds"].values()) < max(poisoned["thresholds"].values()) - 2
    assert crisis["key"] in {e["key"] for e in clean["episodes"]}, "it is still an episode of the history"


@pytest.mark.parametrize(
    ("real", "words"),
    [
        (["subject:b0"], "KEY@TIME"),
        (["subject:b@2026-02-01T00:00Z"], "subject:b0"),
        (["subject:b0@2025-02-01T00:00Z"], "no episode"),
        (["subject:b0@late"], "KEY@TIME"),
    ],
)
def test_an_exception_that_is_none_is_a_usage_error(
    with_crisis: Path, capsys: pytest.CaptureFixture[str], real: list[str], words: str
) -> None:
    code, _, said = ran(capsys, file=with_crisis, target=0.1, real=real)
    assert code == 2
    assert words in said


def test_quiet_history_is_not_suspected() -> None:
    history, _ = brands(80.0, 28, first=0, second=0, seed=1)
    scores = negative_scores(history, DetectorConfig.every(history.bucket_s))
    assert deciding(history, scores, calibrate(history, scores, 0.1), Policy()) == []
    assert without_episode(history, scores, "topic:t0", datetime(2000, 1, 1, tzinfo=UTC), Policy()) is None


def stored(path: Path, minutes: list[float], **fields: Any) -> SqliteStore:
    store = SqliteStore(path)
    store.setup()
    store.index([scored(i, minute=at, text=f"b{i}", **fields) for i, at in enumerate(minutes)], START, 1)
    return store


@pytest.mark.parametrize(
    "minutes",
    [[0.0], [7.5], [7.1, 7.9], [5.0, 5.0], [0.0, 1439.5, 1439.9], [0.0, 10.0, 14.999], [27 * 1440.0 + 121, 0.0]],
)
def test_an_index_of_few_posts_ends_in_no_bug(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], minutes: list[float]
) -> None:
    stored(tmp_path / "s.sqlite", minutes).close()
    (tmp_path / "opinionwatch.toml").write_text(f'[store]\nurl = "sqlite:///{tmp_path}/s.sqlite"\n')
    for target in (None, 0.1):
        code, told, _ = ran(capsys, index=True, config=tmp_path / "opinionwatch.toml", target=target)
        assert (code, told["episodes"]) == (0, [])
        assert told["keys"] == 1


def test_an_empty_index_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(tmp_path / "s.sqlite", []).close()
    (tmp_path / "opinionwatch.toml").write_text(f'[store]\nurl = "sqlite:///{tmp_path}/s.sqlite"\n')
    code, _, said = ran(capsys, index=True, config=tmp_path / "opinionwatch.toml")
    assert code == 69
    assert "no posts" in said


def test_posts_dated_ahead_do_not_take_the_place_of_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = (datetime.now(UTC) - START) / timedelta(minutes=1)
    stored(tmp_path / "s.sqlite", [now - 60, now - 30]).close()
    store = SqliteStore(tmp_path / "s.sqlite")
    ahead = scored(99, minute=now - 1, text="ahead")
    later = datetime.now(UTC) + timedelta(days=400)
    store.index([ahead._replace(post=ahead.post._replace(event_time=later))], START, 1)
    store.close()
    (tmp_path / "opinionwatch.toml").write_text(f'[store]\nurl = "sqlite:///{tmp_path}/s.sqlite"\n')
    code, told, _ = ran(capsys, index=True, config=tmp_path / "opinionwatch.toml")
    assert code == 0
    assert told["keys"] == 1
    assert told["key_weeks"] < 0.05


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 2000), min_size=1, max_size=8), st.floats(0, 900), st.floats(0.01, 1200))
def test_every_post_in_the_range_is_counted_once(minutes: list[float], begin: float, length: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = stored(Path(folder) / "s.sqlite", minutes)
        start = START + timedelta(minutes=begin)
        end = start + timedelta(minutes=length)
        first = begin // 5 * 5
        wanted = [m for m in minutes if first <= m and (start <= START + timedelta(minutes=m) < end)]
        if wanted:
            history = history_of(CountCache(store, NegativeDefinition(), keep=False), start, end)
            assert history.posts.shape[1] * 5 >= length
            assert int(np.asarray(history.posts).sum()) >= len(wanted)
        store.close()
