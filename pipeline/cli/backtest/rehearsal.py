"""Runs the alert rule over a history, with calibrated thresholds where the request asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pipeline.alerting.alerts.evidence import EvidenceReader
from pipeline.alerting.counting.count_cache import CountCache
from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.detection.thresholds import CALIBRATION, Threshold
from pipeline.alerting.evaluation import backtest as rule_over
from pipeline.alerting.evaluation import calibration
from pipeline.alerting.evaluation.confirmed import DecidingEpisode, deciding, without_episode
from pipeline.alerting.evaluation.episodes import Episode, Policy
from pipeline.alerting.evaluation.factory import key_overrides
from pipeline.alerting.evaluation.overrides import KeyOverride, least_authors, override_of
from pipeline.alerting.evaluation.score_models import ScoreModels, score_models
from pipeline.alerting.evaluation.why import near
from pipeline.cli.backtest.history import history_of_file, history_of_index, prevalence_of
from pipeline.cli.backtest.options import Lane, Request
from pipeline.cli.backtest.result import Backtest
from pipeline.cli.progress import progress_bar
from pipeline.cli.terminal import err
from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.settings import AlertSettings, Settings
from pipeline.store.factory import open_store
from pipeline.store.protocol import EvaluationStore, Store


def rehearse(request: Request, settings: Settings) -> Backtest:
    """The episodes of the history; warns on standard error of crises that made a threshold high.

    Raises `Fatal` for a history that cannot be read.
    """
    alerts, negative = settings.alerts, request.lane is Lane.negative
    store: Store | None = None
    if request.file:
        history = history_of_file(request.file, request.gaps)
    else:
        store = open_store(settings.store)
        history = history_of_index(store, alerts, request.days)
    models = score_models(prevalence_of(store, settings), alerts.counting)
    scores = _scores(history, request.lane, alerts, models)
    policy = Policy(alerts.fire, alerts.critical) if negative else rule_over.VOLUME_POLICY
    thresholds: Mapping[str, Threshold] = {}
    suspects: Sequence[DecidingEpisode] = ()
    if request.target is not None:
        if request.save and store:
            thresholds = _save(store, alerts, request.target)
        else:
            thresholds, suspects = _calibrated(request, request.target, store, history, scores, policy, alerts, models)
    overrides = key_overrides(alerts) if negative else []
    fire = [
        override_of(overrides, key).fire or usual
        for key, usual in zip(history.keys, rule_over.thresholds(history, policy.fire, thresholds), strict=True)
    ]
    episodes = rule_over.episodes(history, scores, fire, policy, overrides)
    held = None
    if store and negative:
        held = _held(EvidenceReader(store, alerts.counting), alerts.min_authors, overrides, episodes)
    if request.file and negative and any(least_authors(alerts.min_authors, overrides, k) > 1 for k in history.keys):
        err.print("a CSV has no authors, so alerts.min_authors holds no episode back; --index counts authors")
    _warn(suspects, thresholds, indexed=store is not None and request.calibrate_on is None)
    return Backtest(request.lane, history, episodes, policy.fire, thresholds, suspects, held)


def _calibrated(
    request: Request,
    target: float,
    store: Store | None,
    history: CountHistory,
    scores: rule_over.ScoreHistory,
    policy: Policy,
    alerts: AlertSettings,
    models: ScoreModels,
) -> tuple[Mapping[str, Threshold], Sequence[DecidingEpisode]]:
    """Thresholds by volume tier that give `target` episodes per key-week, and the episodes that decided them."""
    quiet, quiet_scores = history, scores
    if request.calibrate_on is not None:
        quiet = history_of_file(request.calibrate_on, request.gaps)
        quiet_scores = _scores(quiet, request.lane, alerts, models)
    elif store and request.lane is Lane.negative:
        quiet_scores = calibration.leave_out_confirmed(store, quiet, quiet_scores)
    for crisis in request.real:
        quiet_scores = _without(quiet, quiet_scores, crisis, policy)
    thresholds = rule_over.calibrate(quiet, quiet_scores, target, policy)
    return thresholds, deciding(quiet, quiet_scores, thresholds, policy)


def _without(
    history: CountHistory, scores: rule_over.ScoreHistory, episode: str, policy: Policy
) -> rule_over.ScoreHistory:
    """The scores without an episode, given as KEY@TIME; raises `Fatal` where the history has no such episode."""
    key, _, text = episode.rpartition("@")
    try:
        at = datetime.fromisoformat(text)
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Fatal(
            f"--except {episode!r} has no time", "write KEY@TIME, e.g. k1@2026-11-27T20:15Z", EXIT_USAGE
        ) from None
    if key not in history.keys:
        hint = ", ".join(near(key, history.keys)) or ", ".join(history.keys[:3])
        raise Fatal(
            f"--except {episode!r}: the history has no key {key!r}", f"name one of its keys, e.g. {hint}", EXIT_USAGE
        )
    found = without_episode(history, scores, key, at, policy)
    if found is None:
        raise Fatal(
            f"--except {episode!r}: this key has no episode within 6 hours of that time",
            "take KEY@TIME from the list that backtest prints without --except",
            EXIT_USAGE,
        )
    return found


def _warn(suspects: Sequence[DecidingEpisode], by_tier: Mapping[str, Threshold], *, indexed: bool) -> None:
    """Names on standard error the episodes that made a threshold high."""
    for tier in dict.fromkeys(d.tier for d in suspects):
        mine = [d for d in suspects if d.tier == tier]
        err.print(
            f"the threshold of {tier} ({by_tier[tier].fire:.1f}) is high because these episodes count as false alarms:",
            markup=False,
        )
        for d in mine[:5]:
            err.print(f"  {d.name}, score {d.score:.1f}", markup=False)
        if len(mine) > 5:
            err.print(f"  and {len(mine) - 5} more")
        confirm = "acknowledge their alerts ('opinionwatch alerts ack'), or " if indexed else ""
        err.print(
            f"if they were real, {confirm}leave them out with --except '{mine[0].name}', or calibrate on a quiet "
            "period with --calibrate-on FILE",
            markup=False,
        )


def _held(
    evidence: EvidenceReader, everyone: int, overrides: Sequence[KeyOverride], found: Sequence[Episode]
) -> dict[str, str]:
    """By id of each episode that too few authors wrote: how many wrote it, and how many it needs."""
    held = {}
    for episode in found:
        least = least_authors(everyone, overrides, episode.key)
        if (
            least > 1
            and (
                distinct_authors := evidence.distinct_authors(
                    episode.scope, episode.lane, episode.started_at, episode.updated_at
                )
            )
            < least
        ):
            held[episode.id] = f"{distinct_authors} of {least} authors"
    return held


def _save(store: EvaluationStore, alerts: AlertSettings, target: float) -> Mapping[str, Threshold]:
    """Calibrates on the index as the alert role does, and stores the thresholds for it."""
    counts = CountCache(store, alerts.counting, keep=False)
    rule = DetectorConfig(min_negatives=alerts.min_negatives, min_lift=alerts.min_lift)
    with progress_bar() as bar:
        task = bar.add_task("calibrating", total=1.0)
        found = calibration.calibrate_on_index(
            store, counts, rule, target, alerts.counting, lambda done: bar.update(task, completed=done)
        )
    store.put_state(CALIBRATION, found)
    for name, threshold in found.thresholds.items():
        err.print(f"{name}: fires at {threshold.fire:.1f}, {threshold}; the alert role uses it within an hour")
    if not found.thresholds:
        err.print(f"no tier has {calibration.LEAST_KEY_WEEKS:.0f} key-weeks yet, so alerts.fire stays the threshold")
    return found.thresholds


def _scores(history: CountHistory, lane: Lane, alerts: AlertSettings, models: ScoreModels) -> rule_over.ScoreHistory:
    if lane is Lane.volume:
        return rule_over.volume_scores(history)
    rule = DetectorConfig.every(history.bucket_s, min_negatives=alerts.min_negatives, min_lift=alerts.min_lift)
    return rule_over.negative_scores(history, rule, models=models)
