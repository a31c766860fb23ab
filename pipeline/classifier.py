"""The bundle of the settings, or the registry's champion, opened for the pipeline."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from models.bundle import BundleError, load_bundle
from models.engine import OnnxEngine
from models.hotswap import HotSwap
from models.registry import CHALLENGER, Registry, RegistryError
from models.runtimes import EngineError
from models.shadow import Shadow
from models.signing import check_signature
from pipeline.errors import Fatal, PipelineError
from pipeline.labelling import Classifier
from pipeline.metrics import Metrics
from pipeline.settings import ModelSettings
from pipeline.store.base import CountRule, Store

log = logging.getLogger(__name__)


def open_classifier(settings: ModelSettings) -> OnnxEngine:
    """The bundle that serves now, for one run of a command; raises `Fatal` with the reason why it is refused."""
    folder = bundle_in_service(settings)
    try:
        check_signature(folder, settings.trusted_keys)
        engine = _load(settings, folder)
        log.info("%s %s runs on %s", engine.name, engine.version, engine.provider)
        return engine
    except (BundleError, EngineError) as error:
        raise Fatal(f"model.{'registry' if settings.registry else 'bundle'}: {error}", "give a good bundle") from None


def bundle_in_service(settings: ModelSettings) -> Path:
    """The folder of the bundle: of the settings, or what the registry's alias points at; raises `Fatal`."""
    if not settings.registry:
        return Path(settings.bundle)
    try:
        registry = Registry(settings.registry)
        return registry.fetch(_named(registry, settings.alias))
    except (BundleError, RegistryError) as error:
        raise Fatal(f"model.registry: {error}", "see 'opinionwatch models list'") from None


def serve_classifier(settings: ModelSettings, rule: CountRule, metrics: Metrics, store: Store) -> Classifier:
    """The same for a worker: exchanged while it runs where there is a registry, with a challenger in its shadow."""
    if not settings.registry:
        engine = open_classifier(settings)
        engine.tune(settings.budget_tokens)
        return engine

    def serves(engine: OnnxEngine) -> None:
        metrics.serves(engine.name, engine.version)
        metrics.swaps.labels("taken").inc()
        try:
            store.put_state("model", {"name": engine.name, "version": engine.version})
        except PipelineError as error:
            log.warning("the store does not know yet that %s %s serves: %s", engine.name, engine.version, error)

    registry = Registry(settings.registry, trusted=settings.trusted_keys)
    try:
        shadow = _shadow(settings, registry, metrics)
        champion = HotSwap(
            registry,
            settings.alias,
            load=partial(_tuned, settings),
            refuse=lambda engine: unfit(engine, rule),
            on_swap=serves,
            on_failure=lambda _: metrics.swaps.labels("refused").inc(),
            observe=shadow.compare if shadow else lambda *_: None,
        )
    except (BundleError, EngineError, RegistryError, ValueError) as error:
        raise Fatal(f"model.registry: {error}", "see 'opinionwatch models list'") from None
    champion.watch(settings.poll_s)
    return champion


def _shadow(settings: ModelSettings, registry: Registry, metrics: Metrics) -> Shadow | None:
    """The challenger beside the champion, where there is one and a share of the posts is set for it."""
    if not settings.shadow_share or registry.alias(CHALLENGER) is None:
        return None
    try:
        challenger = HotSwap(registry, CHALLENGER, load=partial(_tuned, settings))
    except Exception as error:  # whatever is wrong with it, the champion serves
        log.error("no challenger in the shadow: %s: %s", type(error).__name__, error)
        return None
    challenger.watch(settings.poll_s)

    def tell(head: str, agree: bool, n: int) -> None:
        metrics.shadow.labels(head, str(agree).lower()).inc(n)

    return Shadow(challenger, settings.shadow_share, tell)


def _load(settings: ModelSettings, folder: Path) -> OnnxEngine:
    return load_bundle(
        folder,
        device=settings.device,
        runtime=settings.runtime,
        threads=settings.threads,
        gpu_memory_mb=settings.gpu_memory_mb,
        long_texts=settings.long_texts,
    )


def _tuned(settings: ModelSettings, folder: Path) -> OnnxEngine:
    engine = _load(settings, folder)
    engine.tune(settings.budget_tokens)
    return engine


def _named(registry: Registry, alias: str) -> str:
    found = registry.alias(alias)
    if found is None:
        raise RegistryError(f"{registry.url} has no {alias}; run 'opinionwatch models promote ID'")
    return found


def unfit(engine: OnnxEngine, rule: CountRule) -> str | None:
    """Why the alert rule cannot count what the engine says; None where it can."""
    head = engine.heads.get(rule.head)
    if head is None:
        return f"{engine.name} {engine.version} has no head {rule.head!r}, which the alert rule counts (alerts.head)"
    if missing := set(rule.negative) - set(head.labels):
        return f"head {rule.head!r} of {engine.name} {engine.version} has no class {sorted(missing)} (alerts.negative)"
    return None
