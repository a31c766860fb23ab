"""Posts in SQLite: one row per document, its words in an FTS5 table, and its subjects in a table of their own."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from pipeline.domain.counting import Cell, NegativeDefinition, Scope, bucket_start
from pipeline.domain.post import Outcome, ScoredPost
from pipeline.domain.post_document import PostDocument, RepostedPost
from pipeline.domain.toward_keywords import binned
from pipeline.domain.voices import VoicePost
from pipeline.store.closed_days import invalidation_tokens
from pipeline.store.protocol import SOURCES
from pipeline.store.sqlite import queries
from pipeline.store.sqlite.database import MOST_ROWS, Database, each
from pipeline.store.sqlite.states import write_states
from pipeline.store.sqlite.voices import loud_voices

_PAGE = 2000
_HAN = re.compile(r"[\u3400-\u9fff]+")
_WORD = re.compile(r"\w+")
_ADD_TOWARD = "INSERT INTO post_toward VALUES (?, ?, ?, ?, ?)"


class _Known(NamedTuple):
    """A stored document: its row, its version, and the record that it came from."""

    row: int
    version: int
    origin: str


class SqlitePosts:
    """Implements `PostStore`."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._db, self._now = database, now

    def index(self, posts: Sequence[ScoredPost], ingested_at: datetime, version: int) -> list[Outcome]:
        with self._db.writing() as db:
            owners = self._claim(db, posts)
            known = self._known(db, [p.post.id for p in posts])
            next_row = db.execute("SELECT coalesce(max(rowid), 0) + 1 FROM posts").fetchone()[0]
            outcomes: list[Outcome] = []
            outdated: list[int] = []
            new: list[tuple[int, PostDocument]] = []
            for scored in posts:
                post, old = scored.post, known.get(scored.post.id)
                if old and old.version >= version:
                    same = old.origin == str(post.origin)
                    outcomes.append(Outcome.REDELIVERED if same else Outcome.DUPLICATE)
                    continue
                if old:
                    outdated.append(old.row)
                row = next_row + len(new)
                new.append((row, PostDocument(scored, ingested_at, repost=owners[post.content_hash] != post.id)))
                known[post.id] = _Known(row, version, str(post.origin))
                outcomes.append(Outcome.INDEXED)
            self._delete(db, outdated)
            self._insert(db, new, version)
            write_states(db, invalidation_tokens((p.post.event_time for p in posts), ingested_at))
        return outcomes

    def replace(self, documents: Sequence[PostDocument], version: int) -> int:
        written = 0
        with self._db.writing() as db:
            for document in documents:
                body = document.to_json()
                row = db.execute(
                    """UPDATE posts SET version = ?, topic = ?, labels = ?, negative_score = ?, document = ?
                    WHERE id = ? AND version < ? RETURNING rowid""",
                    (
                        version,
                        document.topic,
                        json.dumps(body["labels"]),
                        body["negative_score"],
                        json.dumps(body, ensure_ascii=False),
                        document.id,
                        version,
                    ),
                ).fetchone()
                if row:
                    written += 1
                    db.execute("DELETE FROM post_toward WHERE post = ?", row)
                    db.executemany(_ADD_TOWARD, _toward_rows(row[0], document))
            write_states(db, invalidation_tokens((d.post.event_time for d in documents), self._now()))
        return written

    @staticmethod
    def _claim(db: sqlite3.Connection, posts: Sequence[ScoredPost]) -> dict[str, str]:
        """The owner (a document id) of each content hash: the first document to claim a hash owns it for good."""
        pairs = [(p.post.content_hash, p.post.id) for p in posts]
        db.executemany("INSERT OR IGNORE INTO originals VALUES (?, ?)", pairs)
        query = "SELECT content_hash, owner FROM originals WHERE content_hash IN ({})"
        return dict(each(db, query, sorted({h for h, _ in pairs})))

    @staticmethod
    def _known(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, _Known]:
        query = "SELECT id, rowid, version, origin FROM posts WHERE id IN ({})"
        return {row[0]: _Known(*row[1:]) for row in each(db, query, ids)}

    @staticmethod
    def _delete(db: sqlite3.Connection, rows: Sequence[int]) -> None:
        for table in ("words", "posts"):
            db.executemany(f"DELETE FROM {table} WHERE rowid = ?", [(row,) for row in rows])  # noqa: S608

    @staticmethod
    def _insert(db: sqlite3.Connection, new: Sequence[tuple[int, PostDocument]], version: int) -> None:
        rows = []
        for row, document in new:
            post, body = document.post, document.to_json()
            time = post.event_time.timestamp()
            rows.append(
                (
                    row,
                    post.id,
                    version,
                    time,
                    bucket_start(time),
                    document.repost,
                    document.topic,
                    post.content_hash,
                    orjson.dumps(document.labels).decode(),
                    body["negative_score"],
                    str(post.origin),
                    orjson.dumps(body).decode(),
                )
            )
        db.executemany(f"INSERT INTO posts VALUES ({', '.join('?' * 12)})", rows)  # noqa: S608
        subjects = [(row, s) for row, document in new for s in document.scored.subjects]
        db.executemany("INSERT INTO post_subjects VALUES (?, ?)", subjects)
        db.executemany(_ADD_TOWARD, [row for number, document in new for row in _toward_rows(number, document)])
        words = [(row, _spaced(document.post.full_text)) for row, document in new]
        db.executemany("INSERT INTO words (rowid, body) VALUES (?, ?)", words)

    def refresh(self) -> None:
        """Does nothing: a committed row is visible."""

    def counts(self, start: datetime, end: datetime, rule: NegativeDefinition) -> list[Cell]:
        whole, subject = queries.whole_texts(rule), queries.subjects(rule)
        where = "time >= ? AND time < ? AND repost = 0"
        kinds = [("topic, ''", "''", whole, where), ("topic, s.subject", "''", subject, where)]
        if rule.sources:
            where = f"{where} AND {queries.SOURCE} IN ({queries.placeholders(rule.sources)})"
            kinds += [
                ("topic, ''", queries.SOURCE, whole, where),
                ("'', s.subject", queries.SOURCE, subject, where),
            ]
        cells = []
        with self._db.reading() as db:
            for key, source, counted, condition in kinds:
                query = f"""SELECT bucket, {key}, count(*), sum({counted.negative}), {source}, sum({counted.score})
                    FROM posts p {counted.joined} WHERE {condition} GROUP BY bucket, {key}, {source}"""  # noqa: S608
                sources = rule.sources if source == queries.SOURCE else ()
                given = (*counted.arguments, start.timestamp(), end.timestamp(), *sources)
                cells += [Cell(*row) for row in db.execute(query, given)]
        return cells

    def loud_voices(self, start: datetime, end: datetime, rule: NegativeDefinition, most: int) -> list[VoicePost]:
        with self._db.reading() as db:
            return loud_voices(db, start, end, rule, most)

    def source_hours(self, start: datetime, end: datetime) -> dict[str, dict[int, int]]:
        query = """WITH some AS (SELECT json_extract(document, '$.source') AS source,
            CAST(time / 3600 AS INTEGER) * 3600 AS hour FROM posts WHERE time >= ? AND time < ?)
            SELECT source, hour, count(*) FROM some WHERE source IN
            (SELECT source FROM some GROUP BY source ORDER BY count(*) DESC, source LIMIT ?) GROUP BY source, hour"""
        found: dict[str, dict[int, int]] = defaultdict(dict)
        with self._db.reading() as db:
            for source, hour, posts in db.execute(query, (start.timestamp(), end.timestamp(), SOURCES)):
                found[source][hour] = posts
        return dict(found)

    def evidence(
        self, scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition, limit: int
    ) -> list[RepostedPost]:
        negative, labels = queries.negative_in(scope, rule)
        where, arguments = queries.in_scope(scope, start, end)
        score, subject = queries.score_in(scope, rule)
        query = f"""SELECT p.id, document, (SELECT count(*) FROM posts r WHERE r.content_hash = p.content_hash) - 1
            AS reposts FROM posts p WHERE {where} AND repost = 0 AND {negative}
            ORDER BY reposts DESC, {score} DESC, p.id LIMIT ?"""  # noqa: S608
        with self._db.reading() as db:
            rows = list(db.execute(query, (*arguments, *labels, *subject, limit)))
        return [RepostedPost(PostDocument.from_json(key, json.loads(body)), reposts) for key, body, reposts in rows]

    def evidence_query(self, scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition) -> str:
        where, arguments = queries.in_scope(scope, start, end)
        negative, labels = queries.negative_in(scope, rule)
        query = f"SELECT document FROM posts p WHERE {where} AND repost = 0 AND {negative}"  # noqa: S608
        return queries.written_out(query, [*arguments, *labels])

    def search(self, text: str, limit: int) -> list[PostDocument]:
        phrases = [f'"{_spaced(word).strip()}"' for word in _WORD.findall(text)]
        if not phrases:
            return []
        query = """SELECT id, document FROM posts WHERE rowid IN (SELECT rowid FROM words WHERE words MATCH ?)
            ORDER BY time DESC LIMIT ?"""
        with self._db.reading() as db:
            rows = db.execute(query, (" AND ".join(phrases), min(limit, MOST_ROWS))).fetchall()
        return [PostDocument.from_json(key, json.loads(body)) for key, body in rows]

    def post(self, document_id: str) -> PostDocument | None:
        with self._db.reading() as db:
            row = db.execute("SELECT document FROM posts WHERE id = ?", (document_id,)).fetchone()
        return PostDocument.from_json(document_id, json.loads(row[0])) if row else None

    def documents(self, start: datetime, end: datetime) -> Iterator[PostDocument]:
        after = (start.timestamp(), -1)
        query = """SELECT id, document, time, rowid FROM posts WHERE (time, rowid) > (?, ?) AND time < ?
            ORDER BY time, rowid LIMIT ?"""
        while True:
            with self._db.reading() as db:
                rows = db.execute(query, (*after, end.timestamp(), _PAGE)).fetchall()
            yield from (PostDocument.from_json(key, json.loads(body)) for key, body, _, _ in rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1][2:]

    def ids(self) -> Iterator[str]:
        with self._db.reading() as db:
            rows = db.execute("SELECT id FROM posts").fetchall()
        return (row[0] for row in rows)

    def post_count(self) -> int:
        with self._db.reading() as db:
            return int(db.execute("SELECT count(*) FROM posts").fetchone()[0])

    def bounds(self) -> tuple[datetime, datetime] | None:
        with self._db.reading() as db:
            first, last = db.execute("SELECT min(time), max(time) FROM posts").fetchone()
        return None if first is None else (datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC))


def _toward_rows(row: int, document: PostDocument) -> list[tuple[int, str, str, float, float]]:
    """The sentiment toward each subject of the document in row `row`."""
    return [
        (row, subject, toward.label, toward.negative_score, binned(toward.negative_score))
        for subject, toward in document.toward.items()
    ]


def _spaced(text: str) -> str:
    """The text with each Han character as a word of its own, as Elasticsearch's standard analyser splits it."""
    return _HAN.sub(lambda run: f" {' '.join(run[0])} ", text)
