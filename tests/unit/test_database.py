"""What SQLite says reaches the user with what to do; what may end by itself is waited for."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import Fatal, PipelineError, Transient
from pipeline.domain.post import Toward
from pipeline.store.sqlite import database
from pipeline.store.sqlite.database import failure
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, json_key, scored


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    made = SqliteStore(tmp_path / "s.sqlite")
    made.setup()
    return made


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="it is a folder.*store.url"):
        SqliteStore(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fatal, match="(Not a directory|File exists).*store.url"):
        SqliteStore(tmp_path / "file" / "s.sqlite")


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, many of them\n" * 500)
    path.chmod(0o644)
    with pytest.raises(Fatal, match="not a database.*store.url"):
        SqliteStore(path).setup()
    assert path.read_text().startswith("these are notes")
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_taken_away_ends_the_worker_before_posts_are_lost(
    store: SqliteStore, tmp_path: Path, replaced: bool
) -> None:
    store.index([scored(1)], START, 1)
    (tmp_path / "s.sqlite").rename(tmp_path / "old.sqlite")
    if replaced:
        (tmp_path / "s.sqlite").touch()
    with pytest.raises(Fatal, match=r"s\.sqlite was deleted, moved or replaced"):
        store.index([scored(2)], START, 1)
    (tmp_path / "old.sqlite").replace(tmp_path / "s.sqlite")
    store.index([scored(2)], START, 1)
    assert store.post_count() == 2


def test_a_damaged_file_is_fatal_with_the_way_to_rescue_it(store: SqliteStore, tmp_path: Path) -> None:
    store.index([scored(i, text=f"post {i}" * 50) for i in range(300)], START, 1)
    store.close()
    path = tmp_path / "s.sqlite"
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(Fatal, match=r"malformed.*\.recover"):
        list(SqliteStore(path).documents(START.replace(year=2000), START.replace(year=2100)))


def test_a_full_disk_is_waited_for_and_nothing_is_half_written(store: SqliteStore) -> None:
    pages = store.database.connection.execute("PRAGMA page_count").fetchone()[0]
    store.database.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    posts = [scored(i, text=f"post {i} " * 100) for i in range(300)]
    with pytest.raises(Transient, match="full; free space"):
        store.index(posts, START, 1)
    assert store.post_count() == 0
    store.database.connection.execute("PRAGMA max_page_count = 1000000")
    assert len(store.index(posts, START, 1)) == 300
    assert store.post_count() == 300


def test_a_lock_of_another_process_is_waited_for(store: SqliteStore, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.database.connection.execute("PRAGMA busy_timeout = 20")
    with pytest.raises(Transient, match="locked; another process"):
        store.put_state(json_key("x"), {})
    other.execute("ROLLBACK")
    store.put_state(json_key("x"), {})


def test_tables_of_another_release_are_named_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE posts (id TEXT, document TEXT)")
    with pytest.raises(Fatal, match="table posts has no column bucket.*another release"):
        SqliteStore(path).check()


def test_a_file_of_an_earlier_release_gets_the_table_of_sentiments_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    first = SqliteStore(path)
    first.setup()
    first.index([scored(0, sentiment="negative", subjects=["Nova"])], START, 1)
    with first.database.writing() as db:
        db.execute("DROP TABLE post_toward")
    first.close()
    again = SqliteStore(path)
    again.check()
    calm = {"Nova": Toward("neutral", 0.8, 0.1)}
    again.index([scored(1, text="b", subjects=["Nova"])._replace(toward=calm)], START, 1)
    found = [c for c in again.counts(START, START + timedelta(days=1), NegativeDefinition()) if c.subject]
    assert [(c.posts, c.negatives, round(c.score_sum, 3)) for c in found] == [(2, 1, 1.0)]
    again.close()


def test_a_disk_that_is_almost_full_is_said_by_check(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.check()
    monkeypatch.setattr(database, "_MIN_FREE", 1 << 60)
    with pytest.raises(Transient, match="MB are free"):
        store.check()


def test_more_alerts_than_a_number_holds_may_be_asked_for(store: SqliteStore) -> None:
    assert store.alerts(limit=10**30) == []
    assert store.search("post", 10**30) == []


@given(st.integers(0, 2**16), st.text(max_size=200))
def test_every_code_has_an_answer(code: int, words: str) -> None:
    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = code
    got = failure(Path("s.sqlite"), error)
    assert isinstance(got, PipelineError)
    assert str(got).isprintable()
