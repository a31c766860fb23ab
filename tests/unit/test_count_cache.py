"""Kept counts under any order of writes and reads, and against a reader that is slower than a writer."""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import astuple
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.alerting.counting.count_cache import CountCache, packed, unpacked
from pipeline.domain.counting import Cell, NegativeDefinition
from pipeline.domain.states import CachedCounts, counts_key
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, scored, with_labels

NOW = START + timedelta(days=5, hours=3)
cell = st.builds(
    Cell,
    st.integers(0, 1 << 40),
    st.text(max_size=5),
    st.text(max_size=5),
    st.integers(0, 9),
    st.integers(0, 9),
    st.text(max_size=5),
    st.floats(0, 9),
)


def opened(folder: str) -> SqliteStore:
    store = SqliteStore(Path(folder) / "store.sqlite")
    store.setup()
    return store


def cells(kept: CountCache) -> list[Cell]:
    return sorted((c for _, _, part in kept.days(START, NOW) for c in part), key=str)


@given(st.lists(cell, max_size=20))
def test_what_is_packed_comes_back(given_cells: list[Cell]) -> None:
    found = sorted(unpacked(*packed(given_cells)), key=str)
    assert list(map(astuple, found)) == list(map(astuple, sorted(given_cells, key=str)))


def test_a_day_that_another_release_cached_is_counted_again(tmp_path: Path) -> None:
    store = opened(str(tmp_path))
    store.index([scored(0, negative_score=0.4)], NOW, 1)
    columns = np.array([[0, int(START.timestamp()), 7, 7]], "<i8").T.tobytes()
    body = base64.b64encode(zlib.compress(b'[["technology","",""]]\n' + columns)).decode()
    of_0_12_0 = hashlib.sha256(b"NegativeDefinition(head='sentiment', negative=('negative',), sources=(), "
                               b"score_from=0.0)").hexdigest()[:12]  # fmt: skip
    store.put_state(counts_key(START.date()), CachedCounts("", of_0_12_0, 1, body))
    (found,) = cells(CountCache(store, NegativeDefinition(), keep=True, now=lambda: NOW))
    assert (found.posts, found.negatives, found.score_sum) == (1, 0, 0.4)
    store.close()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["index", "replace", "read"]), st.integers(0, 5 * 1440 + 100)), max_size=12))
def test_reads_between_writes_see_them_all(steps: list[tuple[str, int]]) -> None:
    with TemporaryDirectory() as folder:
        store = opened(folder)
        kept = CountCache(store, NegativeDefinition(), keep=True, now=lambda: NOW)
        for number, (action, minute) in enumerate(steps):
            at = START + timedelta(minutes=minute)
            if action == "index":
                store.index([scored(number, minute=minute, text=f"t{number}")], NOW, 1)
            elif action == "replace":
                found = list(store.documents(START, at))[:3]
                store.replace([with_labels(d, sentiment="negative") for d in found], number + 2)
            else:
                cells(kept)
        assert cells(kept) == sorted(store.counts(START, NOW, NegativeDefinition()), key=str)
        store.close()


def test_a_post_written_while_the_day_is_read_is_seen_the_next_time(tmp_path: Path) -> None:
    class Slow(SqliteStore):
        """A post of the first day comes in after each reading of that day, before what was read is kept."""

        written = 0

        def counts(self, start: datetime, end: datetime, rule: NegativeDefinition) -> list[Cell]:
            found = super().counts(start, end, rule)
            if start == START and self.written < 3:
                self.written += 1
                self.index([scored(self.written, minute=60, text=f"t{self.written}")], NOW, 1)
            return found

    store = Slow(tmp_path / "store.sqlite")
    store.setup()
    kept = CountCache(store, NegativeDefinition(), keep=True, now=lambda: NOW)
    for _ in range(4):
        cells(kept)
    assert sum(c.posts for c in cells(kept)) == 3
    store.close()


def test_another_rule_counts_a_day_anew_and_takes_its_place(tmp_path: Path) -> None:
    store = opened(str(tmp_path))
    store.index(
        [scored(i, minute=i, text=f"t{i}", sentiment="negative", negative_score=i / 9) for i in range(10)], NOW, 1
    )
    for score_from, wanted in ((0.0, 10), (0.5, 5), (0.5, 5), (0.0, 10)):
        kept = CountCache(store, NegativeDefinition(score_from=score_from), keep=True, now=lambda: NOW)
        assert sum(c.negatives for c in cells(kept)) == wanted
    names = [row[0] for row in store.database.connection.execute("SELECT name FROM state WHERE name LIKE 'counts-%'")]
    assert len(names) == len(set(names)) == 3, "one of each settled day"
    store.close()
