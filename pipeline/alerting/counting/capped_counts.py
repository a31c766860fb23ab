"""Reads counts in which no voice is loud. Blocking."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.alerting.counting.voices import WINDOW_S, capped, window_start
from pipeline.domain.counting import Cell, NegativeDefinition
from pipeline.store.protocol import PostStore

_WINDOW = timedelta(seconds=WINDOW_S)


def capped_counts(store: PostStore, start: datetime, end: datetime, rule: NegativeDefinition) -> list[Cell]:
    """The cells of all buckets in the range; each voice counts as `rule.posts_per_voice` says.

    The store is asked for the loud voices of each window from its beginning: only so does a part of a window get the
    same counts as the whole. It raises what the store raises.
    """
    cells = store.counts(start, end, rule)
    if not rule.posts_per_voice:
        return cells
    posts = []
    begin = datetime.fromtimestamp(window_start(int(start.timestamp())), UTC)
    while begin < end:
        posts += store.loud_voices(begin, min(end, begin + _WINDOW), rule, rule.posts_per_voice)
        begin += _WINDOW
    return capped(cells, posts, rule.posts_per_voice, rule.sources)
