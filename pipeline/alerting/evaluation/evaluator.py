"""From the store's counts to transitions of episodes, bucket by bucket. Blocking; knows no Kafka and no clock.

All it needs to go on after a restart is the cursor and the episodes (in the store's state) and the counts
themselves (in the index): baselines are learned again from the index.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from pipeline.alerting.counting.count_cache import CountCache
from pipeline.alerting.counting.table import CountTable, is_watched, key_name, rank, scope_of
from pipeline.alerting.detection.negative_share import Detector, DetectorConfig, Verdicts
from pipeline.alerting.detection.tail import onset
from pipeline.alerting.detection.thresholds import CALIBRATION, Calibration, Threshold, tier_of
from pipeline.alerting.evaluation.backtest import LEARN_BELOW
from pipeline.alerting.evaluation.calibration import calibrate_on_index
from pipeline.alerting.evaluation.episodes import Episode, Observation, Policy, Transition, step
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.exclusions import Exclusions, touched
from pipeline.alerting.evaluation.observations import beyond, observation_of, series_of
from pipeline.alerting.evaluation.overrides import BY_RULE, KeyOverride, override_of
from pipeline.alerting.evaluation.volume_lane import VolumeLane
from pipeline.domain.counting import BUCKET_S, NegativeDefinition, Scope
from pipeline.domain.readable import readable
from pipeline.domain.states import RELABELLED, Relabelled, json_key
from pipeline.store.protocol import EvaluationStore

_CHUNK = 288
#: Counts of this many buckets before the cursor are read again, so that late posts are seen.
_LATE = 24
_HISTORY = timedelta(days=28)
#: At the very first start, what is older is only learned from.
_FIRST_LOOK = timedelta(days=1)
#: The store's state that holds the cursor and the episodes.
STATE = json_key("evaluator")


class Evaluator:
    """One at a time works on a store: the holder of the progress partition."""

    def __init__(
        self,
        store: EvaluationStore,
        counting: NegativeDefinition,
        rule: DetectorConfig,
        policy: Policy,
        keys: Sequence[KeyOverride] = (),
        volume: VolumeLane | None = None,
    ) -> None:
        """`keys` are the rules for some keys only, of which the first that matches counts."""
        self._volume = volume or VolumeLane(policy, keys, enabled=False)
        self._store, self._counting, self._rule, self._policy, self._keys = store, counting, rule, policy, keys
        self._kept = CountCache(store, counting, keep=True)
        self._cursor: int | None = None
        self._saved: dict[str, Any] | None = None
        self._silent_until = 0
        self._learned = False
        self._labelled: Relabelled | None = None
        self._table = CountTable(rule.span + _CHUNK)
        self._detector = Detector(rule)
        self._episodes: dict[Scope, Episode] = {}
        self.calibration: Calibration | None = None
        self._excluded = Exclusions()
        #: What `advance` found and nobody has recorded: saved with the cursor, so that a crash loses nothing of it.
        self.unrecorded: list[Event] = []

    @property
    def cursor(self) -> datetime | None:
        """The event time up to which buckets are evaluated."""
        return None if self._cursor is None else _time(self._cursor)

    def resume(self) -> None:
        """Loads cursor and episodes; call it whenever this process becomes the evaluator."""
        self._saved = state = self._store.state(STATE)
        self._learned = False
        self._episodes, self._excluded, self._cursor, self.unrecorded = {}, Exclusions(), None, []
        self.load_calibration()
        if state is None:
            return
        self._cursor = state["cursor"]
        self._volume.restore(state.get("volume", []))
        for episode in readable("episodes in the store", state["episodes"], Episode.from_json):
            self._episodes[episode.scope] = episode
        self._excluded = Exclusions.from_json(state["past"])
        self.unrecorded = [Event.from_json(item) for item in state.get("unrecorded", [])]

    def followed(self) -> set[str]:
        """The ids of the episodes that go on."""
        return {e.id for e in (*self._episodes.values(), *self._volume.episodes())}

    def load_calibration(self) -> None:
        """Takes over what stands in the store: 'backtest --save' or the evaluator before this one wrote it."""
        state = self._store.state(CALIBRATION)
        states = () if state is None else (state,)
        self.calibration = next(readable("the calibration in the store", states, Calibration.from_json), None)

    def calibrate(self, target: float) -> Calibration:
        """New thresholds from the index, not in use yet; raises `Fatal` where it holds too little."""
        return calibrate_on_index(self._store, self._kept, self._rule, target)

    def save(self) -> bool:
        """Call before anybody hears of the events of `advance`, which are saved too, and after they are recorded.

        So an episode keeps its identity, whatever late posts would make of its beginning after a restart. False where
        another process has saved since `resume` or the last `save`: that one evaluates, and what this one knows is out
        of date.
        """
        if self._cursor is None:
            return True
        self._excluded.forget_before(self._cursor - int(_HISTORY.total_seconds()))
        state = {
            "cursor": self._cursor,
            "episodes": [e.to_json() for e in self._episodes.values()],
            "volume": self._volume.to_json(),
            "past": self._excluded.to_json(),
            "unrecorded": [event.to_json() for event in self.unrecorded],
        }
        state = json.loads(json.dumps(state))  # as it will be read, so that the two compare
        if not self._store.swap_state(STATE, self._saved, state):
            return False
        self._saved = state
        return True

    def advance(self, watermark: datetime) -> Iterator[list[Event]]:
        """Evaluates every bucket that ends at or before the watermark; yields after each chunk of buckets."""
        end = int(watermark.timestamp()) // BUCKET_S * BUCKET_S
        if (labelled := self._store.state(RELABELLED)) != self._labelled:
            self._learned, self._labelled = False, labelled
        if not self._learned and not self._learn(end):
            return
        while self._cursor is not None and self._cursor < end:
            until = min(end, self._cursor + _CHUNK * BUCKET_S)
            reread = self._cursor - _LATE * BUCKET_S
            self._store.refresh()
            self._table.advance(until)
            self._table.refill(self._store.counts(_time(reread), _time(until), self._counting), reread)
            buckets = range(self._cursor + BUCKET_S, until + BUCKET_S, BUCKET_S)
            events = [event for bucket_end in buckets for event in self._evaluate(bucket_end)]
            self._cursor, self.unrecorded = until, events
            yield events

    def _learn(self, end: int) -> bool:
        """Baselines from the index, up to the cursor; False while nothing is indexed. May be called again."""
        self._table, self._detector = CountTable(self._rule.span + _CHUNK), Detector(self._rule)
        self._volume.forget()
        self._store.refresh()
        bounds = self._store.bounds()
        if bounds is None:
            return False
        first = int(max(bounds[0], _time(end) - _HISTORY).timestamp()) // BUCKET_S * BUCKET_S
        if self._cursor is None:
            self._cursor = first
            self._silent_until = end - int(_FIRST_LOOK.total_seconds())
        for since, until, cells in self._kept.days(_time(first), _time(self._cursor)):
            start, stop = int(since.timestamp()), int(until.timestamp())
            self._table.advance(stop)
            self._table.refill(cells, start)
            for bucket_end in range(start + BUCKET_S, stop + BUCKET_S, BUCKET_S):
                self._step(bucket_end, score=False)
                self._volume.step(self._table, self._right(bucket_end), score=False)
        self._learned = True
        return True

    def _right(self, bucket_end: int) -> int:
        """The column after the bucket."""
        return self._table.width - (self._table.end - bucket_end) // BUCKET_S

    def _step(self, bucket_end: int, *, score: bool) -> Verdicts | None:
        right = self._right(bucket_end)
        columns = slice(right - self._rule.span, right)
        entering = bucket_end - (max(self._rule.windows) + self._rule.guard + 1) * BUCKET_S
        excluded = self._excluded.mask(self._table, entering)
        return self._detector.step(
            self._table.posts[:, columns], self._table.negatives[:, columns], excluded, score=score
        )

    def _evaluate(self, bucket_end: int) -> list[Event]:
        judged, right = bucket_end > self._silent_until, self._right(bucket_end)
        verdicts = self._step(bucket_end, score=True)
        events = self._volume.step(self._table, right, score=judged)
        if verdicts is None:
            return events
        if not judged:
            self._exclude_old_spikes(verdicts, right)
            return events
        open_rows = {row for s in self._episodes if (row := self._table.row(s)) is not None}
        scopes, at = self._table.scopes, _time(bucket_end)
        scored = [row for row in np.flatnonzero(verdicts.score > 0).tolist() if is_watched(scopes[row])]
        firing = {
            row
            for row in scored
            if verdicts.score[row] >= self._threshold(row)[0].fire
            and self._override(row).admits(observation_of(verdicts, row, at))
        }
        order = sorted(open_rows | firing, key=lambda r: (rank(scopes[r]), -verdicts.score[r]))
        for row in order:
            scope = scopes[row]
            observation = observation_of(verdicts, row, at)
            window = slice(right - int(verdicts.window[row]), right)
            before = self._episodes.get(scope)
            if before and row in firing and self._stands_alone(before, row, window, observation):
                before = None
            threshold, tier = self._threshold(row)
            policy = self._override(row).applied(self._policy.firing_at(threshold.fire))
            after, transition = step(before, observation, policy, key=key_name(scope), scope=scope)
            if after is None:
                continue
            if transition is Transition.OPENED:
                if self._subject_within(row, window):
                    continue
                since = self._onset(row, window, observation)
                after = replace(after, started_at=since, inhibited_by=self._inhibitor_of(row, window, since))
            self._episodes[scope] = after
            self._exclude(scope, after.started_at, right)
            if transition is Transition.RESOLVED:
                del self._episodes[scope]
            if transition is not None and not after.inhibited_by:
                inhibited = tuple(sorted(e.key for e in self._episodes.values() if e.inhibited_by == after.id))
                events.append(
                    Event(after, transition, inhibited, threshold, tier, series_of(self._table, scope, right))
                )
        return events

    def _exclude(self, scope: Scope, since: datetime, right: int) -> None:
        """An episode, up to column `right`, teaches neither its own key nor those that hold much of its posts."""
        columns = slice(max(0, right - max(self._rule.windows)), right)
        start, end = (int(t.timestamp()) for t in (since, self._table.time_of(right)))
        for one in (scope, *touched(self._table, scope, columns)):
            self._excluded.add(one, start, end)

    def _exclude_old_spikes(self, verdicts: Verdicts, right: int) -> None:
        """Before the first verdict there are no episodes: what scores so high may have been one."""
        at = self._table.time_of(right)
        for row in np.flatnonzero(verdicts.score >= LEARN_BELOW).tolist():
            window = slice(right - int(verdicts.window[row]), right)
            self._exclude(self._table.scopes[row], self._onset(row, window, observation_of(verdicts, row, at)), right)

    def _override(self, row: int) -> KeyOverride:
        return override_of(self._keys, key_name(self._table.scopes[row]))

    def _threshold(self, row: int) -> tuple[Threshold, str]:
        """Of a key, and where it comes from: a rule of its own, or its volume tier."""
        if (fire := self._override(row).fire) is not None:
            return Threshold(fire, float("nan"), 0.0), BY_RULE
        tier = tier_of(self._detector.volume(row) * 3600 / BUCKET_S)
        found = self.calibration.tiers.get(tier) if self.calibration else None
        return found or Threshold(self._policy.fire, float("nan"), 0.0), tier

    def _onset(self, row: int, window: slice, observation: Observation) -> datetime:
        first = onset(self._table.posts[row, window], self._table.negatives[row, window], observation.baseline)
        return observation.at - timedelta(seconds=observation.window_s - first * BUCKET_S)

    def _inhibitor_of(self, row: int, window: slice, since: datetime) -> str:
        """The open episode without whose posts key `row`, which rises since then, would not fire; empty for none.

        A topic or a source does not explain a subject that began to rise after it fired: it fired for another one.
        """
        scope = self._table.scopes[row]
        for other, episode in self._episodes.items():
            if (
                other == scope
                or episode.inhibited_by
                or (scope.subject and not other.subject and since > episode.fired_at)
            ):
                continue
            if not self._fires_without(row, other, window):
                return episode.id
        return ""

    def _stands_alone(self, inhibited: Episode, row: int, window: slice, observation: Observation) -> bool:
        """Whether a muted key fires by posts that no open episode explains by now, and that its own did not hold."""
        scope, by = self._table.scopes[row], scope_of(inhibited.inhibited_by.rpartition("@")[0])
        if not inhibited.inhibited_by or (by and by.holds(scope)) or self._subject_within(row, window):
            return False
        return not self._inhibitor_of(row, window, self._onset(row, window, observation))

    def _subject_within(self, row: int, window: slice) -> str:
        """The subject that alone makes a topic or source rise, and is the key to watch then; empty for none."""
        scope, table = self._table.scopes[row], self._table
        if scope.subject:
            return ""
        for other in table.scopes:
            within = other.subject and replace(other, subject="") == scope
            if not within or self._fires_without(row, other, window):
                continue
            whole = Scope("", other.subject)
            subject = table.row(whole)
            if subject is not None and self._detector.exceeds_lift(
                subject, int(table.posts[subject, window].sum()), int(table.negatives[subject, window].sum())
            ):
                return key_name(whole)
        return ""

    def _fires_without(self, row: int, other: Scope, window: slice) -> bool:
        """Whether key `row` would fire without the posts that it shares with key `other`, as far as anybody knows."""
        left = beyond(self._table, self._table.scopes[row], other, window)
        length = window.stop - window.start
        return left is None or self._detector.score(row, length, *left) >= self._threshold(row)[0].fire


def state_begun_at(at: datetime) -> dict[str, Any]:
    """The state of an evaluator that has judged all before `at`: the next one judges from there on."""
    return {"cursor": int(at.timestamp()) // BUCKET_S * BUCKET_S, "episodes": [], "volume": [], "past": []}


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
