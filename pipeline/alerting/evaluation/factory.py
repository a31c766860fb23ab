"""Makes the evaluator and its parts from the settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.overrides import KeyOverride
from pipeline.alerting.evaluation.volume_lane import CALM, VolumeLane
from pipeline.settings import AlertSettings
from pipeline.store.protocol import EvaluationStore

E = TypeVar("E", bound=Evaluator)


def make_evaluator(store: EvaluationStore, settings: AlertSettings) -> Evaluator:
    """The rule and the policy of the settings over a store."""
    return evaluator_of(Evaluator, store, settings)


def evaluator_of(kind: type[E], store: EvaluationStore, settings: AlertSettings) -> E:
    """An evaluator, or a replay of one, with the rule and the policy of the settings."""
    rule = DetectorConfig(min_negatives=settings.min_negatives, min_lift=settings.min_lift)
    policy = Policy(settings.fire, settings.critical, remind=timedelta(seconds=settings.renotify_s))
    rules = key_overrides(settings)
    loud = settings.volume
    surge = replace(policy, fire=loud.fire, critical=loud.critical, calm=CALM)
    return kind(store, settings.counting, rule, policy, rules, VolumeLane(surge, rules, enabled=loud.enabled))


def key_overrides(settings: AlertSettings) -> list[KeyOverride]:
    """Those of `alerts.overrides`."""
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
