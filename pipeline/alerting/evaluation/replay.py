"""Replays the negative lane for one key at one time, by the evaluator's own steps. Blocking; writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pipeline.alerting.counting.recent_counts import RecentCounts, time_of
from pipeline.alerting.counting.table import key_name
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.detection.thresholds import CALIBRATION
from pipeline.alerting.evaluation.episodes import Episode, Observation, Policy
from pipeline.alerting.evaluation.lane import LaneState
from pipeline.alerting.evaluation.negative_lane import KeyVerdict, NegativeLane
from pipeline.alerting.evaluation.overrides import KeyOverride
from pipeline.alerting.evaluation.score_models import score_models
from pipeline.alerting.evaluation.state import STATE
from pipeline.domain.alert import NEGATIVE, Alert
from pipeline.domain.counting import BUCKET_S, NegativeDefinition, bucket_start
from pipeline.domain.states import SERVED_MODEL
from pipeline.store.protocol import EvaluationStore


class Replay:
    """Looks at one time, before or after the cursor of the alert role."""

    def __init__(
        self,
        store: EvaluationStore,
        definition: NegativeDefinition,
        config: DetectorConfig,
        policy: Policy,
        overrides: Sequence[KeyOverride] = (),
    ) -> None:
        self._store, self._definition = store, definition
        self._counts = RecentCounts(store, definition, config.span, keep=False)
        self._lane = NegativeLane(config, policy, overrides)

    def observe(self, key: str, at: datetime, alerts: Sequence[Alert]) -> tuple[KeyVerdict | None, list[str]]:
        """The verdict on a key at the last bucket that ends by `at`, and the names of all keys known by then.

        The verdict is None for a key that is not among them. Those of the `alerts` that were open then count as
        episodes. The numbers are those of the evaluator at that time, except for posts that came later and for what
        the evaluator learned more than 28 days before.
        """
        end = bucket_start(at.timestamp())
        moment = time_of(end)
        state = self._store.state(STATE)
        negative = LaneState() if state is None else state.negative
        episodes = (*_open_at(alerts, moment), *negative.episodes)
        self._lane.restore(LaneState(tuple(e for e in episodes if e.fired_at <= moment), negative.exclusions))
        self._lane.calibration = self._store.state(CALIBRATION)
        served = self._store.state(SERVED_MODEL)
        self._lane.read_by(score_models(served.prevalence if served else {}, self._definition))
        self._learn(end - BUCKET_S, evaluated=state is not None)
        column, table = self._counts.last_bucket(end), self._counts.table
        verdicts = self._lane.verdicts(table, column)
        names = [key_name(scope) for scope in table.scopes]
        if key not in names:
            return None, names
        return self._lane.verdict_on(table, column, verdicts, names.index(key)), names

    def _learn(self, end: int, *, evaluated: bool) -> None:
        """Learns the baselines up to `end`, or warms up if the alert role has not `evaluated` anything yet."""
        first = self._counts.first_bucket(end + BUCKET_S)
        if first is None:
            return
        if evaluated:
            for column in self._counts.history(first, end):
                self._lane.learn(self._counts.table, column)
            return
        for _, columns in self._counts.chunks(first, end):
            for column in columns:
                self._lane.warm_up(self._counts.table, column)


def _open_at(alerts: Sequence[Alert], at: datetime) -> list[Episode]:
    """The episodes of the alerts that were open at that time."""
    found = []
    for alert in alerts:
        ended = alert.resolved_at
        if alert.lane != NEGATIVE or alert.started_at > at or (ended and ended <= at):
            continue
        counts = alert.peak
        peak = Observation(at, counts.score, counts.posts, counts.observed, counts.expected, 0.0, 0, counts.cold)
        fired = _fired_at(alert.id) or alert.started_at + timedelta(seconds=counts.window_s)
        found.append(Episode(alert.key, alert.scope, alert.severity, alert.started_at, fired, at, peak))
    return found


def _fired_at(alert_id: str) -> datetime | None:
    try:
        return datetime.strptime(alert_id.rpartition("@")[2], "%Y%m%dT%H%MZ").replace(tzinfo=UTC)
    except ValueError:
        return None
