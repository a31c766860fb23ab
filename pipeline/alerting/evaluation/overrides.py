"""Overrides for some keys: not watched, another threshold, stricter gates, at most a warning. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from models.heads import OTHER
from pipeline.alerting.detection.tail import exceeds_lift
from pipeline.alerting.evaluation.episodes import Observation, Policy

#: What an alert names as the source of its threshold.
BY_RULE = "by rule"
#: The part of a key that holds the posts without a clear topic.
_WITHOUT_TOPIC = f"topic:{OTHER}"


@dataclass(frozen=True, slots=True)
class KeyOverride:
    """Applies to keys that one of the patterns `keys` matches (`subject:Nova`, `topic:*`, `subject:*|topic:*`).

    `fire` and `critical` replace the general thresholds; `min_negatives`, `min_lift` and `min_authors` only make the
    general minimum stricter. A field that is None changes nothing.
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
        """The policy with the severities of this override; its `fire` must be the key's already."""
        if self.at_most_warning:
            return replace(policy, critical=float("inf"))
        return policy if self.critical is None else replace(policy, critical=max(self.critical, policy.fire))


NO_OVERRIDE = KeyOverride(("*",))


def override_of(overrides: Sequence[KeyOverride], key: str) -> KeyOverride:
    """The first override that matches the key; `NO_OVERRIDE` where none does.

    A key of the topic `other` is watched only if the override names that topic: it holds the posts for which the model
    found no topic, and what makes it rise has nothing in common but that.

    >>> override_of([KeyOverride(("topic:*",), watch=False)], "topic:sports").watch
    False
    >>> [override_of([KeyOverride((k,))], "topic:other").watch for k in ("topic:*", "topic:other")]
    [False, True]
    """
    found = next((o for o in overrides if any(fnmatchcase(key, pattern) for pattern in o.keys)), NO_OVERRIDE)
    if _WITHOUT_TOPIC not in key.split("|"):
        return found
    named = any(_WITHOUT_TOPIC in pattern and fnmatchcase(key, pattern) for pattern in found.keys)
    return found if named else replace(found, watch=False)


def least_authors(min_authors: int, overrides: Sequence[KeyOverride], key: str) -> int:
    """The distinct authors that the posts of a key need before people are notified.

    `min_authors` is the value of `alerts.min_authors`; an override of the key can only raise it.

    >>> least_authors(2, [KeyOverride(("topic:*",), min_authors=5)], "topic:sports")
    5
    """
    return max(min_authors, override_of(overrides, key).min_authors or 1)
