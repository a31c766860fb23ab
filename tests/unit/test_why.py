"""`alerts why`: the evaluator's own numbers at any time, and each gate by its name. On SQLite, with the real rule."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alerting.alerts.evidence import Evidence
from pipeline.alerting.alerts.maker import make_alert
from pipeline.alerting.counting.table import CountTable, key_name, scope_of
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.detection.verdicts import Verdicts
from pipeline.alerting.evaluation import evaluator as evaluator_module
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.negative_lane import NegativeLane
from pipeline.alerting.evaluation.observations import observation_of
from pipeline.alerting.evaluation.replay import Replay
from pipeline.alerting.evaluation.why import near
from pipeline.cli.alerts.snooze import duration
from pipeline.cli.alerts.why import why
from pipeline.cli.guard import guarded
from pipeline.domain.counting import NegativeDefinition, Scope
from pipeline.domain.errors import Fatal
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, scored

CRISIS = START + timedelta(days=9, hours=6)
END = START + timedelta(days=10)


class Noted(NegativeLane):
    """Keeps the score of one key at the end of every bucket that is judged."""

    key = "subject:Nova"
    scores: ClassVar[dict[datetime, float]] = {}

    def verdicts(self, table: CountTable, column: int) -> Verdicts:
        found = super().verdicts(table, column)
        names = [key_name(scope) for scope in table.scopes]
        if self.key in names:
            at = table.time_of(column)
            self.scores[at] = observation_of(found, names.index(self.key), at).score
        return found


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[datetime, float]]:
    """Ten days of two brands, a crisis of one on the last day, judged in three runs; its alert stands in the store."""
    rng = random.Random(11)
    posts = [(rng.uniform(0, 14400), rng.random() < 0.2, rng.choice(["Nova", "Kestrel"])) for _ in range(4000)]
    posts += [(9 * 1440 + 360 + rng.uniform(0, 180), True, "Nova") for _ in range(60)]
    path = tmp_path_factory.mktemp("why") / "store.sqlite"
    store = SqliteStore(path)
    store.setup()
    rows = [
        scored(i, minute=at, text=f"w{i}", sentiment="negative" if bad else "neutral", subjects=[subject])
        for i, (at, bad, subject) in enumerate(sorted(posts))
    ]
    store.index(rows, START, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator_module, "NegativeLane", Noted)
        made = Evaluator(store, NegativeDefinition(), DetectorConfig(), Policy())
    for until in (START + timedelta(days=9), CRISIS + timedelta(hours=2), END):
        made.resume()
        for events in made.advance(until):
            for event in events:
                store.put_alert(make_alert(event, Evidence(), store.alert(event.episode.id)))
            made.save()
    store.close()
    return path, dict(Noted.scores)


def asked(
    capsys: pytest.CaptureFixture[str],
    path: Path,
    key: str,
    at: datetime,
    config: str = "",
) -> dict[str, Any]:
    file = path.parent / "opinionwatch.toml"
    file.write_text(f'[store]\nurl = "sqlite:///{path}"\n[subjects]\nNova = ["Nova"]\nAbsent = ["Absent"]\n{config}')
    code = guarded(lambda: why(key, at.isoformat(), as_json=True, config=file))
    said = capsys.readouterr()
    return {"code": code, "err": said.err, **(json.loads(said.out) if said.out else {})}


def test_at_any_time_the_score_is_the_evaluators(judged: tuple[Path, dict[datetime, float]]) -> None:
    path, scores = judged
    store = SqliteStore(path)
    alerts = store.alerts()
    rng = random.Random(4)
    during = [at for at in scores if CRISIS < at < CRISIS + timedelta(hours=5)]
    assert max(scores[at] for at in during) > 6
    others = [at for at in scores if START + timedelta(days=1) < at]
    for at in rng.sample(during, 4) + rng.sample(others, 3):
        seen, known = Replay(store, NegativeDefinition(), DetectorConfig(), Policy()).observe(
            "subject:Nova", at, alerts
        )
        assert seen is not None
        assert seen.observation.score == pytest.approx(scores[at], abs=0.002), at
        assert "subject:Kestrel" in known
    store.close()


def test_when_it_fired_it_says_so_with_the_numbers_of_the_alert(
    judged: tuple[Path, dict[datetime, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, scores = judged
    store = SqliteStore(path)
    before = store.database.connection.execute("SELECT name, value FROM state").fetchall()
    [alert] = [a for a in store.alerts() if a.key == "subject:Nova" and a.started_at > CRISIS.replace(hour=0)]
    fired = next(at for at in sorted(scores) if at > CRISIS and scores[at] >= 4)
    told = asked(capsys, path, "subject:Nova", fired)
    assert (told["code"], told["verdict"], told["score"]) == (0, "alerting", scores[fired])
    assert told["alert"]["id"] == alert.id
    assert told["evaluated"]
    assert sum(day["posts"] for day in told["days"]) > 1000
    [best] = [w for w in told["windows"] if w["score"] == max(w["score"] for w in told["windows"])]
    assert (best["observed"], best["shut"]) == (told["observed"], [])
    topic = asked(capsys, path, "topic:technology", fired + timedelta(hours=1))
    assert topic["verdict"] == "inhibited" or topic["reasons"], "a topic is told by its brand"
    peak = max((at for at in scores if at > CRISIS), key=lambda at: scores[at])
    inside = asked(capsys, path, "subject:Nova|topic:technology", peak)
    assert (inside["verdict"], inside["inhibited_by"]) == ("inhibited", alert.id)
    assert store.database.connection.execute("SELECT name, value FROM state").fetchall() == before, "nothing is written"
    store.close()


@pytest.mark.parametrize(
    ("config", "gate"),
    [
        ('[[alerts.overrides]]\nkeys = ["subject:*"]\nwatch = false\n', "watch"),
        ('[[alerts.overrides]]\nkeys = ["subject:Nova"]\nfire = 90.0\n', "threshold"),
        ('[[alerts.overrides]]\nkeys = ["subject:Nova"]\nmin_negatives = 900\n', "rule"),
        ("[alerts]\nmin_negatives = 500\n", "min_negatives"),
        ("[alerts]\nmin_lift = 9.0\n", "min_lift"),
    ],
)
def test_each_shut_gate_is_named(
    judged: tuple[Path, dict[datetime, float]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    config: str,
    gate: str,
) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(judged[0].read_bytes())
    with SqliteStore(path).database.connection as connection:
        connection.execute("DELETE FROM alerts")
        connection.execute("DELETE FROM state WHERE name = 'evaluator'")
    peak = max((at for at in judged[1] if at > CRISIS), key=lambda at: judged[1][at])
    told = asked(capsys, path, "subject:Nova", peak, config)
    assert told["verdict"] == "no alert"
    assert told["reasons"][0]["gate"] == gate
    assert told["reasons"][-1]["gate"] == "evaluated", "no alert role has judged here"


def test_too_few_posts_no_posts_and_a_cold_key(
    judged: tuple[Path, dict[datetime, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = judged
    quiet = asked(capsys, path, "subject:Kestrel", CRISIS)
    assert quiet["verdict"] == "no alert"
    assert {r["gate"] for r in quiet["reasons"]} & {"threshold", "min_negatives", "min_lift"}
    early = asked(capsys, path, "subject:Kestrel", START + timedelta(days=1))
    assert early["cold"]
    assert "cold" in {r["gate"] for r in early["reasons"]}


@pytest.mark.parametrize(
    ("key", "at", "words"),
    [
        ("subject:nova", CRISIS, ["subject:Nova"]),
        ("Kestrel", CRISIS, ["did you mean subject:Kestrel"]),
        ("subject:Absent", CRISIS, ["keywords"]),
        ("what", CRISIS, ["give a key such as"]),
        ("subject:Nova", START - timedelta(days=1), ["outside the index", "the index holds"]),
        ("subject:Nova", END + timedelta(days=99), ["outside the index"]),
    ],
)
def test_what_is_not_there_is_a_usage_error_with_the_remedy(
    judged: tuple[Path, dict[datetime, float]],
    capsys: pytest.CaptureFixture[str],
    key: str,
    at: datetime,
    words: list[str],
) -> None:
    told = asked(capsys, judged[0], key, at)
    assert told["code"] == 2
    for word in words:
        assert word in told["err"]


@pytest.mark.parametrize("at", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00", "20:15", ""])
def test_what_is_no_time_is_a_usage_error(
    judged: tuple[Path, dict[datetime, float]], capsys: pytest.CaptureFixture[str], at: str
) -> None:
    file = judged[0].parent / "times.toml"
    file.write_text(f'[store]\nurl = "sqlite:///{judged[0]}"\n')
    assert guarded(lambda: why("subject:Nova", at, config=file)) == 2
    assert "is not a time" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["366d", "99999999999999999999d", "999999999d", "4w", "-1h"])
def test_what_is_no_sensible_snooze_is_a_usage_error(text: str) -> None:
    with pytest.raises(Fatal, match="--for"):
        duration(text)


def test_the_page_for_people_is_short(
    judged: tuple[Path, dict[datetime, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = judged[0].parent / "opinionwatch.toml"
    file.write_text(f'[store]\nurl = "sqlite:///{judged[0]}"\n')
    why("subject:Nova", (CRISIS + timedelta(hours=2)).isoformat(), config=file)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("subject:Nova, 11 Mar 08:00 UTC: alerting")
    assert len(lines) < 25


@given(st.builds(Scope, *[st.text(st.characters(exclude_characters="|", codec="utf-8"), max_size=6)] * 3))
def test_a_keys_name_is_read_back(scope: Scope) -> None:
    named = scope_of(key_name(scope))
    assert named == (scope if key_name(scope) else None)


@given(st.text(max_size=12), st.lists(st.text(max_size=12), max_size=8))
def test_near_names_are_known_ones(key: str, known: list[str]) -> None:
    found = near(key, known)
    assert set(found) <= set(known)
    assert len(found) <= 5
    if key in known:
        assert found
