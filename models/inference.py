"""Runs rows of tokens through a session, in batches that fit into memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.batching import balance_batches, mention_arrays, padded
from models.graph import MENTION_INPUTS
from models.mentions import Batch, Place
from models.runtimes import INPUTS, EngineError, Session

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
#: Before `OnnxEngine.tune`: about the best on the processors seen.
BUDGET_TOKENS = 512


class OutOfMemoryError(EngineError):
    """Not even a single text fits into memory, or the device is broken; a new process may help."""


class Outputs(NamedTuple):
    """float32[rows, classes] logits, and float32[mentions, 3] logits toward the mentions."""

    logits: NDArray[np.float32]
    toward: NDArray[np.float32]


class Inference:
    """Runs batches of rows of similar length in as many streams as the session has.

    Where memory runs out, it halves the batch down to a single row, and then rebuilds the session once. `budget` is the
    number of tokens of a batch, padding included; `tokens` and `padded_tokens` count what was run.
    """

    def __init__(self, build: Callable[[], Session], max_tokens: int, *, toward: bool) -> None:
        """`build` opens the session; with `toward` its graph reads mentions."""
        self._build, self._max_tokens, self._toward = build, max_tokens, toward
        self.session = build()
        self._pool = ThreadPoolExecutor(self.session.streams, thread_name_prefix="infer")
        self._rebuilt = False
        self._rebuilding = threading.Lock()
        self.budget = BUDGET_TOKENS
        self.tokens = 0
        self.padded_tokens = 0

    def run(self, rows: Sequence[list[int]], mentions: Sequence[Place]) -> Outputs:
        """The outputs in the order of the rows and of the mentions."""
        # With the longest batches first, the streams end together.
        widths = [self.width(len(row)) for row in rows]
        groups = balance_batches(widths, self.budget, self.session.streams, self.session.shapes.rows)[::-1]
        by_row: dict[int, list[int]] = {}
        for i, place in enumerate(mentions):
            by_row.setdefault(place.row, []).append(i)
        inside = [[i for row in group for i in by_row.get(row, ())] for group in groups]
        batches = []
        for group, own in zip(groups, inside, strict=True):
            at = {row: i for i, row in enumerate(group)} if own else {}
            places = [mentions[i]._replace(row=at[mentions[i].row]) for i in own]
            batches.append(Batch([rows[i] for i in group], places))
        run = map if len(groups) < 2 or self.session.streams < 2 else self._pool.map
        found = list(run(self._within_memory, batches))
        toward = np.empty((len(mentions), 3), np.float32)
        logits = np.empty((len(rows), found[0].logits.shape[1] if found else 0), np.float32)
        for group, own, outputs in zip(groups, inside, found, strict=True):
            logits[group] = outputs.logits
            toward[own] = outputs.toward
        self.tokens += sum(map(len, rows))
        self.padded_tokens += sum(max(widths[i] for i in g) * len(g) for g in groups)
        return Outputs(logits, toward)

    def width(self, tokens: int) -> int:
        """The padded width of this many tokens, at most the model's number of positions."""
        return min(self.session.shapes.width(tokens), self._max_tokens)

    def _within_memory(self, batch: Batch) -> Outputs:
        session = self.session
        try:
            return self._run(session, batch)
        except OutOfMemoryError:
            if len(batch.rows) == 1:
                return self._run(self._rebuilt_after(session), batch)
        self.budget = max(1, self.budget // 2)
        first, second = map(self._within_memory, batch.halves())
        # The mentions of a batch are in the order of its rows.
        return Outputs(np.concatenate([first.logits, second.logits]), np.concatenate([first.toward, second.toward]))

    def _rebuilt_after(self, failed: Session) -> Session:
        """A rebuilt session for one more attempt; raises where that attempt was already made."""
        with self._rebuilding:
            if self.session is failed:
                if self._rebuilt:
                    raise OutOfMemoryError("not even one text fits into memory")
                self._rebuilt = True
                self.session = self._build()
            return self.session

    def _run(self, session: Session, batch: Batch) -> Outputs:
        ids, mask = padded(batch.rows, self.width)
        inputs = dict(zip(INPUTS, (ids, mask), strict=True))
        if self._toward:
            arrays = mention_arrays(batch.mentions, session.shapes.mentions)
            inputs |= zip(MENTION_INPUTS, arrays, strict=True)
        try:
            outputs = session.run(inputs)
        except Exception as error:
            if memory_is_short(error):
                raise OutOfMemoryError(f"out of memory with {len(batch.rows)} texts of {ids.shape[1]} tokens") from None
            raise EngineError(f"the model cannot be run: {type(error).__name__}") from error
        if not all(np.isfinite(output).all() for output in outputs):
            raise EngineError("the model returned NaN or infinity; roll back to the previous bundle")
        toward = outputs[1][: len(batch.mentions)] if self._toward else np.empty((0, 3), np.float32)
        if toward.shape != (len(batch.mentions), 3):
            raise EngineError(f"the model returned {toward.shape} logits toward {len(batch.mentions)} mentions")
        return Outputs(outputs[0], toward)


def memory_is_short(error: BaseException) -> bool:
    """Whether a lack of memory, of the machine or of the GPU, caused the error: a later attempt may succeed."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _MEMORY_SIGNS)
