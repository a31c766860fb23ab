"""SQLite at its edges: who may read the file, what each of its errors asks a person to do, and lists of any length."""

from __future__ import annotations

import inspect
import json
import logging
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.domain import unreadable
from pipeline.domain.counting import NegativeDefinition, Scope
from pipeline.domain.errors import EXIT_CONFIG, EXIT_UNAVAILABLE, Fatal, Transient
from pipeline.domain.states import StateKey
from pipeline.settings import StoreSettings
from pipeline.store import protocol
from pipeline.store.composed import ComposedStore
from pipeline.store.elasticsearch.store import ElasticsearchStore
from pipeline.store.factory import open_store
from pipeline.store.sqlite import database
from pipeline.store.sqlite.alerts import SqliteAlerts
from pipeline.store.sqlite.database import Database, each, failure
from pipeline.store.sqlite.queries import SOURCE, in_scope, negative, placeholders
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, an_alert, json_key, scored

FILE = Path("s.sqlite")


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    made = SqliteStore(tmp_path / "s.sqlite")
    made.setup()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_for_its_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        SqliteStore(tmp_path / "folder" / "s.sqlite").setup()
    finally:
        os.umask(before)
    assert mode(tmp_path / "folder" / "s.sqlite") == 0o600


@pytest.mark.parametrize("public", [0o604, 0o602, 0o601, 0o666])
def test_a_file_that_every_user_may_open_is_closed_to_them_with_a_warning(
    store: SqliteStore, tmp_path: Path, public: int, caplog: pytest.LogCaptureFixture
) -> None:
    files = [tmp_path / f"s.sqlite{end}" for end in ("", "-wal", "-shm")]
    for file in files:
        file.chmod(public)
    SqliteStore(tmp_path / "s.sqlite").close()
    assert [mode(file) for file in files] == [0o600] * 3
    assert len([m for m in caplog.messages if "was open to every user of this machine" in m]) == 3
    caplog.clear()
    for file in files:
        file.chmod(0o660)
    SqliteStore(tmp_path / "s.sqlite").close()
    assert [mode(file) for file in files] == [0o660] * 3, "a group that may read it was let in on purpose"
    assert caplog.messages == []


def test_a_file_of_another_user_is_left_to_that_user(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.sqlite").chmod(0o644)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    SqliteStore(tmp_path / "s.sqlite").close()
    assert mode(tmp_path / "s.sqlite") == 0o644


def test_an_empty_file_becomes_a_store_and_a_short_one_does_not(tmp_path: Path) -> None:
    empty, short = tmp_path / "empty", tmp_path / "short"
    empty.touch(mode=0o644)
    short.write_bytes(b"SQLite format 4\0")
    short.chmod(0o644)
    assert SqliteStore(empty).setup() != []
    assert mode(empty) == 0o600
    with pytest.raises(Fatal, match=r"not a database; set store\.url to a file that opinionwatch made"):
        SqliteStore(short).setup()
    assert mode(short) == 0o644


def test_a_file_that_cannot_be_opened_says_why_and_that_the_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Fatal, match="it is a folder; set store.url to a file that this user may write") as folder:
        SqliteStore(tmp_path)
    assert folder.value.exit_code == EXIT_UNAVAILABLE
    path = tmp_path / "s.sqlite"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert database._why_unopened(path) == f"this user may not write to its folder {tmp_path}"
    path.touch()
    assert database._why_unopened(path) == "this user may not write it"
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert database._why_unopened(path) == ""
    with pytest.raises(Fatal, match="null (byte|character)") as name:
        SqliteStore(tmp_path / "a\0b")
    assert name.value.exit_code == EXIT_UNAVAILABLE


