"""Opens the model for the pipeline: the bundle of the settings, or the champion of the registry."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from models.aliases import CHALLENGER
from models.bundle import Bundle, BundleError, load_bundle, read_bundle
from models.engine import OnnxEngine
from models.hotswap import Hooks, HotSwap, UnfitError
from models.inference import OutOfMemoryError
from models.registry import Registry, RegistryError, RegistryUnavailableError
from models.runtimes import EngineError
from models.shadow import Shadow
from pipeline.classify.stage import Classifier, served_model
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import EXIT_CONFIG, EXIT_UNAVAILABLE, Fatal, PipelineError
from pipeline.domain.metrics import Metrics
from pipeline.domain.states import SERVED_MODEL
from pipeline.settings import ModelSettings
from pipeline.store.protocol import StateStore

log = logging.getLogger(__name__)
#: The longest pause between two attempts to open a challenger.
_LONGEST_WAIT_S = 60.0


def open_classifier(settings: ModelSettings) -> OnnxEngine:
    """Opens the bundle in service for one run of a command; raises `Fatal` with the reason if it is refused."""
    try:
        if settings.registry:
            registry = Registry(settings.registry, trusted=settings.trusted_keys)
            bundle = registry.verify(_named(registry, settings.alias))
        else:
            bundle = read_bundle(Path(settings.bundle), settings.trusted_keys)
        engine = _load(settings, bundle)
    except (BundleError, EngineError, RegistryError) as error:
        raise refused(settings, error) from None
    log.info("model opened: model=%s version=%s provider=%s", engine.name, engine.version, engine.provider)
    return engine


def bundle_in_service(settings: ModelSettings) -> Path:
    """Returns a folder with the verified bundle: that of the settings, or a private copy of the registry's.

    Raises `Fatal`.
    """
    try:
        if not settings.registry:
            read_bundle(Path(settings.bundle), settings.trusted_keys)
            return Path(settings.bundle)
        registry = Registry(settings.registry, trusted=settings.trusted_keys)
        return registry.checkout(_named(registry, settings.alias))
    except (BundleError, RegistryError) as error:
        raise refused(settings, error) from None


def refused(settings: ModelSettings, error: Exception) -> Fatal:
    """Returns the `Fatal` for a model that cannot be opened."""
    if isinstance(error, RegistryUnavailableError):
        return Fatal(
            f"model.registry: {error}",
            "check that the storage answers and that this user may read it",
            EXIT_UNAVAILABLE,
        )
    if isinstance(error, OutOfMemoryError):
        return Fatal(str(error), "give this process more memory, or use a smaller model", EXIT_UNAVAILABLE)
    if settings.registry:
        return Fatal(f"model.registry: {error}", "run 'opinionwatch models list' and promote a good model", EXIT_CONFIG)
    return Fatal(f"model.bundle: {error}", "set model.bundle to a valid bundle", EXIT_CONFIG)


def serve_classifier(
    settings: ModelSettings, rule: NegativeDefinition, metrics: Metrics, store: StateStore
) -> Classifier:
    """Opens the model for a worker; a registry may replace it at any time, and have a challenger shadow it."""
    if not settings.registry:
        engine = open_classifier(settings)
        engine.tune(settings.budget_tokens)
        return engine

    def serves(engine: OnnxEngine) -> None:
        metrics.serves(engine.name, engine.version)
        metrics.swaps.labels("taken").inc()
        try:
            store.put_state(SERVED_MODEL, served_model(engine))
        except PipelineError as error:
            log.warning(
                "model not noted in the store: model=%s version=%s error=%s", engine.name, engine.version, error
            )

    registry = Registry(settings.registry, trusted=settings.trusted_keys)
    try:
        shadow = _shadow(settings, registry, metrics)
        champion = HotSwap(
            registry,
            settings.alias,
            Hooks(
                load=partial(_tuned, settings),
                refuse=lambda engine: unfit(engine, rule),
                on_swap=serves,
                on_failure=lambda _: metrics.swaps.labels("refused").inc(),
                on_look=metrics.wants,
                observe=shadow.compare if shadow else lambda *_: None,
            ),
        )
    except (BundleError, EngineError, RegistryError, UnfitError) as error:
        raise refused(settings, error) from None
    champion.watch(settings.poll_s)
    return champion


def _shadow(
    settings: ModelSettings, registry: Registry, metrics: Metrics, sleep: Callable[[float], None] = time.sleep
) -> Shadow | None:
    """Opens the challenger, and tries again while there is none that can be opened; None if no share of it is set."""
    if not settings.shadow_share:
        return None

    def count(head: str, agree: bool, posts: int) -> None:
        metrics.shadow.labels(head, str(agree).lower()).inc(posts)

    shadow = Shadow(None, settings.shadow_share, count)

    def opened() -> bool:
        try:
            if registry.alias(CHALLENGER) is None:
                return False
            challenger = HotSwap(registry, CHALLENGER, Hooks(load=partial(_tuned, settings)))
        except Exception as error:  # the champion serves, whatever is wrong with the challenger
            log.error("challenger not opened: error=%s detail=%s; trying again", type(error).__name__, error)
            return False
        challenger.watch(settings.poll_s)
        shadow.take(challenger)
        return True

    def wait() -> None:
        pause = settings.poll_s
        while not opened():
            sleep(pause)
            pause = min(pause * 2, max(_LONGEST_WAIT_S, settings.poll_s))

    if not opened():
        threading.Thread(target=wait, name="challenger-wait", daemon=True).start()
    return shadow


def _load(settings: ModelSettings, bundle: Bundle) -> OnnxEngine:
    return load_bundle(
        bundle,
        device=settings.device,
        runtime=settings.runtime,
        threads=settings.threads,
        gpu_memory_mb=settings.gpu_memory_mb,
        long_texts=settings.long_texts,
    )


def _tuned(settings: ModelSettings, bundle: Bundle) -> OnnxEngine:
    engine = _load(settings, bundle)
    engine.tune(settings.budget_tokens)
    return engine


def _named(registry: Registry, alias: str) -> str:
    found = registry.alias(alias)
    if found is None:
        raise RegistryError(f"{registry.url} has no {alias}: run 'opinionwatch models promote ID'")
    return found


def unfit(engine: OnnxEngine, rule: NegativeDefinition) -> str | None:
    """Returns why the alert rule cannot use the engine's labels; None if it can."""
    head = engine.heads.get(rule.head)
    if head is None:
        return f"{engine.name} {engine.version} has no head {rule.head!r}, which the alert rule counts (alerts.head)"
    if missing := set(rule.negative) - set(head.labels):
        return f"head {rule.head!r} of {engine.name} {engine.version} has no class {sorted(missing)} (alerts.negative)"
    return None
