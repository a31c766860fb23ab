"""One episode per spike: opened, escalated, reminded, resolved. A pure state machine; times are event times."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.domain.alert import CRITICAL, NEGATIVE, WARNING
from pipeline.domain.counting import EVERYTHING, Scope


class Transition(Enum):
    """The changes of an episode that people can be notified of."""

    OPENED = "opened"
    ESCALATED = "escalated"
    REMINDER = "reminder"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Policy:
    """Scores are -log10 of the tail probability; an episode ends after it stays below `end_below` for `calm`."""

    fire: float = 4.0
    critical: float = 6.0
    end_below: float = 2.0
    calm: timedelta = timedelta(minutes=30)
    remind: timedelta = timedelta(hours=4)

    def firing_at(self, fire: float) -> Policy:
        """The same policy with another threshold; `critical` keeps its distance to it and never falls."""
        return replace(self, fire=fire, critical=max(self.critical, fire + self.critical - self.fire))


@dataclass(frozen=True, slots=True)
class Observation:
    """The rule's verdict on one key at the end of one bucket; the window has `window_s` seconds.

    Where `observed` is estimated it is rounded, `counted` are the posts that are labelled negative, and `share_low` to
    `share_high` is the 80 % interval of the share. Then observed = (sum of the scores - posts * `other_mean`) /
    (`negative_mean` - `other_mean`).
    """

    at: datetime
    score: float
    posts: int
    observed: int
    expected: float
    baseline: float
    window_s: int
    cold: bool
    counted: int | None = None
    share_low: float | None = None
    share_high: float | None = None
    negative_mean: float | None = None
    other_mean: float | None = None

    @classmethod
    def from_json(cls, value: JsonObject) -> Observation:
        """Ignores fields of a newer release; raises where one is missing."""
        fields = JsonReader(value)
        return cls(
            at=fields.time("at"),
            score=fields.number("score"),
            posts=fields.whole("posts"),
            observed=fields.whole("observed"),
            expected=fields.number("expected"),
            baseline=fields.number("baseline"),
            window_s=fields.whole("window_s"),
            cold=fields.flag("cold"),
            counted=fields.whole_or_none("counted"),
            share_low=fields.number_or_none("share_low"),
            share_high=fields.number_or_none("share_high"),
            negative_mean=fields.number_or_none("negative_mean"),
            other_mean=fields.number_or_none("other_mean"),
        )


@dataclass(frozen=True, slots=True)
class Episode:
    """`started_at` is when the rise most likely began, `fired_at` the end of the window that fired.

    `peak` is the observation with the highest score. `inhibited_by` is the id of the episode that inhibits this one:
    the evaluator follows an inhibited episode, but nobody is notified of it.
    """

    key: str
    scope: Scope
    severity: str
    started_at: datetime
    fired_at: datetime
    updated_at: datetime
    peak: Observation
    calm_since: datetime | None = None
    reminded_at: datetime | None = None
    resolved_at: datetime | None = None
    sequence: int = 0
    inhibited_by: str = ""
    lane: str = NEGATIVE

    @property
    def id(self) -> str:
        """Stable across restarts: a replay of the same counts opens the same episode."""
        lane = "" if self.lane == NEGATIVE else f"{self.lane}:"
        return f"{lane}{self.key}@{self.fired_at:%Y%m%dT%H%MZ}"

    def to_json(self) -> JsonObject:
        """For the evaluator's state."""
        fields = {name: value for name, value in asdict(self).items() if name != "scope"}
        # A rollback to 0.11 reads `muted_by`.
        return {**asdict(self.scope), **_plain(fields), "muted_by": self.inhibited_by}

    @classmethod
    def from_json(cls, value: JsonObject) -> Episode:
        """Ignores fields of a newer release; raises where one is missing."""
        fields = JsonReader(value)
        return cls(
            key=fields.text("key"),
            scope=Scope(fields.text("topic", ""), fields.text("subject", ""), fields.text("source", "")),
            severity=fields.text("severity"),
            started_at=fields.time("started_at"),
            fired_at=fields.time("fired_at"),
            updated_at=fields.time("updated_at"),
            peak=Observation.from_json(fields.object("peak")),
            calm_since=fields.time_or_none("calm_since"),
            reminded_at=fields.time_or_none("reminded_at"),
            resolved_at=fields.time_or_none("resolved_at"),
            sequence=fields.whole("sequence", 0),
            inhibited_by=fields.text("inhibited_by" if fields.has("inhibited_by") else "muted_by", ""),  # 0.11
            lane=fields.text("lane", NEGATIVE),
        )


def step(
    episode: Episode | None,
    observation: Observation,
    policy: Policy,
    *,
    key: str,
    scope: Scope = EVERYTHING,
    lane: str = NEGATIVE,
) -> tuple[Episode | None, Transition | None]:
    """The episode after one observation, and the transition if there is one.

    A resolved episode is returned once, with its end; None means that there is no episode.
    """
    if episode is None:
        if observation.score < policy.fire:
            return None, None
        opened = Episode(
            key=key,
            scope=scope,
            severity=_severity(observation.score, policy),
            started_at=observation.at - timedelta(seconds=observation.window_s),
            fired_at=observation.at,
            updated_at=observation.at,
            peak=observation,
            reminded_at=observation.at,
            lane=lane,
        )
        return opened, Transition.OPENED
    peak = observation if observation.score > episode.peak.score else episode.peak
    calm_since = None if observation.score >= policy.end_below else episode.calm_since or observation.at
    episode = replace(episode, peak=peak, calm_since=calm_since, updated_at=observation.at)
    if calm_since is not None and observation.at - calm_since >= policy.calm:
        return replace(episode, resolved_at=observation.at, sequence=episode.sequence + 1), Transition.RESOLVED
    if episode.severity != CRITICAL and _severity(observation.score, policy) == CRITICAL:
        return (
            replace(episode, severity=CRITICAL, reminded_at=observation.at, sequence=episode.sequence + 1),
            Transition.ESCALATED,
        )
    if observation.at - (episode.reminded_at or episode.fired_at) >= policy.remind:
        return replace(episode, reminded_at=observation.at, sequence=episode.sequence + 1), Transition.REMINDER
    return episode, None


def _severity(score: float, policy: Policy) -> str:
    return CRITICAL if score >= policy.critical else WARNING


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value
