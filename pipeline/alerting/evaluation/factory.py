"""Makes the evaluator and its parts from the settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.overrides import KeyOverride
from pipeline.alerting.evaluation.replay import Replay
from pipeline.alerting.evaluation.volume_lane import CALM, VolumeLane
from pipeline.settings import AlertSettings
from pipeline.store.protocol import EvaluationStore


def make_evaluator(store: EvaluationStore, settings: AlertSettings) -> Evaluator:
    """An evaluator over a store, with the detector configuration and the policy of the settings."""
    overrides, loud, policy = key_overrides(settings), settings.volume, _policy(settings)
    surge = replace(policy, fire=loud.fire, critical=loud.critical, calm=CALM)
    volume = VolumeLane(surge, overrides, enabled=loud.enabled)
    return Evaluator(store, settings.counting, _detector_config(settings), policy, overrides, volume)


def make_replay(store: EvaluationStore, settings: AlertSettings) -> Replay:
    """A replay of the evaluator that these settings make."""
    overrides = key_overrides(settings)
    return Replay(store, settings.counting, _detector_config(settings), _policy(settings), overrides)


def key_overrides(settings: AlertSettings) -> list[KeyOverride]:
    """The overrides of `alerts.overrides`."""
    return [
        KeyOverride(
            keys=tuple(r.keys),
            watch=r.watch,
            fire=r.fire,
            critical=r.critical,
            at_most_warning=r.at_most == "warning",
            min_negatives=r.min_negatives,
            min_lift=r.min_lift,
            min_authors=r.min_authors,
        )
        for r in settings.overrides
    ]


def _detector_config(settings: AlertSettings) -> DetectorConfig:
    return DetectorConfig(min_negatives=settings.min_negatives, min_lift=settings.min_lift)


def _policy(settings: AlertSettings) -> Policy:
    return Policy(settings.fire, settings.critical, remind=timedelta(seconds=settings.renotify_s))
