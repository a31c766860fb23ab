"""From the store's counts to transitions of episodes, bucket by bucket. Blocking; knows no Kafka and no clock.

After a restart the evaluator needs its saved state, with the cursor and the episodes, and the counts in the index. It
learns the baselines from the index again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from pipeline.alerting.counting.recent_counts import HISTORY, RecentCounts, time_of
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.detection.thresholds import CALIBRATION, Calibration
from pipeline.alerting.evaluation.calibration import calibrate_on_index
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.lane import Lane
from pipeline.alerting.evaluation.negative_lane import NegativeLane
from pipeline.alerting.evaluation.overrides import KeyOverride
from pipeline.alerting.evaluation.score_models import score_models
from pipeline.alerting.evaluation.state import STATE, EvaluatorState
from pipeline.alerting.evaluation.volume_lane import VolumeLane
from pipeline.domain.counting import NegativeDefinition, bucket_start
from pipeline.domain.states import SERVED_MODEL
from pipeline.store.protocol import EvaluationStore

#: At the very first start the lanes only learn from what is older than this.
_FIRST_LOOK = timedelta(days=1)


class Evaluator:
    """Only the holder of the progress partition evaluates: two evaluators never work on one store."""

    def __init__(
        self,
        store: EvaluationStore,
        definition: NegativeDefinition,
        config: DetectorConfig,
        policy: Policy,
        overrides: Sequence[KeyOverride] = (),
        volume: VolumeLane | None = None,
    ) -> None:
        """For each key the first of the `overrides` that matches it counts. Without `volume` that lane is off."""
        self._store, self._definition = store, definition
        self._counts = RecentCounts(store, definition, config.span, keep=True)
        self._negative = NegativeLane(config, policy, overrides)
        self._volume = volume or VolumeLane(policy, overrides, enabled=False)
        self._cursor: int | None = None
        self._saved: EvaluatorState | None = None
        self._warm_up_until = 0
        self._learned = False
        #: The events of the last step whose alerts nobody has written yet. They are saved with the cursor, so that a
        #: crash loses none of them.
        self.unrecorded: list[Event] = []

    @property
    def cursor(self) -> datetime | None:
        """The event time up to which buckets are evaluated."""
        return None if self._cursor is None else time_of(self._cursor)

    @property
    def calibration(self) -> Calibration | None:
        """The thresholds in use; None where every key has the threshold of the settings."""
        return self._negative.calibration

    @calibration.setter
    def calibration(self, found: Calibration | None) -> None:
        self._negative.calibration = found

    @property
    def _lanes(self) -> tuple[Lane, ...]:
        return self._volume, self._negative

    def resume(self) -> None:
        """Loads the saved state. Call it whenever this process becomes the evaluator."""
        self._saved = self._store.state(STATE)
        self.load_calibration()
        self._learned, self._cursor = False, self._saved.cursor if self._saved else None
        state = self._saved or EvaluatorState(0)
        self._negative.restore(state.negative)
        self._volume.restore(state.volume)
        self.unrecorded = list(state.unrecorded)

    def followed(self) -> set[str]:
        """The ids of the episodes that go on."""
        return {episode_id for lane in self._lanes for episode_id in lane.followed()}

    def load_calibration(self) -> None:
        """Takes the thresholds from the store, where 'backtest --save' may have written new ones."""
        self._negative.calibration = self._store.state(CALIBRATION)

    def calibrate(self, target: float) -> Calibration:
        """Finds new thresholds on the index and does not use them yet; raises `Fatal` where it holds too little."""
        return calibrate_on_index(self._store, self._counts.cache, self._negative.config, target, self._definition)

    def save(self) -> bool:
        """Saves cursor, episodes and unrecorded events; False where another process has saved in the meantime.

        Call it before the alerts of the events of `advance` are written, and again afterwards. An episode
        then keeps its identity even where late posts would move its beginning after a restart. After False the other
        process evaluates, and the state of this one is out of date.
        """
        if self._cursor is None:
            return True
        learned_from = self._cursor - int(HISTORY.total_seconds())
        negative, volume = self._negative.state(learned_from), self._volume.state(learned_from)
        state = EvaluatorState(self._cursor, negative, volume, tuple(self.unrecorded)).as_read_back()
        if not self._store.swap_state(STATE, self._saved, state):
            return False
        self._saved = state
        return True

    def advance(self, watermark: datetime) -> Iterator[list[Event]]:
        """Evaluates every bucket that ends at or before the watermark; yields after each chunk of buckets."""
        end = bucket_start(watermark.timestamp())
        relabelled, model_changed = self._counts.relabelled(), self._model_changed()
        if relabelled or model_changed:
            self._learned = False
        if not self._learned and not self._learn(end):
            return
        if self._cursor is None:
            return
        for until, columns in self._counts.chunks(self._cursor, end):
            events = [event for column in columns for event in self._step(column)]
            self._cursor, self.unrecorded = until, events
            yield events

    def _model_changed(self) -> bool:
        """Whether another bundle serves whose scores mean something else, so that old baselines are wrong."""
        served = self._store.state(SERVED_MODEL)
        return self._negative.read_by(score_models(served.prevalence if served else {}, self._definition))

    def _step(self, column: int) -> list[Event]:
        table = self._counts.table
        if table.time_of(column).timestamp() <= self._warm_up_until:
            for lane in self._lanes:
                lane.warm_up(table, column)
            return []
        return [event for lane in self._lanes for event in lane.step(table, column)]

    def _learn(self, end: int) -> bool:
        """Learns the baselines from the index, up to the cursor; False while nothing is indexed."""
        self._counts.clear()
        for lane in self._lanes:
            lane.forget()
        first = self._counts.first_bucket(end)
        if first is None:
            return False
        if self._cursor is None:
            self._cursor = first
            self._warm_up_until = end - int(_FIRST_LOOK.total_seconds())
        for column in self._counts.history(first, self._cursor):
            for lane in self._lanes:
                lane.learn(self._counts.table, column)
        self._learned = True
        return True
