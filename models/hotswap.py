"""The engine in service, replaced between batches when an alias of the registry names another version.

A thread watches the alias, loads and checks the new bundle beside the running engine, and leaves it for the next
`predict` to take over. A bundle that is refused changes nothing. The engine before is kept, so that a rollback
needs no loading.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from models.bundle import load_bundle
from models.drift import Profile
from models.engine import Encoded, OnnxEngine
from models.labels import Prediction
from models.registry import Registry, RegistryError

log = logging.getLogger(__name__)
Refusal = Callable[[OnnxEngine], str | None]


class HotSwap:
    """Stands for an engine: `infer` from one thread at a time, `encode` beside it, as an engine itself."""

    def __init__(
        self,
        registry: Registry,
        alias: str,
        *,
        load: Callable[[Path], OnnxEngine] = load_bundle,
        refuse: Refusal = lambda _: None,
        on_swap: Callable[[OnnxEngine], None] = lambda _: None,
        on_failure: Callable[[str], None] = lambda _: None,
        observe: Callable[[Sequence[str], Sequence[Prediction]], None] = lambda *_: None,
    ) -> None:
        """Loads the version that `alias` names; raises what `load_bundle` and the registry raise.

        `load` opens a bundle on the device and runtime wanted.
        `refuse` says why an engine cannot serve here (None: it can). `on_swap` is called in the thread of
        `infer` before the new engine's first batch, `on_failure` with the id of a version that was refused,
        `observe` with every batch and its answers.
        """
        self._registry, self._alias = registry, alias
        self._load_bundle = load
        self._refuse, self._on_swap, self._on_failure, self._observe = refuse, on_swap, on_failure, observe
        self._id = self.target()
        self._engine = self._load(self._id)
        self._kept: tuple[str, OnnxEngine] | None = None
        self._next: tuple[str, OnnxEngine] | None = None
        self._refused: str | None = None
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

    def target(self) -> str:
        """The id that the alias names; raises `RegistryError` where it names none."""
        found = self._registry.alias(self._alias)
        if found is None:
            raise RegistryError(
                f"{self._registry.url} has no {self._alias}; run 'opinionwatch models register' and 'models promote'"
            )
        return found

    def unknown_share(self, texts: Sequence[str]) -> float:
        return self._engine.unknown_share(texts)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        return self.infer(self.encode(texts))

    def encode(self, texts: Sequence[str]) -> Encoded:
        return self._engine.encode(texts)

    def infer(self, encoded: Encoded) -> list[Prediction]:
        """As the engine's; a version that waits takes over first, and reads the texts anew."""
        waiting = self._next
        if waiting is not None:
            self._kept, (self._id, self._engine), self._next = (self._id, self._engine), waiting, None
            log.info("model %s takes over", self._id)
            self._on_swap(self._engine)
        if encoded.engine is not self._engine:
            encoded = self._engine.encode(encoded.texts)
        served = self._engine.infer(encoded)
        self._observe(encoded.texts, served)
        return served

    def poll(self) -> None:
        """One look at the alias; never raises."""
        try:
            wanted = self.target()
            current = self._next[0] if self._next else self._id
            if wanted in {current, self._refused}:
                return
            if self._kept and self._kept[0] == wanted:
                self._next = self._kept
            else:
                self._next = (wanted, self._load(wanted))
            self._refused = None
        except Exception as error:
            self._refused = self._registry_says()
            log.error("model %s stays: %s: %s", self._id, type(error).__name__, error)
            self._on_failure(self._refused or "")

    def watch(self, every_s: float) -> None:
        """Polls in a thread of its own until `close`."""

        def loop() -> None:
            while not self._ended.wait(every_s):
                self.poll()

        threading.Thread(target=loop, name="model-watch", daemon=True).start()

    def close(self) -> None:
        self._ended.set()

    def _registry_says(self) -> str | None:
        try:
            return self._registry.alias(self._alias)
        except Exception:
            return None

    def _load(self, version_id: str) -> OnnxEngine:
        self._registry.verify(version_id)
        engine = self._load_bundle(self._registry.fetch(version_id))
        if reason := self._refuse(engine):
            raise ValueError(reason)
        return engine