BUSY = "another process is writing for a long time: find out which process has the file open"
WRITABLE = "make the file and its folder writable for this user"


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (sqlite3.SQLITE_BUSY, BUSY), (sqlite3.SQLITE_LOCKED, BUSY), (sqlite3.SQLITE_FULL, "free space on that disk"),
        (sqlite3.SQLITE_IOERR, "check the disk and the file system"), (sqlite3.SQLITE_NOMEM, "free memory"),
        (sqlite3.SQLITE_PROTOCOL, "wait: another process opens the file"), (sqlite3.SQLITE_INTERRUPT, "run it again"),
        (sqlite3.SQLITE_READONLY, WRITABLE), (sqlite3.SQLITE_CANTOPEN, WRITABLE), (sqlite3.SQLITE_PERM, WRITABLE),
    ],
)  # fmt: skip
def test_what_may_end_by_itself_is_tried_again_and_names_the_remedy(code: int, remedy: str) -> None:
    for extended in (code, code | 0x500):
        error = sqlite3.OperationalError("it\nfailed")
        error.sqlite_errorcode = extended
        found = failure(FILE, error)
        assert isinstance(found, Transient)
        assert str(found).startswith(f"store s.sqlite: it failed; {remedy}")


@pytest.mark.parametrize(
    ("code", "words", "remedy", "exit_code"),
    [
        (sqlite3.SQLITE_NOTADB, "x", "set store.url to a file that opinionwatch made", EXIT_CONFIG),
        (sqlite3.SQLITE_CORRUPT, "x", "stop the workers, then restore s.sqlite from a backup, or rescue it: sqlite3 "
         "s.sqlite .recover | sqlite3 NEW", EXIT_UNAVAILABLE),
        (sqlite3.SQLITE_ERROR, "no such table: posts", "run 'opinionwatch setup'", EXIT_CONFIG),
        (sqlite3.SQLITE_ERROR, "table posts has no column named bucket", "use the release of opinionwatch that made",
         EXIT_CONFIG),
        (sqlite3.SQLITE_MISUSE, "x", "report it to opinionwatch with this message", EXIT_UNAVAILABLE),
        (None, "Cannot operate on a closed database.", "report it to opinionwatch", EXIT_UNAVAILABLE),
    ],
)  # fmt: skip
def test_what_a_person_must_see_to_ends_the_process_with_the_remedy(
    code: int | None, words: str, remedy: str, exit_code: int
) -> None:
    error = sqlite3.ProgrammingError(words)
    if code is not None:
        error.sqlite_errorcode = code
    found = failure(FILE, error)
    assert isinstance(found, Fatal)
    assert (found.problem, found.exit_code) == (f"store s.sqlite: {words}", exit_code)
    assert found.remedy.startswith(remedy)


def test_setup_makes_each_table_once_and_check_asks_for_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.sqlite")
    with pytest.raises(Fatal, match=r"has no tables; run 'opinionwatch setup'"):
        store.check()
    assert store.setup() == [f"table {name}" for name in ("posts", "alerts", "labels", "progress", "state")]
    assert store.setup() == []
    assert store.check() == f"SQLite {sqlite3.sqlite_version} at {tmp_path / 's.sqlite'}, 0 posts"
    store.database.connection.execute("DROP TABLE state")
    with pytest.raises(Fatal, match=r"table state has no column name: another release made it; use the release"):
        store.check()
    assert store.setup() == ["table state"]


def test_a_disk_that_is_almost_full_is_told_in_megabytes(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def free(amount: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=amount))

    free(100_000_000)
    store.check()
    free(99_999_999)
    with pytest.raises(Transient, match=r"only 99 MB are free on its disk; free at least 100 MB there, or move"):
        store.check()


def test_what_fails_within_a_transaction_leaves_nothing_behind(store: SqliteStore) -> None:
    def fail() -> None:
        with store.database.writing() as db:
            db.execute("INSERT INTO state VALUES ('a', '{}')")
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        fail()
    assert store.state(json_key("a")) is None
    store.put_state(json_key("a"), {"n": 1})
    assert store.state(json_key("a")) == {"n": 1}


def test_a_read_inside_a_transaction_sees_what_it_wrote_and_no_other_does(store: SqliteStore) -> None:
    seen: list[Any] = []
    with store.database.writing() as db:
        db.execute("INSERT INTO state VALUES ('a', '{}')")
        assert store.state(json_key("a")) == {}
        other = threading.Thread(target=lambda: seen.append(store.state(json_key("a"))))
        other.start()
        other.join(10)
    assert seen == [None]
    assert store.state(json_key("a")) == {}


def test_a_reader_may_not_write(store: SqliteStore) -> None:
    with pytest.raises(Transient, match="readonly"), store.database.reading() as db:
        db.execute("INSERT INTO state VALUES ('a', '{}')")


