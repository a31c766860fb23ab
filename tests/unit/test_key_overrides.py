"""Rules for some keys: which one counts, and what it changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.alerting.evaluation.episodes import Observation, Policy
from pipeline.alerting.evaluation.factory import key_overrides
from pipeline.alerting.evaluation.overrides import NO_OVERRIDE, KeyOverride, override_of
from pipeline.domain.errors import Fatal
from pipeline.settings import resolve
from tests.builders import START

READING = Observation(START, 5.0, posts=100, observed=30, expected=10.0, baseline=0.1, window_s=3600, cold=False)


def test_the_first_rule_that_matches_counts() -> None:
    rules = [KeyOverride(("subject:Nova", "topic:s*"), fire=3.0), KeyOverride(("*|topic:*",), watch=False)]
    assert override_of(rules, "topic:sports").fire == 3.0
    assert override_of(rules, "subject:Nova").fire == 3.0
    assert not override_of(rules, "subject:Nova|topic:sports").watch
    assert override_of(rules, "subject:Kestrel") is NO_OVERRIDE


@pytest.mark.parametrize("key", ["topic:other", "subject:Nova|topic:other"])
def test_posts_without_a_topic_are_no_key_to_watch_unless_an_override_names_them(key: str) -> None:
    assert not override_of([], key).watch
    assert not override_of([KeyOverride(("*",), fire=3.0)], key).watch
    assert not override_of([KeyOverride(("topic:*", "*|topic:*"))], key).watch
    assert not override_of([KeyOverride((key,), watch=False)], key).watch
    assert override_of([KeyOverride((key,))], key).watch
    assert override_of([KeyOverride(("topic:other", "subject:*|topic:other"), fire=3.0)], key) == KeyOverride(
        ("topic:other", "subject:*|topic:other"), fire=3.0
    )
    assert override_of([], "topic:others").watch
    assert override_of([], "subject:topic:other").watch


@pytest.mark.parametrize(
    ("rule", "admits"),
    [
        (KeyOverride(("*",)), True),
        (KeyOverride(("*",), watch=False), False),
        (KeyOverride(("*",), min_negatives=30, min_lift=3.0), True),
        (KeyOverride(("*",), min_negatives=31), False),
        (KeyOverride(("*",), min_lift=3.1), False),
    ],
)
def test_gates(rule: KeyOverride, admits: bool) -> None:
    assert rule.admits(READING) is admits


def test_the_lift_of_a_key_that_is_mostly_negative_is_that_of_its_others() -> None:
    mostly = replace(READING, observed=90, expected=75.0)
    assert KeyOverride(("*",), min_lift=2.5).admits(mostly)
    assert not KeyOverride(("*",), min_lift=2.6).admits(mostly)


def test_severities() -> None:
    policy = Policy(fire=4.0, critical=6.0, remind=timedelta(hours=1))
    assert NO_OVERRIDE.applied(policy) == policy
    assert KeyOverride(("*",), at_most_warning=True).applied(policy).critical == float("inf")
    assert KeyOverride(("*",), critical=8.0).applied(policy).critical == 8.0
    assert KeyOverride(("*",), critical=1.0).applied(policy).critical == 4.0, "never below its own fire"


def test_rules_come_from_the_settings_and_mistakes_are_named(tmp_path: Path) -> None:
    file = tmp_path / "opinionwatch.toml"
    subjects = '[subjects]\nNova = ["nova"]\n'
    file.write_text('[[alerts.overrides]]\nkeys = ["subject:Nova"]\nfire = 3.5\nat_most = "warning"\n' + subjects)
    (rule,) = key_overrides(resolve(file, environ={}).settings.alerts)
    assert (rule.keys, rule.fire, rule.at_most_warning) == (("subject:Nova",), 3.5, True)
    for body, words in (
        ('keys = ["subject:Nvoa"]', "no subject is 'Nvoa'"),
        ('keys = ["*"]\nmin_negatives = 5', "min_negatives 5 is less than alerts.min_negatives 10"),
        ("keys = []", "must have at least one entry"),
    ):
        file.write_text(f"[[alerts.overrides]]\n{body}\n{subjects}")
        with pytest.raises(Fatal, match=words):
            resolve(file, environ={})
    file.write_text('[[alerts.overrides]]\nkeys = ["subject:Nova"]\n')
    with pytest.raises(Fatal, match="no subject is 'Nova'"):
        resolve(file, environ={})
