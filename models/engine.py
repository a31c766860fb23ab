"""Inference: takes texts and returns calibrated predictions in the same order."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models import tuning
from models.batching import GPU_SHAPES
from models.drift import Profile
from models.heads import TOWARD, Head, Prediction, predictions, with_toward
from models.inference import Inference
from models.mentions import NO_TARGETS, Mentions, Place, Targets
from models.prevalence import ScoreGroup
from models.runtimes import Device, Runtime, Session, open_runtime
from models.tokenizer import BundleTokenizer


class Encoded(NamedTuple):
    """Texts that `engine` has tokenised: `rows[i]` are the rows of token ids of `texts[i]`.

    `mentions[i]` are the mentions that came with `texts[i]`, and `targets[i]` is where they are; both are empty where
    no text came with any.
    """

    texts: Sequence[str]
    rows: Sequence[list[list[int]]]
    engine: object
    mentions: Sequence[Mentions] = ()
    targets: Sequence[Targets] = ()

    def only(self, wanted: Sequence[int]) -> Encoded:
        """The texts at these positions."""
        return Encoded(
            [self.texts[i] for i in wanted],
            [self.rows[i] for i in wanted],
            self.engine,
            [self.mentions[i] for i in wanted] if self.mentions else (),
            [self.targets[i] for i in wanted] if self.targets else (),
        )


class OnnxEngine:
    """One session of one bundle. One thread at a time may call `infer`, while another calls `encode`.

    `toward` is the head that judges mentions of subjects, if the bundle has it; `heads` are all others.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        heads: Sequence[Head],
        tokenizer: BundleTokenizer,
        model: bytes,
        device: Device = "auto",
        runtime: Runtime = "auto",
        standard: bool = False,
        gpu_memory_mb: int = 0,
        threads: int | None = None,
        reference: Profile | None = None,
        prevalence: Mapping[str, Sequence[ScoreGroup]] | None = None,
    ) -> None:
        """`reference` is the profile that drift is measured against, `prevalence` the score groups per head.

        See `open_runtime` for the other arguments.
        """
        self.name = name
        self.version = version
        self.heads = {head.name: head for head in heads if head.name != TOWARD}
        self.toward = next((head for head in heads if head.name == TOWARD), None)
        self.reference = reference
        self.prevalence = dict(prevalence or {})
        self._tokenizer = tokenizer
        self._size_mb = len(model) // 1_000_000
        has_toward = self.toward is not None

        def build() -> Session:
            return open_runtime(
                model,
                device,
                runtime,
                threads or usable_cores(),
                standard=standard,
                gpu_memory_mb=gpu_memory_mb,
                toward=has_toward,
            )

        self._inference = Inference(build, tokenizer.max_tokens, toward=has_toward)

    @property
    def provider(self) -> str:
        """The name of the runtime or provider that runs the graph."""
        return self._inference.session.name

    @property
    def tokens(self) -> int:
        """The tokens inferred so far, without padding."""
        return self._inference.tokens

    @property
    def padded_tokens(self) -> int:
        """The tokens inferred so far, with padding."""
        return self._inference.padded_tokens

    @property
    def budget_tokens(self) -> int:
        """The tokens of a batch, padding included."""
        return self._inference.budget

    def tune(self, budget_tokens: int | None = None) -> None:
        """Sets the tokens of a batch: the given number, or the number that a short trial finds fastest here.

        Models of equal size share the result, so that a model loaded next to a working one needs no trial under load.
        """
        inference = self._inference
        if budget_tokens is None:
            session = inference.session
            rng = np.random.default_rng(1)
            budgets = tuning.GPU_BUDGETS if session.shapes is GPU_SHAPES else tuning.CPU_BUDGETS
            lengths = [min(n, self._tokenizer.max_tokens) for n in tuning.trial_lengths(budgets)]
            rows = [rng.integers(5, self._tokenizer.vocabulary, n).tolist() for n in lengths]

            def seconds_of(budget: int) -> float:
                inference.budget = budget
                started = time.perf_counter()
                inference.run(rows, [])
                return time.perf_counter() - started

            tokens, padded = inference.tokens, inference.padded_tokens
            key = f"{self._size_mb} MB, {self.provider}, {session.streams} streams, of {budgets}"
            usual, limit = inference.budget, tuning.LIMIT_S
            found = tuning.cached(key, lambda: tuning.best_budget(seconds_of, budgets, limit_s=limit))
            budget_tokens = found or usual
            inference.tokens, inference.padded_tokens = tokens, padded
        inference.budget = budget_tokens

    def predict(self, texts: Sequence[str], mentions: Sequence[Mentions] | None = None) -> list[Prediction]:
        """One prediction per text, in order, for any mix of lengths; raises `EngineError` on non-finite outputs.

        `mentions[i]` are the mentions of each subject in `texts[i]`.
        """
        return self.infer(self.encode(texts, mentions))

    def encode(self, texts: Sequence[str], mentions: Sequence[Mentions] | None = None) -> Encoded:
        """Tokenises: the first half of `predict`, which may run while another batch is in `infer`."""
        mentions = mentions or ()
        if self.toward is None or not any(mentions):
            return Encoded(texts, self._tokenizer.encode(texts), self, mentions)
        # Offsets of tokens cost time, and only texts with mentions need them.
        named = [i for i, found in enumerate(mentions) if found]
        plain = [i for i, found in enumerate(mentions) if not found]
        rows: list[list[list[int]]] = [[]] * len(texts)
        targets = [NO_TARGETS] * len(texts)
        for i, found in zip(plain, self._tokenizer.encode([texts[i] for i in plain]), strict=True):
            rows[i] = found
        placed = self._tokenizer.encode_mentions([texts[i] for i in named], [mentions[i] for i in named])
        for i, (found, target) in zip(named, placed, strict=True):
            rows[i], targets[i] = found, target
        return Encoded(texts, rows, self, mentions, targets)

    def infer(self, encoded: Encoded) -> list[Prediction]:
        """Runs the graph: the second half of `predict`."""
        targets = encoded.targets or [NO_TARGETS] * len(encoded.rows)
        rows: list[list[int]] = []
        windows: list[int] = []
        mentions: list[Place] = []
        for parts, target in zip(encoded.rows, targets, strict=True):
            mentions += [p._replace(row=len(rows) + p.row) for places in target.places.values() for p in places]
            rows += parts
            windows += range(len(rows), len(rows) + len(target.windows))
            rows += target.windows
        logits, toward = self._inference.run(rows, mentions)
        if windows:
            logits = np.delete(logits, windows, axis=0)
        parts_of = [len(parts) for parts in encoded.rows]
        found = predictions(self.heads, logits, parts_of, self.name, self.version)
        if self.toward is not None:
            with_toward(found, self.toward, toward, [target.places for target in targets])
        return found

    def unknown_share(self, texts: Sequence[str]) -> float:
        """The share in [0, 1] of the tokens of `texts` that the vocabulary lacks."""
        return self._tokenizer.unknown_share(texts)


def usable_cores() -> int:
    """The number of cores that this process may use, by affinity and cgroup v2 quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return cores
