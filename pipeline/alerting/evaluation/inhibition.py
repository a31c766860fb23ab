"""Which open episode inhibits a key that fires: the one whose posts the key needs in order to fire. Pure.

People are notified of the crisis of a brand once. Its topic, its sources and the brand within each of them fire by the
same posts; their episodes are followed, and the episode of the brand inhibits their notifications.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from pipeline.alerting.counting.overlap import Outside, counts_outside
from pipeline.alerting.counting.table import CountTable, scope_of
from pipeline.alerting.evaluation.episodes import Episode
from pipeline.domain.alert import VOLUME
from pipeline.domain.counting import Scope


class Candidate(Protocol):
    """A key at the end of a bucket, with what the rule of its lane makes of other counts."""

    @property
    def table(self) -> CountTable: ...

    @property
    def scope(self) -> Scope: ...

    @property
    def columns(self) -> slice:
        """The window of the verdict, as columns of the table."""
        ...

    def began_at(self) -> datetime:
        """When the key most likely began to rise."""
        ...

    def counts_like(self, other: Scope) -> bool:
        """Whether negative means the same in the counts of both keys: negative as a text, or toward a subject."""
        ...

    def fires_with(self, counts: Outside) -> bool:
        """Whether the key would fire if its window held only these posts."""
        ...

    def subject_within(self) -> str:
        """The name of the subject that alone makes a topic or a source fire; empty for none."""
        ...


def fires_without(key: Candidate, other: Scope) -> bool:
    """Whether the key would fire without the posts that it shares with `other`; True where the table cannot tell."""
    alike = bool(key.scope.subject) or key.counts_like(other)
    left = counts_outside(key.table, key.scope, other, key.columns, alike=alike)
    return left is None or key.fires_with(left)


def inhibitor_of(key: Candidate, episodes: Iterable[Episode]) -> str:
    """The id of the open episode without whose posts the key would not fire; empty for none.

    The episode of a topic or a source does not inhibit a subject that began to rise after that episode fired: another
    subject made it fire.
    """
    for episode in episodes:
        if episode.inhibited_by or episode.scope == key.scope:
            continue
        if key.scope.subject and not episode.scope.subject and key.began_at() > episode.fired_at:
            continue
        if not fires_without(key, episode.scope):
            return episode.id
    return ""


def is_independent(key: Candidate, inhibited: Episode, episodes: Iterable[Episode]) -> bool:
    """Whether a key with an inhibited episode now fires by posts that no open episode holds.

    A key whose inhibitor holds all of its posts never becomes independent.
    """
    inhibitor = scope_of(inhibited.inhibited_by.rpartition("@")[0].removeprefix(f"{VOLUME}:"))
    if (inhibitor and inhibitor.holds(key.scope)) or key.subject_within():
        return False
    return not inhibitor_of(key, episodes)
