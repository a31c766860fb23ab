"""Runs a target on generated inputs and keeps the smallest one that fails as a seed.

A seed is the raw input, so that it stays readable and outlives hypothesis and the strategies.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz import targets

SEEDS = Path(__file__).with_name("seeds")
#: An input may take this long whatever its size, and this much more per KB; the best of three tries counts.
BASE_S, PER_KB_S = 0.25, 0.001


class TooSlowError(AssertionError):
    """An input took longer than its size allows."""


def names() -> list[str]:
    """All targets."""
    return sorted(module.name for module in iter_modules(targets.__path__))


def target(name: str) -> ModuleType:
    return import_module(f"tests.fuzz.targets.{name}")


def limit_s(size_bytes: int) -> float:
    return BASE_S + PER_KB_S * size_bytes / 1024


def timed(run: Callable[[bytes], None], data: bytes) -> None:
    """Raises what `run` raises, and `TooSlowError` where three tries in a row are too slow."""
    best, limit = float("inf"), limit_s(len(data))
    for _ in range(3):
        began = time.thread_time()
        run(data)
        best = min(best, time.thread_time() - began)
        if best <= limit:
            return
    raise TooSlowError(f"{len(data)} bytes took {best:.2f} s, at most {limit:.2f} s")


def seeds(name: str) -> Iterator[tuple[str, bytes]]:
    """(file name, input) of what failed once."""
    for path in sorted((SEEDS / name).glob("*")):
        yield path.name, path.read_bytes()


def keep(name: str, data: bytes) -> Path:
    """Writes a failing input where the tests replay it."""
    path = SEEDS / name / hashlib.sha256(data).hexdigest()[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def search(name: str, examples: int, seed_number: int) -> tuple[int, bytes | None, BaseException | None]:
    """Tries `examples` inputs; (tried, the smallest that failed, what it raised)."""
    module, tried = target(name), 0
    failing: list[tuple[bytes, BaseException]] = []

    @seed(seed_number)
    @settings(
        max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(module.INPUTS)
    def attempt(data: bytes) -> None:
        nonlocal tried
        tried += 1
        try:
            timed(module.run, data)
        except Exception as error:
            failing.append((data, error))
            raise

    try:
        attempt()
    except Exception:
        if not failing:
            raise
        data, error = min(failing, key=lambda item: len(item[0]))
        return tried, data, error
    return tried, None, None
