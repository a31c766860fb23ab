"""The budget of padded tokens that is fastest on this machine, found by a short trial and remembered."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from models.atomic_file import replacing

log = logging.getLogger(__name__)
#: Tokens of the trial's texts: headlines, posts, and a few that fill the model.
LENGTHS = (8, 12, 16, 20, 24, 32, 40, 56, 80, 128)
_LEAST_ROUNDS, REPEATS = 12, 4
#: Seconds of a trial: a worker starts only when it is done.
LIMIT_S = 5.0
CPU_BUDGETS = (256, 512, 768, 1024, 2048)
GPU_BUDGETS = (2048, 4096, 8192, 16384, 32768)
#: What a worker hands over at once, by default: a budget that suits more texts than come pads those that do.
AT_ONCE = 512
#: A smaller budget answers a lone batch sooner: a larger one must be faster by this much.
_WORTH = 1.02


def trial_lengths(budgets: Sequence[int]) -> list[int]:
    """Tokens of each text of a trial: enough to fill two batches of the largest budget, but no more than come."""
    fill = -(-2 * max(budgets) // sum(LENGTHS))
    return list(LENGTHS) * max(_LEAST_ROUNDS, min(fill, AT_ONCE // len(LENGTHS)))


def best_budget(
    seconds_of: Callable[[int], float], budgets: Sequence[int], repeats: int = REPEATS, limit_s: float = float("inf")
) -> int | None:
    """The budget of the least time; of those about as fast, the smallest.

    `seconds_of(budget)` runs the trial once. Of each budget the best repetition counts: what else runs on a machine
    only ever adds. The repetitions alternate, so that a disturbance does not meet one budget alone. No repetition is
    begun after `limit_s` seconds of trials; None where each budget has not been tried twice by then.
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
    """What was found for `key` before, in a file of the cache folder; found now, and kept, where nothing was."""
    path = (folder or cache_folder()) / "budgets.json"
    try:
        known: dict[str, int] = {k: int(v) for k, v in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        known = {}
    if key in known:
        return known[key]
    started = time.perf_counter()
    log.info("trying which batches are fastest here, for %.0f s at the most", LIMIT_S)
    found = find()
    tried_s = time.perf_counter() - started
    if found is None:
        log.warning("this machine is too busy to try batch sizes (%.1f s): the usual one is taken for now", tried_s)
        return None
    known[key] = found
    log.info("batches of %d tokens are fastest here (tried for %.1f s)", found, tried_s)
    try:
        with replacing(path) as partial:
            partial.write_text(json.dumps(known, indent=1), "utf-8")
    except OSError as error:
        log.warning(
            "the cache folder %s cannot be written (%s): each start tries again; set XDG_CACHE_HOME to a folder that "
            "can be, or model.budget_tokens = %d",
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