def test_the_file_survives_a_power_cut(store: SqliteStore) -> None:
    connection = store.database.connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


@pytest.mark.parametrize("many", [0, 1, 499, 500, 501, 1000, 1001])
def test_a_list_of_any_length_is_asked_for(store: SqliteStore, many: int) -> None:
    keys = [json_key(f"k{n:04}") for n in range(many)]
    with store.database.writing() as db:
        db.executemany("INSERT INTO state VALUES (?, '{}')", [(key.name,) for key in keys])
        found = each(db, "SELECT name FROM state WHERE name IN ({})", [key.name for key in keys])
        assert sorted(row[0] for row in found) == [key.name for key in keys]
    assert list(store.states(keys)) == keys


def test_an_expendable_state_that_cannot_be_read_is_left_out(store: SqliteStore) -> None:
    def decode(value: Mapping[str, Any]) -> dict[str, Any]:
        return {"n": value["n"]}

    key = StateKey("a", decode, dict, expendable=True)
    store.put_state(json_key("a"), {"m": 1})
    assert store.states([key]) == {}
    assert store.state(key) is None
    store.put_state(json_key("a"), {"n": 1})
    assert store.states([key]) == {key: {"n": 1}}


def test_an_alert_that_cannot_be_read_hides_no_other_and_ends_what_needs_it(
    store: SqliteStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreadable, "_logged", {})
    store.put_alert(an_alert("good", pending=["c"]))
    store.put_alert(an_alert("bad", pending=["c"]))
    store.database.connection.execute("""UPDATE alerts SET document = '{"pending": [1]}' WHERE id = 'bad'""")
    assert [alert.id for alert in store.alerts()] == ["good"]
    assert "alerts in the store" in caplog.text
    assert [alert.id for alert in store.unsettled_alerts()] == ["good"]
    with pytest.raises(Fatal, match=r"not an alert: alert bad: KeyError 'started_at'; correct or delete it"):
        store.alert("bad")


def test_open_alerts_are_counted_by_severity(store: SqliteStore) -> None:
    assert store.open_alerts() == {"warning": 0, "critical": 0, "unnotified": 0}
    for name, severity, state, why in (
        ("a", "warning", "open", ""), ("b", "critical", "open", "c: refused"), ("c", "critical", "open", ""),
        ("d", "critical", "resolved", "c: refused"), ("e", "urgent", "open", ""),
    ):  # fmt: skip
        store.put_alert(an_alert(name, severity=severity, state=state, unnotified=why))
    assert store.open_alerts() == {"warning": 1, "critical": 2, "unnotified": 1}


def test_alerts_come_newest_first_and_no_more_than_asked_for(store: SqliteStore) -> None:
    for hour, name in ((0, "old"), (2, "b"), (2, "a"), (1, "done")):
        state = "resolved" if name == "done" else "open"
        store.put_alert(an_alert(name, started_at=(START + timedelta(hours=hour)).isoformat(), state=state))
    assert [alert.id for alert in store.alerts()] == ["a", "b", "done", "old"]
    assert [alert.id for alert in store.alerts(open_only=True)] == ["a", "b", "old"]
    assert [alert.id for alert in store.alerts(limit=2)] == ["a", "b"]
    assert store.alerts(limit=0) == []


def test_annotations_and_progress_that_cannot_be_read_are_skipped(store: SqliteStore) -> None:
    with store.database.writing() as db:
        db.execute("INSERT INTO labels VALUES ('a', '2026', '{}')")
        db.execute("INSERT INTO progress VALUES ('t', 0, 1, '[]')")
    assert list(store.annotations()) == []
    assert store.all_progress() == []
    assert store.load_progress() == {}


def test_of_many_sources_the_hundred_largest_are_watched(store: SqliteStore) -> None:
    sources = [f"s{n:03}" for n in range(101)]
    posts = [scored(n, text=f"t{n}", source=source) for n, source in enumerate([*sources, *sources[1:]])]
    store.index(posts, START, 1)
    assert sorted(store.source_hours(START, START + timedelta(days=1))) == sources[1:]


