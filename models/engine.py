"""Inference: takes texts and returns calibrated predictions in the same order."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import tuning
from models.batching import GPU_SHAPES, balance_batches, padded
from models.drift import Profile
from models.heads import Head, Prediction, predictions
from models.prevalence import ScoreGroup
from models.runtimes import Device, EngineError, Runtime, Session, open_runtime
from models.tokenizer import BundleTokenizer

#: What ONNX Runtime, CUDA and cuBLAS say when memory is short or the device is gone.
_MEMORY_SIGNS = (
    "Failed to allocate",
    "smaller than requested bytes",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDA error",
    "bad_alloc",
    "can't start new thread",
    "Resource temporarily unavailable",
)


#: Before `tune`: about the best on the processors seen.
BUDGET_TOKENS = 512


class OutOfMemoryError(EngineError):
    """Not even a single text fits into memory, or the device is broken; a new process may help."""


class Encoded(NamedTuple):
    """Texts that `engine` has tokenised: `rows[i]` are the rows of token ids of `texts[i]`."""

    texts: Sequence[str]
    rows: Sequence[list[list[int]]]
    engine: object

    def only(self, wanted: Sequence[int]) -> Encoded:
        """The texts at these positions."""
        return Encoded([self.texts[i] for i in wanted], [self.rows[i] for i in wanted], self.engine)


class OnnxEngine:
    """One session of one bundle. One thread at a time may call `infer`, while another calls `encode`.

    Batches of texts of similar length run in as many streams as the session has. Where memory runs out, the engine
    halves the batch down to a single text, and then rebuilds the session once.
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
        self.heads = {head.name: head for head in heads}
        self._tokenizer = tokenizer
        self.reference = reference
        self.prevalence = dict(prevalence or {})
        #: Tokens of a batch, padding included.
        self._budget = BUDGET_TOKENS
        self._size_mb = len(model) // 1_000_000
        self._build: Callable[[], Session] = lambda: open_runtime(
            model, device, runtime, threads or usable_cores(), standard=standard, gpu_memory_mb=gpu_memory_mb
        )
        self._session = self._build()
        self._pool = ThreadPoolExecutor(self._session.streams, thread_name_prefix="infer")
        self._rebuilt = False
        self._rebuilding = threading.Lock()
        self.tokens = 0
        self.padded_tokens = 0

    @property
    def provider(self) -> str:
        """The name of the runtime or provider that runs the graph."""
        return self._session.name

    def tune(self, budget_tokens: int | None = None) -> None:
        """Sets the tokens of a batch: the given number, or the number that a short trial finds fastest here.

        Models of equal size share the result, so that a model loaded next to a working one needs no trial under load.
        """
        if budget_tokens is None:
            rng = np.random.default_rng(1)
            budgets = tuning.GPU_BUDGETS if self._session.shapes is GPU_SHAPES else tuning.CPU_BUDGETS
            lengths = [min(n, self._tokenizer.max_tokens) for n in tuning.trial_lengths(budgets)]
            rows = [[rng.integers(5, self._tokenizer.vocabulary, n).tolist()] for n in lengths]
            trial = Encoded([""] * len(rows), rows, self)

            def seconds_of(budget: int) -> float:
                self._budget = budget
                started = time.perf_counter()
                self.infer(trial)
                return time.perf_counter() - started

            tokens, padded = self.tokens, self.padded_tokens
            key = f"{self._size_mb} MB, {self.provider}, {self._session.streams} streams, of {budgets}"
            usual, limit = self._budget, tuning.LIMIT_S
            found = tuning.cached(key, lambda: tuning.best_budget(seconds_of, budgets, limit_s=limit))
            budget_tokens = found or usual
            self.tokens, self.padded_tokens = tokens, padded
        self._budget = budget_tokens

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """One prediction per text, in order, for any mix of lengths; raises `EngineError` on non-finite outputs."""
        return self.infer(self.encode(texts))

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Tokenises: the first half of `predict`, which may run while another batch is in `infer`."""
        return Encoded(texts, self._tokenizer.encode(texts), self)

    def infer(self, encoded: Encoded) -> list[Prediction]:
        """Runs the graph: the second half of `predict`."""
        rows = [row for parts in encoded.rows for row in parts]
        # With the longest batches first, the streams end together.
        widths = [self._width(len(row)) for row in rows]
        groups = balance_batches(widths, self._budget, self._session.streams, self._session.shapes.rows)[::-1]
        logits = np.empty((len(rows), sum(len(h.labels) for h in self.heads.values())), np.float32)
        run = map if len(groups) < 2 or self._session.streams < 2 else self._pool.map
        for group, found in zip(groups, run(self._within_memory, [[rows[i] for i in g] for g in groups]), strict=True):
            logits[group] = found
        self.tokens += sum(map(len, rows))
        self.padded_tokens += sum(max(widths[i] for i in g) * len(g) for g in groups)
        return predictions(self.heads, logits, [len(parts) for parts in encoded.rows], self.name, self.version)

    def unknown_share(self, texts: Sequence[str]) -> float:
        """The share in [0, 1] of the tokens of `texts` that the vocabulary lacks."""
        return self._tokenizer.unknown_share(texts)

    def _width(self, tokens: int) -> int:
        """The padded width of this many tokens, at most the model's number of positions."""
        return min(self._session.shapes.width(tokens), self._tokenizer.max_tokens)

    def _within_memory(self, rows: list[list[int]]) -> NDArray[np.float32]:
        session = self._session
        try:
            return self._run(session, rows)
        except OutOfMemoryError:
            if len(rows) == 1:
                return self._run(self._rebuilt_after(session), rows)
        self._budget = max(1, self._budget // 2)
        half = len(rows) // 2
        return np.concatenate([self._within_memory(rows[:half]), self._within_memory(rows[half:])])

    def _rebuilt_after(self, failed: Session) -> Session:
        """A rebuilt session for one more attempt; raises where that attempt was already made."""
        with self._rebuilding:
            if self._session is failed:
                if self._rebuilt:
                    raise OutOfMemoryError("not even one text fits into memory")
                self._rebuilt = True
                self._session = self._build()
            return self._session

    def _run(self, session: Session, rows: list[list[int]]) -> NDArray[np.float32]:
        input_ids, mask = padded(rows, self._width)
        try:
            logits = session.run(input_ids, mask)
        except Exception as error:
            if memory_is_short(error):
                raise OutOfMemoryError(f"out of memory with {len(rows)} texts of {input_ids.shape[1]} tokens") from None
            raise EngineError(f"the model cannot be run: {type(error).__name__}") from error
        if not np.isfinite(logits).all():
            raise EngineError("the model returned NaN or infinity; roll back to the previous bundle")
        return logits


def memory_is_short(error: BaseException) -> bool:
    """Whether a lack of memory, of the machine or of the GPU, caused the error: a later attempt may succeed."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _MEMORY_SIGNS)


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
