"""Episodes of a negative share that is higher than the key's past makes likely. Knows no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.alerting.counting.overlap import Outside
from pipeline.alerting.counting.table import CountTable, is_watched, key_name, rank
from pipeline.alerting.detection.negative_share import Detector, DetectorConfig
from pipeline.alerting.detection.tail import onset
from pipeline.alerting.detection.thresholds import Calibration, Threshold, tier_of
from pipeline.alerting.detection.verdicts import Estimate, KeyCounts, Verdicts, WindowVerdict, best_window
from pipeline.alerting.evaluation.episodes import Episode, Observation, Policy
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.exclusions import LEARN_BELOW, Exclusions, touched
from pipeline.alerting.evaluation.inhibition import fires_without, inhibitor_of
from pipeline.alerting.evaluation.lane import LaneState
from pipeline.alerting.evaluation.observations import observation_of, series_of
from pipeline.alerting.evaluation.open_episodes import OpenEpisodes
from pipeline.alerting.evaluation.overrides import BY_RULE, KeyOverride, override_of
from pipeline.alerting.evaluation.score_models import ScoreModels
from pipeline.domain.alert import NEGATIVE
from pipeline.domain.counting import BUCKET_S, Scope


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """The verdict of the lane on one key at the end of one bucket.

    `estimate` is what the estimated negatives of the best window rest on (None: labels are counted). `admitted` says
    whether the key's override lets it fire. `subject_within` is the subject that alone makes a topic
    or a source rise, `inhibited_by` the open episode without whose posts the key would not fire. `learning` is false
    while an episode keeps the key from learning.
    """

    key: str
    scope: Scope
    observation: Observation
    windows: tuple[WindowVerdict, ...]
    estimate: Estimate | None
    threshold: Threshold
    tier: str
    override: KeyOverride
    admitted: bool
    learning: bool
    episode: Episode | None
    subject_within: str
    inhibited_by: str

    @property
    def fires(self) -> bool:
        """Whether the key's score and its override are enough for an alert."""
        return self.observation.score >= self.threshold.fire and self.admitted


