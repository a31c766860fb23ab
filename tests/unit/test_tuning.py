"""The trial of batch sizes: the fastest wins, the smaller one among equals, and it is done once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import load_bundle, tuning
from models.batching import by_length
from models.tuning import AT_ONCE, CPU_BUDGETS, GPU_BUDGETS, LENGTHS, best_budget, cached, trial_lengths
from pipeline.settings import STARTER
from pipeline.settings.sections import FlowSettings


@given(st.lists(st.floats(0.1, 10), min_size=4, max_size=4))
def test_no_budget_is_more_than_a_little_faster_than_the_chosen_one(seconds: list[float]) -> None:
    budgets = (256, 512, 1024, 2048)
    of = dict(zip(budgets, seconds, strict=True))
    chosen = best_budget(of.__getitem__, budgets)
    assert chosen is not None
    assert of[chosen] <= min(seconds) * 1.02
    assert all(of[b] > min(seconds) * 1.02 for b in budgets if b < chosen)


def test_a_trial_fills_each_budget_twice_or_is_what_a_worker_has_at_once() -> None:
    """A trial that is one batch under every budget finds the least of them, whatever is fastest."""
    assert len(list(by_length(trial_lengths(CPU_BUDGETS), max(CPU_BUDGETS)))) >= 2
    on_gpu = trial_lengths(GPU_BUDGETS)
    assert AT_ONCE - len(LENGTHS) < len(on_gpu) <= AT_ONCE == FlowSettings().batch_records
    assert len(list(by_length(on_gpu, GPU_BUDGETS[-2]))) >= 2


def test_a_disturbance_of_half_of_the_trial_does_not_decide() -> None:
    disturbed = iter([9.0] * 5)
    assert best_budget(lambda b: next(disturbed, 1.0 if b == 512 else 2.0), (512, 1024)) == 512


@given(st.lists(st.floats(0.01, 30), min_size=4, max_size=4), st.floats(0.1, 20))
def test_a_trial_ends_in_time_and_says_when_it_could_not_be_finished(seconds: list[float], limit_s: float) -> None:
    budgets, spent = (256, 512, 1024, 2048), [0.0]
    of = dict(zip(budgets, seconds, strict=True))

    def trial(budget: int) -> float:
        assert spent[0] <= limit_s, "no trial begins after it"
        spent[0] += of[budget]
        return of[budget]

    chosen = best_budget(trial, budgets, limit_s=limit_s)
    if 2 * sum(seconds) <= limit_s:
        assert chosen is not None
    if spent[0] < 2 * sum(seconds) - max(seconds):
        assert chosen is None


def test_a_trial_that_was_not_finished_is_not_remembered(tmp_path: Path) -> None:
    found = iter([None, 768])
    assert cached("a", lambda: next(found), tmp_path) is None
    assert cached("a", lambda: next(found), tmp_path) == 768
    assert cached("a", lambda: next(found), tmp_path) == 768


def test_an_engine_on_a_machine_too_busy_for_a_trial_keeps_its_usual_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tuning, "LIMIT_S", 0.0)
    engine = load_bundle(STARTER, device="cpu")
    usual = engine.budget_tokens
    engine.tune()
    assert engine.budget_tokens == usual
    assert not list(tmp_path.rglob("budgets.json"))


def test_what_was_found_is_found_again_and_a_broken_cache_is_no_harm(tmp_path: Path) -> None:
    calls: list[int] = []

    def find() -> int:
        calls.append(1)
        return 1024

    assert [cached("a", find, tmp_path) for _ in range(2)] == [1024, 1024]
    assert len(calls) == 1
    for broken in ("{", "[]", '{"a": null}'):
        (tmp_path / "budgets.json").write_text(broken)
        assert cached("a", find, tmp_path) == 1024
    assert len(calls) == 4
    (tmp_path / "file").write_text("")
    assert cached("a", find, tmp_path / "file") == 1024, "no folder to write to"


def test_the_engine_is_tuned_once_a_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tuning, "LIMIT_S", 600.0)
    engine = load_bundle(STARTER, device="cpu")
    engine.tune()
    assert engine.tokens == load_bundle(STARTER, device="cpu").tokens, "the trial is no traffic"
    kept = (tmp_path / "opinionwatch" / "budgets.json").read_text()
    assert str(engine.budget_tokens) in kept
    engine.tune(64)
    assert engine.budget_tokens == 64
    engine.tune()
    assert (tmp_path / "opinionwatch" / "budgets.json").read_text() == kept


def test_a_smaller_budget_wins_where_it_takes_two_percent_longer_at_the_most() -> None:
    assert best_budget({256: 1.02, 512: 1.0}.__getitem__, (256, 512)) == 256
    assert best_budget({256: 1.0201, 512: 1.0}.__getitem__, (256, 512)) == 512
    assert best_budget({256: 2.0, 512: 1.0}.__getitem__, (256, 512), repeats=1) == 512, "one try each may be enough"
