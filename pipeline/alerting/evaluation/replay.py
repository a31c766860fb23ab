"""What the evaluator makes of one key at one time: its own steps over the counts of the index. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline.alerting.counting.count_cache import CountCache
from pipeline.alerting.counting.table import key_name
from pipeline.alerting.detection.negative_share import WindowVerdict
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.episodes import Episode, Observation
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.observations import observation_of
from pipeline.alerting.evaluation.overrides import KeyOverride
from pipeline.domain.alert import NEGATIVE, Alert
from pipeline.domain.counting import BUCKET_S, Scope


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """One key at the end of one bucket, as the evaluator sees it.

    `admitted`: the key's own rule lets it fire. `subject_within` is the subject that alone makes a topic or a source
    rise, `inhibited_by` the open alert without whose posts the key would not fire. `learning` is false while an
    episode keeps the key from learning. `evaluated_to` is the alert role's cursor, None before its first verdict.
    """

    key: str
    scope: Scope
    observation: Observation
    windows: tuple[WindowVerdict, ...]
    threshold: Threshold
    tier: str
    rule: KeyOverride
    admitted: bool
    learning: bool
    episode: Episode | None
    subject_within: str
    inhibited_by: str
    evaluated_to: datetime | None

    @property
    def fires(self) -> bool:
        """Whether the key's score and its rule are enough for an alert."""
        return self.observation.score >= self.threshold.fire and self.admitted


class Replay(Evaluator):
    """An evaluator that looks at one time only; what it looks at may lie before or after the alert role's cursor."""

    def observe(self, key: str, at: datetime, alerts: Sequence[Alert]) -> tuple[KeyVerdict | None, list[str]]:
        """The key at the last bucket that ends by `at`, and all keys known by then; None for a key not among them.

        Of `alerts`, documents of the store, those that ran then count as episodes. The numbers are those of the
        evaluator at that time, but for posts that came later and for what it learned before the last 28 days.
        """
        self._kept = CountCache(self._store, self._counting, keep=False)
        self.resume()
        end = int(at.timestamp()) // BUCKET_S * BUCKET_S
        evaluated_to = self.cursor
        if evaluated_to is None:
            self._silence_old_spikes(end)
        else:
            self._cursor = end - BUCKET_S
            self._learn(end)
        self._fill(end)
        moment = datetime.fromtimestamp(end, UTC)
        running = [*_running(alerts, moment), *self._episodes.values()]
        self._episodes = {e.scope: e for e in running if e.fired_at <= moment}
        verdicts, right = self._step(end, score=True), self._right(end)
        names = [key_name(scope) for scope in self._table.scopes]
        if verdicts is None or key not in names:
            return None, names
        row = names.index(key)
        scope, observation = self._table.scopes[row], observation_of(verdicts, row, moment)
        window = slice(right - int(verdicts.window[row]), right)
        threshold, tier = self._threshold(row)
        rule = self._override(row)
        admitted = rule.admits(observation)
        fires = observation.score >= threshold.fire and admitted
        episode = self._episodes.get(scope)
        inhibited_by = episode.inhibited_by if episode else ""
        if fires and episode is None:
            inhibited_by = self._inhibitor_of(row, window, self._onset(row, window, observation))
        entering = end - (max(self._rule.windows) + self._rule.guard + 1) * BUCKET_S
        learning = not self._excluded.mask(self._table, entering)[row]
        return (
            KeyVerdict(
                key=key,
                scope=scope,
                observation=observation,
                windows=tuple(
                    self._detector.windows(row, self._table.posts[:, :right], self._table.negatives[:, :right])
                ),
                threshold=threshold,
                tier=tier,
                rule=rule,
                admitted=admitted,
                learning=bool(learning),
                episode=episode,
                subject_within=self._subject_within(row, window) if fires and episode is None else "",
                inhibited_by=inhibited_by,
                evaluated_to=evaluated_to,
            ),
            names,
        )

    def _silence_old_spikes(self, end: int) -> None:
        """Nobody has judged yet: the baselines are those of a first start."""
        if self._learn(end):
            self._silent_until = end
            for _ in self.advance(datetime.fromtimestamp(end - BUCKET_S, UTC)):
                pass

    def _fill(self, end: int) -> None:
        """The last bucket before `end`; those before it were learned with."""
        start = end - BUCKET_S
        self._table.advance(end)
        since, until = (datetime.fromtimestamp(t, UTC) for t in (start, end))
        self._table.refill(self._store.counts(since, until, self._counting), start)


def _running(alerts: Sequence[Alert], at: datetime) -> list[Episode]:
    """The episodes of these alerts that were open at that time."""
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
