"""What the evaluation hands to whoever tells people."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.alerting.episodes import Episode, Transition
from pipeline.alerting.tiers import Threshold


@dataclass(frozen=True, slots=True)
class Series:
    """Posts and negatives of the key in steps of `step_s` seconds, the last of which ends at `end` (epoch seconds)."""

    end: int
    step_s: int
    posts: tuple[int, ...]
    negatives: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """A transition that somebody must hear of, and the keys that it mutes."""

    episode: Episode
    transition: Transition
    muted: tuple[str, ...]
    threshold: Threshold
    tier: str
    series: Series