class NegativeLane:
    """Implements `Lane`."""

    def __init__(self, config: DetectorConfig, policy: Policy, overrides: Sequence[KeyOverride] = ()) -> None:
        """For each key the first of the `overrides` that matches it counts."""
        self.config, self._policy, self._overrides = config, policy, overrides
        self._models = ScoreModels()
        #: Thresholds that replace `policy.fire`; None before the first calibration.
        self.calibration: Calibration | None = None
        self._episodes = OpenEpisodes(NEGATIVE)
        self._exclusions = Exclusions()
        self.forget()

    def forget(self) -> None:
        """Implements `Lane`."""
        self._detector = Detector(self.config, self._models)
        self._model_numbers = np.zeros(0, np.int64)

    def read_by(self, models: ScoreModels) -> bool:
        """Uses other score models, and drops the baselines if they differ; returns whether they do."""
        if models == self._models:
            return False
        self._models = models
        self.forget()
        return True

    def restore(self, state: LaneState) -> None:
        """Implements `Lane`."""
        self._episodes.restore(state.episodes)
        self._exclusions = Exclusions(state.exclusions)

    def state(self, learned_from: int) -> LaneState:
        """Implements `Lane`."""
        self._exclusions.forget_before(learned_from)
        return LaneState(tuple(self._episodes), self._exclusions.periods())

    def followed(self) -> set[str]:
        """Implements `Lane`."""
        return {e.id for e in self._episodes}

    def learn(self, table: CountTable, column: int) -> None:
        """Implements `Lane`."""
        self._detector.learn(*self._arguments(table, column))

    def verdicts(self, table: CountTable, column: int) -> Verdicts:
        """Learns from the bucket before `column` and scores every key, without a change to any episode."""
        return self._detector.step(*self._arguments(table, column))

    def warm_up(self, table: CountTable, column: int) -> None:
        """Implements `Lane`."""
        verdicts = self.verdicts(table, column)
        for row in np.flatnonzero(verdicts.score >= LEARN_BELOW).tolist():
            key = self._candidate(table, column, verdicts, row)
            self._exclude(table, column, key.scope, key.began_at())

    def step(self, table: CountTable, column: int) -> list[Event]:
        """Implements `Lane`."""
        verdicts = self.verdicts(table, column)
        open_rows = {row for e in self._episodes if (row := table.row(e.scope)) is not None}
        firing = {
            row for row in np.flatnonzero(verdicts.score > 0).tolist() if self._fires(table, column, verdicts, row)
        }
        events = []
        for row in sorted(open_rows | firing, key=lambda r: (rank(table.scopes[r]), -verdicts.score[r])):
            key = self._candidate(table, column, verdicts, row)
            policy = self._override(key.scope).applied(self._policy.firing_at(key.threshold.fire))
            stepped = self._episodes.step(key, key.observation, policy, fires=row in firing)
            if stepped is None:
                continue
            episode, transition = stepped
            self._exclude(table, column, key.scope, episode.started_at)
            if transition is not None and not episode.inhibited_by:
                series = series_of(table, key.scope, column, partial(self._detector.negatives_of, row))
                events.append(self._episodes.event(episode, transition, key.threshold, key.tier, series))
        return events

    def verdict_on(self, table: CountTable, column: int, verdicts: Verdicts, row: int) -> KeyVerdict:
        """The verdict on key `row` of the table, by `verdicts` of the same bucket."""
        key = self._candidate(table, column, verdicts, row)
        override, episode = self._override(key.scope), self._episodes.get(key.scope)
        admitted = override.admits(key.observation)
        windows = tuple(self._detector.windows(row, self._key_counts(table, slice(column))))
        best = best_window(windows)
        opens = episode is None and admitted and key.observation.score >= key.threshold.fire
        return KeyVerdict(
            key=key_name(key.scope),
            scope=key.scope,
            observation=key.observation,
            windows=windows,
            estimate=self._detector.estimate(row, self._key_counts(table, slice(column - best.window, column))),
            threshold=key.threshold,
            tier=key.tier,
            override=override,
            admitted=admitted,
            learning=not self._excluded(table, column)[row],
            episode=episode,
            subject_within=key.subject_within() if opens else "",
            inhibited_by=inhibitor_of(key, self._episodes) if opens else episode.inhibited_by if episode else "",
        )

    def _fires(self, table: CountTable, column: int, verdicts: Verdicts, row: int) -> bool:
        scope = table.scopes[row]
        return (
            is_watched(scope)
            and bool(verdicts.score[row] >= self._threshold(scope, row)[0].fire)
            and self._override(scope).admits(observation_of(verdicts, row, table.time_of(column)))
        )

    def _candidate(self, table: CountTable, column: int, verdicts: Verdicts, row: int) -> _Candidate:
        scope = table.scopes[row]
        threshold, tier = self._threshold(scope, row)
        columns = slice(column - int(verdicts.window[row]), column)
        counts = self._key_counts(table, columns)
        estimate = self._detector.estimate(row, counts)
        return _Candidate(
            table=table,
            scope=scope,
            columns=columns,
            counts=counts,
            observation=observation_of(verdicts, row, table.time_of(column), estimate=estimate),
            row=row,
            detector=self._detector,
            threshold=threshold,
            tier=tier,
        )

    def _arguments(self, table: CountTable, column: int) -> tuple[KeyCounts, NDArray[np.bool_]]:
        counts = self._key_counts(table, slice(column - self.config.span, column))
        return counts, self._excluded(table, column)

    def _key_counts(self, table: CountTable, columns: slice) -> KeyCounts:
        if len(self._model_numbers) < len(table.scopes):
            self._model_numbers = self._models.numbers(table.scopes)
        posts, negatives, sums = table.posts[:, columns], table.negatives[:, columns], table.score_sums[:, columns]
        return KeyCounts(posts, negatives, sums, self._model_numbers)

    def _excluded(self, table: CountTable, column: int) -> NDArray[np.bool_]:
        """bool[n_keys]: the keys that do not learn from the bucket that enters the baseline."""
        entering = int(table.time_of(column).timestamp()) - self.config.learning_delay * BUCKET_S
        return self._exclusions.mask(table, entering)

    def _exclude(self, table: CountTable, column: int, scope: Scope, since: datetime) -> None:
        """Keeps an episode, up to the bucket before `column`, from teaching its own key and those it touches."""
        columns = slice(max(0, column - max(self.config.windows)), column)
        start, end = (int(t.timestamp()) for t in (since, table.time_of(column)))
        for one in (scope, *touched(table, scope, columns)):
            self._exclusions.add(one, start, end)

    def _override(self, scope: Scope) -> KeyOverride:
        return override_of(self._overrides, key_name(scope))

    def _threshold(self, scope: Scope, row: int) -> tuple[Threshold, str]:
        """The threshold of a key, and its source: the key's override, or the volume tier of the key."""
        if (fire := self._override(scope).fire) is not None:
            return Threshold(fire, float("nan"), 0.0), BY_RULE
        tier = tier_of(self._detector.volume(row) * 3600 / BUCKET_S)
        found = self.calibration.thresholds.get(tier) if self.calibration else None
        return found or Threshold(self._policy.fire, float("nan"), 0.0), tier


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Implements `Candidate` for key `row` of the table."""

    table: CountTable
    scope: Scope
    columns: slice
    counts: KeyCounts
    observation: Observation
    row: int
    detector: Detector
    threshold: Threshold
    tier: str

    def began_at(self) -> datetime:
        posts, *scored = (values[self.row] for values in self.counts[:3])
        first = onset(posts, self.detector.negatives_of(self.row, posts, *scored), self.observation.baseline)
        return self.observation.at - timedelta(seconds=self.observation.window_s - first * BUCKET_S)

    def counts_like(self, other: Scope) -> bool:
        row = self.table.row(other)
        return row is None or bool(self.counts.model[row] == self.counts.model[self.row])

    def fires_with(self, counts: Outside) -> bool:
        window = self.columns.stop - self.columns.start
        return self.detector.score(self.row, window, *counts) >= self.threshold.fire

    def subject_within(self) -> str:
        if self.scope.subject:
            return ""
        for other in self.table.scopes:
            within = other.subject and replace(other, subject="") == self.scope
            if not within or fires_without(self, other):
                continue
            whole = Scope("", other.subject)
            row = self.table.row(whole)
            if row is not None and self.detector.exceeds_lift(row, self.counts):
                return key_name(whole)
        return ""
