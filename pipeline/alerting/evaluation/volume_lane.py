"""Episodes of volume surges, kept apart from those of the negative share. Knows no clock.

The lane watches topics, subjects and sources. The counts of the keys within two of them decide which of two keys
inhibits the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from pipeline.alerting.counting.overlap import Outside
from pipeline.alerting.counting.table import CountTable, key_name, rank
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.detection.verdicts import Verdicts
from pipeline.alerting.detection.volume import VolumeDetector
from pipeline.alerting.evaluation.episodes import Episode, Observation, Policy, Transition
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.lane import LaneState
from pipeline.alerting.evaluation.observations import observation_of, series_of
from pipeline.alerting.evaluation.open_episodes import OpenEpisodes
from pipeline.alerting.evaluation.overrides import KeyOverride, override_of
from pipeline.domain.alert import VOLUME
from pipeline.domain.counting import Scope

#: The posts of one story come in waves: calm for six hours ends it.
CALM = timedelta(hours=6)
#: What an alert names as the source of its threshold.
TIER = "volume"


class VolumeLane:
    """Implements `Lane`."""

    def __init__(self, policy: Policy, overrides: Sequence[KeyOverride], *, enabled: bool = True) -> None:
        """Only `watch` of the `overrides` counts here. A lane that is not `enabled` only ends its open episodes."""
        self._policy, self._overrides, self._enabled = policy, overrides, enabled
        self._episodes = OpenEpisodes(VOLUME)
        self.forget()

    def forget(self) -> None:
        """Implements `Lane`."""
        self._detector = VolumeDetector()
        self._rows: list[int] = []
        self._known_scopes = 0

    def restore(self, state: LaneState) -> None:
        """Implements `Lane`."""
        self._episodes.restore(state.episodes)

    def state(self, learned_from: int) -> LaneState:
        """Implements `Lane`; this lane excludes nothing."""
        return LaneState(tuple(self._episodes))

    def followed(self) -> set[str]:
        """Implements `Lane`."""
        return {e.id for e in self._episodes}

    def learn(self, table: CountTable, column: int) -> None:
        """Implements `Lane`."""
        if self._enabled:
            self._find_rows(table)
            self._detector.learn(table.posts[self._rows, column - self._detector.hour : column])

    def warm_up(self, table: CountTable, column: int) -> None:
        """Implements `Lane`; the mean over two weeks needs no exclusions."""
        self.learn(table, column)

    def step(self, table: CountTable, column: int) -> list[Event]:
        """Implements `Lane`."""
        if not self._enabled:
            ended = self._episodes.end_all(table.time_of(column))
            return [self._event(e, Transition.RESOLVED, table, column) for e in ended]
        self._find_rows(table)
        verdicts = self._detector.step(table.posts[self._rows, column - self._detector.hour : column])
        return self._events(table, column, verdicts)

    def _find_rows(self, table: CountTable) -> None:
        """Adds the rows of new topics, subjects and sources. A table never drops a key."""
        new = enumerate(table.scopes[self._known_scopes :], self._known_scopes)
        self._rows += [row for row, scope in new if scope.is_single]
        self._known_scopes = len(table.scopes)

    def _events(self, table: CountTable, column: int, verdicts: Verdicts) -> list[Event]:
        scopes = [table.scopes[row] for row in self._rows]
        firing = {int(i) for i in np.flatnonzero(verdicts.score >= self._policy.fire)}
        firing = {i for i in firing if override_of(self._overrides, key_name(scopes[i])).watch}
        running = {i for i, scope in enumerate(scopes) if scope in self._episodes}
        hour = slice(column - self._detector.hour, column)
        events = []
        for i in sorted(firing | running, key=lambda i: (rank(scopes[i]), -verdicts.score[i])):
            observation = observation_of(verdicts, i, table.time_of(column))
            key = _Candidate(table, scopes[i], hour, observation, i, self._detector, self._policy.fire)
            stepped = self._episodes.step(key, observation, self._policy, fires=i in firing)
            if stepped is None:
                continue
            episode, transition = stepped
            if transition is not None and not episode.inhibited_by:
                events.append(self._event(episode, transition, table, column))
        return events

    def _event(self, episode: Episode, transition: Transition, table: CountTable, column: int) -> Event:
        threshold = Threshold(self._policy.fire, float("nan"), 0.0)
        return self._episodes.event(episode, transition, threshold, TIER, series_of(table, episode.scope, column))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Implements `Candidate` for the lane's key with number `index`."""

    table: CountTable
    scope: Scope
    columns: slice
    observation: Observation
    index: int
    detector: VolumeDetector
    fire: float

    def began_at(self) -> datetime:
        return self.observation.at - timedelta(seconds=self.observation.window_s)

    def counts_like(self, other: Scope) -> bool:
        return True

    def fires_with(self, counts: Outside) -> bool:
        return self.detector.score(self.index, counts.posts) >= self.fire

    def subject_within(self) -> str:
        return ""
