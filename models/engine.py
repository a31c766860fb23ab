"""Inference: texts in, calibrated predictions out, in the order given."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.batching import by_length
from models.drift import Profile
from models.labels import Head, Prediction
from models.runtimes import Device, EngineError, Run, Runtime, open_runtime
from models.tokenizer import BundleTokenizer

#: What ONNX Runtime, CUDA and cuBLAS say when memory is short or the device is gone.
_MEMORY_SIGNS = ("Failed to allocate", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error", "bad_alloc")


class OutOfMemoryError(EngineError):
    """Not even one text fits into the memory there is, or the device is broken; a new process may help."""


class OnnxEngine:
    """One session of one bundle; `predict` may be called from one thread at a time.

    Where memory runs out, a batch is halved down to one text; then the session is built anew, once.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        heads: Sequence[Head],
        tokenizer: BundleTokenizer,
        model: bytes | Path,
        device: Device = "auto",
        runtime: Runtime = "auto",
        standard: bool = False,
        budget_tokens: int = 1024,
        threads: int | None = None,
        reference: Profile | None = None,
    ) -> None:
        """`reference` is what the model saw and said when it was made, for drift; `standard`: see `open_runtime`."""
        self.name = name
        self.version = version
        self.heads = {head.name: head for head in heads}
        self._tokenizer = tokenizer
        self.reference = reference
        self._budget = budget_tokens
        self._build: Callable[[], tuple[Run, str]] = lambda: open_runtime(
            model, device, runtime, threads or usable_cores(), standard=standard
        )
        self._infer, self.provider = self._build()
        self._rebuilt = False
        self.tokens = 0
        self.padded_tokens = 0

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """One prediction per text, in order, any mix of lengths; raises `EngineError` on non-finite outputs."""
        rows_of = self._tokenizer.encode(texts)
        ids = [row for rows in rows_of for row in rows]
        logits_of: dict[int, NDArray[np.float32]] = {}
        for group in by_length([len(row) for row in ids], self._budget):
            logits = self._within_memory([ids[i] for i in group])
            for row, index in enumerate(group):
                logits_of[index] = logits[row]
        parts = (logits_of[i] for i in range(len(ids)))
        return [self._prediction([next(parts) for _ in rows]) for rows in rows_of]

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Share of the tokens of `texts` that the vocabulary does not know, in [0, 1]."""
        return self._tokenizer.unknown_share(texts)

    def _within_memory(self, rows: list[list[int]]) -> NDArray[np.float32]:
        try:
            return self._run(rows)
        except OutOfMemoryError:
            if len(rows) == 1:
                if self._rebuilt:
                    raise
                self._rebuilt = True
                self._infer, self.provider = self._build()
                return self._run(rows)
        self._budget = max(1, self._budget // 2)
        half = len(rows) // 2
        return np.concatenate([self._within_memory(rows[:half]), self._within_memory(rows[half:])])

    def _run(self, rows: list[list[int]]) -> NDArray[np.float32]:
        width = max(map(len, rows))
        input_ids = np.zeros((len(rows), width), np.int64)
        mask = np.zeros_like(input_ids)
        for i, row in enumerate(rows):
            input_ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        self.tokens += int(mask.sum())
        self.padded_tokens += mask.size
        try:
            logits = self._infer(input_ids, mask)
        except Exception as error:
            if any(sign in str(error) for sign in _MEMORY_SIGNS):
                raise OutOfMemoryError(f"out of memory with {len(rows)} texts of {width} tokens") from None
            raise EngineError(f"the model cannot be run: {type(error).__name__}") from error
        if not np.isfinite(logits).all():
            raise EngineError("the model answered NaN or infinity; roll back to the previous bundle")
        return logits

    def _prediction(self, parts: list[NDArray[np.float32]]) -> Prediction:
        """Mean over the parts of a text of their calibrated probabilities."""
        logits = np.stack(parts)
        probabilities: dict[str, NDArray[np.float32]] = {}
        start = 0
        for head in self.heads.values():
            part = logits[:, start : start + len(head.labels)] / head.temperature
            start += len(head.labels)
            exponent = np.exp(part - part.max(1, keepdims=True))
            probabilities[head.name] = (exponent / exponent.sum(1, keepdims=True)).mean(0)
        return Prediction(self.heads, probabilities, self.name, self.version)


def usable_cores() -> int:
    """Cores this process may use: affinity and cgroup v2 quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return cores