def test_conditions_name_what_a_scope_names() -> None:
    end = START + timedelta(hours=1)
    times = [START.timestamp(), end.timestamp()]
    assert in_scope(Scope(), START, end) == ("time >= ? AND time < ?", times)
    where, arguments = in_scope(Scope("t", "s", "x"), START, end)
    assert arguments == [*times, "t", "s", "x"]
    assert where.split(" AND ")[2] == "topic = ?"
    assert where.endswith(f"s.subject = ?) AND {SOURCE} = ?")
    assert in_scope(Scope("t"), START, end)[1] == [*times, "t"]
    assert in_scope(Scope(source="x"), START, end)[1] == [*times, "x"]
    assert negative(NegativeDefinition(negative=())) == ("1", [])
    assert negative(NegativeDefinition("mood", ("bad", "angry"), score_from=0.5)) == (
        "(json_extract(labels, ?) IN (?, ?) AND negative_score >= ?)", ['$."mood"', "bad", "angry", 0.5],
    )  # fmt: skip
    assert [placeholders("abc"[:n]) for n in range(4)] == ["", "?", "?, ?", "?, ?, ?"]


PARTS = [protocol.PostStore, protocol.AnnotationStore, protocol.AlertStore, protocol.ProgressStore, protocol.StateStore]


@pytest.mark.parametrize("part", PARTS)
def test_a_store_takes_the_arguments_of_its_protocols_with_their_defaults(part: type) -> None:
    for name, wanted in inspect.getmembers(part, inspect.isfunction):
        if name.startswith("_"):
            continue
        for made in (ComposedStore, SqliteStore, ElasticsearchStore):
            parameters = inspect.signature(getattr(made, name)).parameters.values()
            expected = inspect.signature(wanted).parameters.values()
            assert [(p.name, p.default) for p in parameters] == [(p.name, p.default) for p in expected], name
    if part is protocol.AlertStore:
        defaults = inspect.signature(SqliteAlerts.alerts).parameters
        assert (defaults["open_only"].default, defaults["limit"].default) == (False, 1000)


def test_a_composed_store_hands_each_call_and_its_answer_on() -> None:
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    class Part:
        def __getattr__(self, name: str) -> Any:
            def call(*arguments: Any, **named: Any) -> str:
                calls.append((name, arguments, named))
                return f"answer of {name}"

            return call

    part: Any = Part()
    store = ComposedStore(posts=part, annotations=part, alerts=part, progress=part, states=part)
    names = [name for part in PARTS for name, _ in inspect.getmembers(part, inspect.isfunction) if name[0] != "_"]
    assert len(names) > 20
    for name in names:
        method = getattr(store, name)
        given = {p.name: object() for p in inspect.signature(method).parameters.values()}
        answer = method(**given)
        called, arguments, named = calls.pop()
        assert calls == []
        assert (called, [*arguments, *named.values()]) == (name, list(given.values()))
        returns_nothing = inspect.signature(method).return_annotation == "None"
        assert answer == (None if returns_nothing else f"answer of {name}")


def test_a_store_is_closed_with_both_its_connections(store: SqliteStore) -> None:
    store.index([scored(1)], START, 1)
    store.close()
    with pytest.raises(Fatal, match="closed database"):
        store.post_count()
    with pytest.raises(Fatal, match="closed database"):
        store.put_state(json_key("a"), {})


def test_the_settings_name_a_file_or_a_server(tmp_path: Path) -> None:
    found = open_store(StoreSettings(url=f"sqlite:///{tmp_path}/s.sqlite"))
    assert isinstance(found, SqliteStore)
    assert found.database.path == tmp_path / "s.sqlite"
    with pytest.raises(Fatal, match=r"store\.url cannot be used: .*; write it as http\(s\)://\[user@\]host:port"):
        open_store(StoreSettings.model_construct(url="http://h:port", timeout_s=1.0))


def test_documents_are_kept_as_they_were_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        base = Database(tmp_path / "s.sqlite")
        base.setup()
        SqliteAlerts(base).put_alert(an_alert("手", key="subject:手"))
    ((document, shown),) = base.connection.execute("SELECT document, open FROM alerts").fetchall()
    assert "subject:手" in document
    assert (json.loads(document)["key"], shown) == ("subject:手", 1)
    assert caplog.messages == []
