"""The engine in service, replaced between batches when an alias of the registry names another version.

A thread polls the alias, loads and checks the new bundle while the current engine works, and the next `infer` switches
to it. A refused bundle changes nothing; the thread checks it again when the registry's entry or files change. Any other
failure (storage, network, memory) says nothing about the bundle, so the thread retries until loading succeeds. The
previous engine stays in memory, so that a rollback needs no loading.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from models.bundle import Bundle, load_bundle
from models.drift import Profile
from models.engine import Encoded, OnnxEngine
from models.errors import BundleError, BundleUnreadableError
from models.heads import Prediction
from models.inference import OutOfMemoryError
from models.mentions import Mentions
from models.prevalence import ScoreGroup
from models.registry import Registry, RegistryError
from models.runtimes import EngineError

log = logging.getLogger(__name__)
Refusal = Callable[[OnnxEngine], str | None]
#: At most this many polls pass between two attempts to load: after a passing failure, with a bundle that does not
#: start, and with a bundle that was refused for its content.
MOST_SKIPPED, NOT_STARTED_FOR, REFUSED_FOR = 12, 60, 720
_LOG_EVERY_S = 60.0


class UnfitError(ValueError):
    """The bundle is valid but cannot serve with these settings; the message says why."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a `HotSwap` calls.

    `load` opens a bundle on the device and runtime wanted. `refuse` says why an engine cannot serve here (None: it
    can). `on_swap` is called in the thread of `infer` before the new engine's first batch, `on_failure` with the id of
    a version that was refused, `on_look` at each look with the ids of the version wanted and of the one that serves,
    `observe` with every batch and its answers.
    """

    load: Callable[[Bundle], OnnxEngine] = load_bundle
    refuse: Refusal = lambda _: None
    on_swap: Callable[[OnnxEngine], None] = lambda _: None
    on_failure: Callable[[str], None] = lambda _: None
    on_look: Callable[[str, str], None] = lambda *_: None
    observe: Callable[[Encoded, Sequence[Prediction]], None] = lambda *_: None


class _Version(NamedTuple):
    """A version of the registry and its engine."""

    id: str
    engine: OnnxEngine


class HotSwap:
    """An engine that can be replaced. As with an engine, one thread calls `infer` while another calls `encode`."""

    def __init__(
        self,
        registry: Registry,
        alias: str,
        hooks: Hooks = Hooks(),  # noqa: B008 - frozen
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Loads the version that `alias` names; raises what `load_bundle` and the registry raise."""
        self._registry, self._alias, self._hooks = registry, alias, hooks
        self._attempts = _Attempts(clock)
        target = self.target()
        self._serving = _Version(target, self._load(target))
        self._kept: _Version | None = None
        self._next: _Version | None = None
        self._ended = threading.Event()

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def version(self) -> str:
        return self._engine.version

    @property
    def tokens(self) -> int:
        return self._engine.tokens

    @property
    def padded_tokens(self) -> int:
        return self._engine.padded_tokens

    @property
    def reference(self) -> Profile | None:
        return self._engine.reference

    @property
    def prevalence(self) -> Mapping[str, Sequence[ScoreGroup]]:
        return self._engine.prevalence

    def target(self) -> str:
        """The id of the version that the alias names; raises `RegistryError` where it names none."""
        found = self._registry.alias(self._alias)
        if found is None:
            raise RegistryError(
                f"{self._registry.url} has no {self._alias}; run 'opinionwatch models register' and 'models promote'"
            )
        return found

    def unknown_share(self, texts: Sequence[str]) -> float:
        return self._engine.unknown_share(texts)

    def predict(self, texts: Sequence[str], mentions: Sequence[Mentions] | None = None) -> list[Prediction]:
        return self.infer(self.encode(texts, mentions))

    def encode(self, texts: Sequence[str], mentions: Sequence[Mentions] | None = None) -> Encoded:
        return self._engine.encode(texts, mentions)

    def infer(self, encoded: Encoded) -> list[Prediction]:
        """As `OnnxEngine.infer`; a version that waits takes over first and tokenises the texts again."""
        waiting = self._next
        if waiting is not None:
            self._kept, self._serving, self._next = self._serving, waiting, None
            log.info("model %s serves from now on", waiting.id)
            self._hooks.on_swap(waiting.engine)
        if encoded.engine is not self._engine:
            encoded = self._engine.encode(encoded.texts, encoded.mentions)
        served = self._engine.infer(encoded)
        self._hooks.observe(encoded, served)
        return served

    def poll(self) -> None:
        """Reads the alias once; never raises."""
        wanted = ""
        try:
            wanted = self.target()
            self._hooks.on_look(wanted, self._serving.id)
            self._follow(wanted)
        except Exception as error:
            if self._attempts.failed(wanted):
                log.error("model %s keeps serving for now: %s: %s", self._serving.id, type(error).__name__, error)

    def _follow(self, wanted: str) -> None:
        """Makes `wanted` the next version to serve; raises the exceptions of passing failures."""
        if wanted == self._serving.id:
            self._next = None
            self._attempts.clear()
        elif self._next and self._next.id == wanted:
            return
        elif self._kept and self._kept.id == wanted:
            self._next = self._kept
            self._attempts.clear()
        elif self._attempts.due(wanted, self._registry.fingerprint):
            before = self._registry.fingerprint(wanted)
            try:
                self._next = _Version(wanted, self._load(wanted))
                self._attempts.clear()
            except (BundleUnreadableError, OutOfMemoryError):
                raise
            except (BundleError, EngineError, UnfitError) as error:
                looks = NOT_STARTED_FOR if isinstance(error, EngineError) else REFUSED_FOR
                if self._attempts.refused(wanted, before, looks):
                    log.error("model %s keeps serving: %s: %s", self._serving.id, type(error).__name__, error)
                    self._hooks.on_failure(wanted)

    def watch(self, every_s: float) -> None:
        """Polls in a separate thread until `close`."""

        def loop() -> None:
            while not self._ended.wait(every_s):
                self.poll()

        threading.Thread(target=loop, name="model-watch", daemon=True).start()

    def close(self) -> None:
        self._ended.set()

    @property
    def _engine(self) -> OnnxEngine:
        return self._serving.engine

    def _load(self, version_id: str) -> OnnxEngine:
        engine = self._hooks.load(self._registry.verify(version_id))
        if reason := self._hooks.refuse(engine):
            raise UnfitError(reason)
        return engine


