"""Finds the budget of padded tokens that is fastest on this machine by a short trial, and caches it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from models.atomic_file import replacing

log = logging.getLogger(__name__)
#: Lengths in tokens of the trial's texts: headlines, posts, and a few that reach the model's limit.
LENGTHS = (8, 12, 16, 20, 24, 32, 40, 56, 80, 128)
_LEAST_ROUNDS, REPEATS = 12, 4
#: A trial takes at most this many seconds, since the worker waits for it.
LIMIT_S = 5.0
CPU_BUDGETS = (256, 512, 768, 1024, 2048)
GPU_BUDGETS = (2048, 4096, 8192, 16384, 32768)
#: The default batch of a worker: a budget that suits more texts than that would only add padding.
AT_ONCE = 512
#: A smaller budget answers a lone batch sooner, so that a larger budget must be faster by this factor.
_WORTH = 1.02


def trial_lengths(budgets: Sequence[int]) -> list[int]:
    """Length of each text of a trial: enough to fill two batches of the largest budget, up to a worker's batch."""
    fill = -(-2 * max(budgets) // sum(LENGTHS))
    return list(LENGTHS) * max(_LEAST_ROUNDS, min(fill, AT_ONCE // len(LENGTHS)))


def best_budget(
    seconds_of: Callable[[int], float], budgets: Sequence[int], repeats: int = REPEATS, limit_s: float = float("inf")
) -> int | None:
    """The fastest budget; among budgets of about equal speed, the smallest.

    `seconds_of(budget)` runs the trial once. The best repetition of each budget counts, since other load on the machine
    can only slow it down. The repetitions alternate between the budgets, so that such load does not hit one budget
    alone. After `limit_s` seconds no repetition starts; returns None unless every budget was tried twice by then.
    """
    tried: dict[int, list[float]] = {budget: [] for budget in budgets}
    spent = 0.0
    for _ in range(repeats):
        for budget in budgets:
            if spent <= limit_s:
                tried[budget].append(seconds_of(budget))
                spent += tried[budget][-1]
    if min(map(len, tried.values())) < min(2, repeats):
        return None
    best = {budget: min(seconds) for budget, seconds in tried.items()}
    return min(b for b, s in best.items() if s <= min(best.values()) * _WORTH)


def cached(key: str, find: Callable[[], int | None], folder: Path | None = None) -> int | None:
    """The budget that a file in the cache folder holds for `key`; without one, calls `find` and writes the result."""
    path = (folder or cache_folder()) / "budgets.json"
    try:
        known: dict[str, int] = {k: int(v) for k, v in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        known = {}
    if key in known:
        return known[key]
    started = time.perf_counter()
    log.info("searching the fastest batch size of this machine, for at most %.0f s", LIMIT_S)
    found = find()
    tried_s = time.perf_counter() - started
    if found is None:
        log.warning("this machine is too busy to compare batch sizes (%.1f s); this process uses the default", tried_s)
        return None
    known[key] = found
    log.info("batches of %d tokens are fastest on this machine (searched for %.1f s)", found, tried_s)
    try:
        with replacing(path) as partial:
            partial.write_text(json.dumps(known, indent=1), "utf-8")
    except OSError as error:
        log.warning(
            "the cache folder %s cannot be written (%s), so that every start searches again. Set XDG_CACHE_HOME to a "
            "writable folder, or model.budget_tokens = %d",
            path.parent,
            error.strerror,
            found,
        )
    return found


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/opinionwatch`, by default under `~/.cache`."""
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(given or Path.home() / ".cache") / "opinionwatch"
    except RuntimeError:  # a user id without a name, as a container may give one
        return Path("/.cache/opinionwatch")
