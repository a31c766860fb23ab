"""Episodes of volume surges, beside those of the negative share and never mixed with them. Knows no clock.

Topics, subjects and sources are watched; what lies within two of them tells which of two keys mutes the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from pipeline.alerting.counting.table import CountTable, key_name, rank, scope_of
from pipeline.alerting.detection.negative_share import Verdicts
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.detection.volume import VolumeDetector
from pipeline.alerting.evaluation.episodes import Episode, Policy, Transition, step
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.observations import beyond, observation_of, series_of
from pipeline.alerting.evaluation.overrides import KeyOverride, override_of
from pipeline.domain.alert import VOLUME
from pipeline.domain.counting import Scope
from pipeline.domain.readable import readable

#: The posts of one story come in waves: calm for six hours ends it.
CALM = timedelta(hours=6)
#: What an alert says of where its threshold comes from.
TIER = "volume"


class VolumeLane:
    """Give it every bucket once, in order."""

    def __init__(self, policy: Policy, keys: Sequence[KeyOverride], *, enabled: bool = True) -> None:
        """Of `keys` only `watch` counts here. Not `enabled`, it ends what it had open and looks at nothing."""
        self._policy, self._keys, self._enabled = policy, keys, enabled
        self._episodes: dict[Scope, Episode] = {}
        self.forget()

    def forget(self) -> None:
        """Learns anew, from a new table; episodes stay."""
        self._detector = VolumeDetector()
        self._scopes: list[Scope] = []
        self._rows: list[int] = []
        self._looked = 0

    def restore(self, episodes: Sequence[dict[str, Any]]) -> None:
        """Takes over what `to_json` of another process said."""
        found = readable("episodes in the store", episodes, Episode.from_json)
        self._episodes = {e.scope: e for e in found}

    def episodes(self) -> list[Episode]:
        """Those that go on."""
        return list(self._episodes.values())

    def to_json(self) -> list[dict[str, Any]]:
        return [e.to_json() for e in self._episodes.values()]

    def step(self, table: CountTable, right: int, *, score: bool) -> list[Event]:
        """The bucket before column `right` of the table; without `score` it only teaches."""
        if not self._enabled:
            return self._ended(table, right) if score else []
        # Keys are only ever added to a table.
        for row, scope in enumerate(table.scopes[self._looked :], self._looked):
            if scope.is_single:
                self._scopes.append(scope)
                self._rows.append(row)
        self._looked = len(table.scopes)
        verdicts = self._detector.step(table.posts[self._rows, right - self._detector.hour : right], score=score)
        return [] if verdicts is None else self._events(table, right, verdicts)

    def _events(self, table: CountTable, right: int, verdicts: Verdicts) -> list[Event]:
        at = table.time_of(right)
        firing = {int(i) for i in np.flatnonzero(verdicts.score >= self._policy.fire)}
        firing = {i for i in firing if override_of(self._keys, key_name(self._scopes[i])).watch}
        running = {i for i, s in enumerate(self._scopes) if s in self._episodes}
        events = []
        for i in sorted(firing | running, key=lambda i: (rank(self._scopes[i]), -verdicts.score[i])):
            scope = self._scopes[i]
            observation = observation_of(verdicts, i, at)
            before, key = self._episodes.get(scope), key_name(scope)
            since = observation.at - timedelta(seconds=observation.window_s)
            if before and i in firing and before.inhibited_by and self._stands_alone(before, table, right, i, since):
                before = None
            after, transition = step(before, observation, self._policy, key=key, scope=scope, lane=VOLUME)
            if after is None:
                continue
            if transition is Transition.OPENED:
                after = replace(after, inhibited_by=self._inhibitor_of(table, right, i, since))
            self._episodes[scope] = after
            if transition is Transition.RESOLVED:
                del self._episodes[scope]
            if transition is not None and not after.inhibited_by:
                events.append(self._event(after, transition, table, right))
        return events

    def _ended(self, table: CountTable, right: int) -> list[Event]:
        at = table.time_of(right)
        left = [e for e in self._episodes.values() if not e.inhibited_by]
        self._episodes = {}
        over = [replace(e, updated_at=at, resolved_at=at, sequence=e.sequence + 1) for e in left]
        return [self._event(e, Transition.RESOLVED, table, right) for e in over]

    def _event(self, episode: Episode, transition: Transition, table: CountTable, right: int) -> Event:
        inhibited = tuple(sorted(e.key for e in self._episodes.values() if e.inhibited_by == episode.id))
        threshold = Threshold(self._policy.fire, float("nan"), 0.0)
        series = series_of(table, episode.scope, right)
        return Event(episode, transition, inhibited, threshold, TIER, series)

    def _stands_alone(self, inhibited: Episode, table: CountTable, right: int, i: int, since: datetime) -> bool:
        """Whether a muted key fires by posts that no open episode explains by now, and that its own did not hold."""
        by = scope_of(inhibited.inhibited_by.rpartition("@")[0].removeprefix(f"{VOLUME}:"))
        return not (by and by.holds(self._scopes[i])) and not self._inhibitor_of(table, right, i, since)

    def _inhibitor_of(self, table: CountTable, right: int, i: int, since: datetime) -> str:
        """The open episode without whose posts key `i`, which rises since then, would not fire; empty for none.

        A topic or a source does not explain a subject that began to rise after it fired.
        """
        hour, scope = slice(right - self._detector.hour, right), self._scopes[i]
        for other, episode in self._episodes.items():
            later = scope.subject and not other.subject and since > episode.fired_at
            if episode.inhibited_by or other == scope or later:
                continue
            left = beyond(table, scope, other, hour)
            if left is not None and self._detector.score(i, left[0]) < self._policy.fire:
                return episode.id
        return ""