class _Attempts:
    """Decides when to retry the wanted version, and when to log its failure."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._verdict: tuple[str, str] | None = None
        self._refused_for = REFUSED_FOR
        self._version, self._failures, self._skipped = "", 0, 0
        self._logged: float | None = None

    def clear(self) -> None:
        """Notes that the wanted version is loaded."""
        self._verdict, self._logged = None, None
        self._version, self._failures, self._skipped = "", 0, 0

    def due(self, version: str, fingerprint: Callable[[str], str]) -> bool:
        """Whether to try now: after a passing failure at growing intervals, after a refusal when something changed."""
        if version != self._version:
            self._version, self._failures, self._skipped, self._logged = version, 0, 0, None
        refused = self._verdict is not None and self._verdict[0] == version
        if refused and self._verdict != (version, fingerprint(version)):
            self._skipped = 0
            return True
        most = self._refused_for if refused else min(MOST_SKIPPED, 2 ** min(self._failures, 8) // 2)
        if self._failures and self._skipped < most - 1:
            self._skipped += 1
            return False
        self._skipped = 0
        return True

    def failed(self, version: str) -> bool:
        """Notes a passing failure; returns whether to log it, which is true once a minute."""
        now = self._clock()
        if version:
            self._failures += 1
        if self._logged is not None and now - self._logged < _LOG_EVERY_S:
            return False
        self._logged = now
        return True

    def refused(self, version: str, fingerprint: str, looks: int) -> bool:
        """Notes a refusal of the version with these files for `looks` polls; returns whether the refusal is new."""
        before, self._verdict = self._verdict, (version, fingerprint)
        self._refused_for = looks
        self._failures += 1
        return before != self._verdict
