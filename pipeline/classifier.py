"""The bundle of the settings, or the registry's champion, opened for the pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from models.bundle import BundleError, load_bundle
from models.drift import Profile
from models.engine import EngineError, OnnxEngine
from models.hotswap import HotSwap
from models.labels import Prediction
from models.registry import CHALLENGER, Registry, RegistryError
from models.shadow import Shadow
from pipeline.errors import Fatal
from pipeline.labelling import Classifier
from pipeline.metrics import Metrics
from pipeline.settings import ModelSettings
from pipeline.store.base import CountRule, Store


def open_classifier(settings: ModelSettings) -> Classifier:
    """The bundle that serves now, for one run of a command; raises `Fatal` with the reason why it is refused."""
    try:
        folder = settings.bundle
        if settings.registry:
            registry = Registry(settings.registry)
            folder = str(registry.fetch(_named(registry, settings.alias)))
        return load_bundle(folder, settings.device, threads=settings.threads, long_texts=settings.long_texts)
    except (BundleError, EngineError, RegistryError) as error:
        raise Fatal(f"model.{'registry' if settings.registry else 'bundle'}: {error}", "give a good bundle") from None


def serve_classifier(settings: ModelSettings, rule: CountRule, metrics: Metrics, store: Store) -> Classifier:
    """The same for a worker: exchanged while it runs where there is a registry, with a challenger in its shadow."""
    if not settings.registry:
        return open_classifier(settings)

    def serves(engine: OnnxEngine) -> None:
        metrics.serves(engine.name, engine.version)
        metrics.swaps.labels("taken").inc()
        store.put_state("model", {"name": engine.name, "version": engine.version})

    registry = Registry(settings.registry)
    try:
        champion = HotSwap(
            registry,
            settings.alias,
            device=settings.device,
            threads=settings.threads,
            long_texts=settings.long_texts,
            refuse=lambda engine: _unfit(engine, rule),
            on_swap=serves,
            on_failure=lambda _: metrics.swaps.labels("refused").inc(),
        )
    except (BundleError, EngineError, RegistryError, ValueError) as error:
        raise Fatal(f"model.registry: {error}", "see 'opinionwatch models list'") from None
    champion.watch(settings.poll_s)
    if not settings.shadow_share or registry.alias(CHALLENGER) is None:
        return champion
    challenger = HotSwap(
        registry, CHALLENGER, device=settings.device, threads=settings.threads, long_texts=settings.long_texts
    )
    challenger.watch(settings.poll_s)

    def tell(head: str, agree: bool, n: int) -> None:
        metrics.shadow.labels(head, str(agree).lower()).inc(n)

    return _Shadowed(champion, Shadow(challenger, settings.shadow_share, tell))


class _Shadowed:
    """The champion's labels; the challenger's are only compared."""

    def __init__(self, champion: HotSwap, shadow: Shadow) -> None:
        self._champion, self._shadow = champion, shadow

    @property
    def name(self) -> str:
        return self._champion.name

    @property
    def version(self) -> str:
        return self._champion.version

    @property
    def tokens(self) -> int:
        return self._champion.tokens

    @property
    def padded_tokens(self) -> int:
        return self._champion.padded_tokens

    @property
    def reference(self) -> Profile | None:
        return self._champion.reference

    def unknown_share(self, texts: Sequence[str]) -> float:
        return self._champion.unknown_share(texts)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        served = self._champion.predict(texts)
        self._shadow.compare(texts, served)
        return served


def _named(registry: Registry, alias: str) -> str:
    found = registry.alias(alias)
    if found is None:
        raise RegistryError(f"{registry.url} has no {alias}; run 'opinionwatch models promote ID'")
    return found


def _unfit(engine: OnnxEngine, rule: CountRule) -> str | None:
    head = engine.heads.get(rule.head)
    if head is None:
        return f"{engine.name} {engine.version} has no head {rule.head!r}, which the alert rule counts (alerts.head)"
    if missing := set(rule.negative) - set(head.labels):
        return f"head {rule.head!r} of {engine.name} {engine.version} has no class {sorted(missing)} (alerts.negative)"
    return None
