"""The negative share of each key over time, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.evaluation.episodes import Episode

COLUMNS = 60
_BARS = " ▁▂▃▄▅▆▇█"


def share_chart(history: CountHistory, episodes: Sequence[Episode], keys: int = 20) -> Table:
    """One line per key, keys with episodes first: the negative share from 0 to 100 %, in red during an episode."""
    edges = np.linspace(0, history.posts.shape[1], min(COLUMNS, history.posts.shape[1]) + 1).astype(int).tolist()
    order = sorted(history.keys, key=lambda k: (-sum(e.key == k for e in episodes), k))[:keys]
    table = Table.grid(padding=(0, 2))
    for key in order:
        row = history.keys.index(key)
        posts, negatives = (np.add.reduceat(a[row], edges[:-1]) for a in (history.posts, history.negatives))
        line = Text()
        for column, (n, k) in enumerate(zip(posts, negatives, strict=True)):
            bar = _BARS[round(8 * k / n)] if n else " "
            start, end = history.end_of(edges[column] - 1), history.end_of(edges[column + 1] - 1)
            hot = any(
                e.key == key and e.started_at < end and (e.resolved_at or history.end_of(edges[-1])) > start
                for e in episodes
            )
            line.append(bar, style="bold red" if hot else "")
        table.add_row(Text(key), line, f"{negatives.sum() / max(1, posts.sum()):.0%} of {posts.sum()} posts")
    if len(history.keys) > keys:
        table.add_row(f"and {len(history.keys) - keys} more keys")
    return table
