"""Rules for some keys only: watched or not, their own threshold, stricter gates, at most a warning. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from pipeline.alerting.detection.tail import exceeds_lift
from pipeline.alerting.evaluation.episodes import Observation, Policy

#: What an alert says of where its threshold comes from.
BY_RULE = "by rule"


@dataclass(frozen=True, slots=True)
class KeyOverride:
    """For keys that one of the patterns `keys` matches (`subject:Nova`, `topic:*`, `subject:*|topic:*`).

    `fire` and `critical` stand in for the thresholds of everybody; `min_negatives`, `min_lift` and `min_authors` ask
    for more than the rule itself does. What is None stays as it is.
    """

    keys: tuple[str, ...]
    watch: bool = True
    fire: float | None = None
    critical: float | None = None
    at_most_warning: bool = False
    min_negatives: int | None = None
    min_lift: float | None = None
    min_authors: int | None = None

    def admits(self, observation: Observation) -> bool:
        """Whether a key that fires may open an episode."""
        if not self.watch or observation.observed < (self.min_negatives or 0):
            return False
        share = observation.expected / max(observation.posts, 1)
        return self.min_lift is None or bool(
            exceeds_lift(observation.observed, observation.posts, share, self.min_lift)
        )

    def applied(self, policy: Policy) -> Policy:
        """The policy, whose `fire` is the key's already, with what this rule says of severities."""
        if self.at_most_warning:
            return replace(policy, critical=float("inf"))
        return policy if self.critical is None else replace(policy, critical=max(self.critical, policy.fire))


NO_OVERRIDE = KeyOverride(("*",))


def override_of(rules: Sequence[KeyOverride], key: str) -> KeyOverride:
    """The first that matches; `NO_OVERRIDE` where none does.

    >>> override_of([KeyOverride(("topic:*",), watch=False)], "topic:sports").watch
    False
    """
    return next((r for r in rules if any(fnmatchcase(key, pattern) for pattern in r.keys)), NO_OVERRIDE)


def least_authors(everybody: int, rules: Sequence[KeyOverride], key: str) -> int:
    """How many must have written a key's posts before people are told: `alerts.min_authors`, or more by its rule.

    >>> least_authors(2, [KeyOverride(("topic:*",), min_authors=5)], "topic:sports")
    5
    """
    return max(everybody, override_of(rules, key).min_authors or 1)
