"""The result of a backtest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.json_types import JsonObject
from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.detection.episode_rate import RateInterval, clustering, rate_interval
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.confirmed import DecidingEpisode
from pipeline.alerting.evaluation.episodes import Episode
from pipeline.cli.backtest.options import Lane


@dataclass(frozen=True, slots=True)
class Backtest:
    """The episodes of a history under its thresholds.

    `thresholds` are the calibrated ones by volume tier, none without a calibration; `fire` is the threshold of all
    other keys. `held` says by episode id how many authors were missing; it is None where the history has no authors.
    """

    lane: Lane
    history: CountHistory
    episodes: Sequence[Episode]
    fire: float
    thresholds: Mapping[str, Threshold]
    suspects: Sequence[DecidingEpisode]
    held: Mapping[str, str] | None

    @property
    def rate(self) -> float:
        """Episodes per key-week."""
        return len(self.episodes) / self.history.key_weeks

    @property
    def rate_interval(self) -> RateInterval:
        """The 80 % interval of that rate."""
        keys = {key: at for at, key in enumerate(self.history.keys)}
        by_key = np.bincount(np.array([keys[e.key] for e in self.episodes], np.int64), minlength=len(keys))
        return rate_interval(len(self.episodes), self.history.key_weeks, clustering(by_key))

    def row(self, episode: Episode) -> JsonObject:
        return {
            "key": episode.key,
            "severity": episode.severity,
            "started_at": episode.started_at.isoformat(),
            "fired_at": episode.fired_at.isoformat(),
            "ended_at": episode.resolved_at.isoformat() if episode.resolved_at else None,
            "observed": episode.peak.observed,
            "expected": episode.peak.expected,
            "counted": episode.peak.counted,
            "share_low": episode.peak.share_low,
            "share_high": episode.peak.share_high,
            "held": (self.held or {}).get(episode.id),
        }

    def to_json(self) -> JsonObject:
        return {
            "lane": self.lane.value,
            "keys": len(self.history.keys),
            "key_weeks": round(self.history.key_weeks, 3),
            "alerts_per_key_week": round(self.rate, 4),
            "alerts_per_key_week_interval": [round(end, 4) for end in self.rate_interval],
            "thresholds": {n: round(t.fire, 2) for n, t in self.thresholds.items()} or {"all": self.fire},
            "calibrated_rates": {n: round(t.per_key_week, 4) for n, t in self.thresholds.items()},
            "calibrated_intervals": {
                n: [round(t.low, 4), round(t.high, 4)]
                for n, t in self.thresholds.items()
                if t.low is not None and t.high is not None
            },
            "suspected": [{"key": d.key, "at": d.at.isoformat(), "score": d.score} for d in self.suspects],
            "gaps": len(self.history.gaps),
            "held": None if self.held is None else len(self.held),
            "episodes": [self.row(e) for e in self.episodes],
        }
