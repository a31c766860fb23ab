"""The open episodes of one lane, and the events that are made of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from pipeline.alerting.counting.table import key_name
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.episodes import Episode, Observation, Policy, Transition, step
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.inhibition import Candidate, inhibitor_of, is_independent
from pipeline.domain.alert_evidence import Series
from pipeline.domain.counting import Scope


class OpenEpisodes:
    """At most one episode per key."""

    def __init__(self, lane: str) -> None:
        self._lane = lane
        self._open: dict[Scope, Episode] = {}

    def __iter__(self) -> Iterator[Episode]:
        return iter(self._open.values())

    def __contains__(self, scope: Scope) -> bool:
        return scope in self._open

    def get(self, scope: Scope) -> Episode | None:
        """The open episode of a key."""
        return self._open.get(scope)

    def restore(self, episodes: Iterable[Episode]) -> None:
        """Replaces all open episodes."""
        self._open = {episode.scope: episode for episode in episodes}

    def step(
        self, key: Candidate, observation: Observation, policy: Policy, *, fires: bool
    ) -> tuple[Episode, Transition | None] | None:
        """Takes the observation into the key's episode; None where the key has none and opens none.

        A key whose episode was inhibited opens a new one as soon as it fires by posts of its own.
        """
        scope = key.scope
        before = self._open.get(scope)
        if before and fires and before.inhibited_by and is_independent(key, before, self):
            before = None
        after, transition = step(before, observation, policy, key=key_name(scope), scope=scope, lane=self._lane)
        if after is None:
            return None
        if transition is Transition.OPENED:
            if key.subject_within():
                return None
            after = replace(after, started_at=key.began_at(), inhibited_by=inhibitor_of(key, self))
        self._open[scope] = after
        if transition is Transition.RESOLVED:
            del self._open[scope]
        return after, transition

    def end_all(self, at: datetime) -> list[Episode]:
        """Resolves every episode and returns those that nothing inhibited."""
        ended = [e for e in self if not e.inhibited_by]
        self._open = {}
        return [replace(e, updated_at=at, resolved_at=at, sequence=e.sequence + 1) for e in ended]

    def event(
        self,
        episode: Episode,
        transition: Transition,
        threshold: Threshold,
        tier: str,
        series: Series,
    ) -> Event:
        """The event of an episode whose last day is `series`, with the keys that it inhibits."""
        inhibited = tuple(sorted(e.key for e in self if e.inhibited_by == episode.id))
        return Event(episode, transition, inhibited, threshold, tier, series)
