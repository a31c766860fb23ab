"""The posts of loud voices in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from datetime import datetime

from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.voices import Negativity, VoicePost
from pipeline.store.protocol import VOICE_POSTS
from pipeline.store.sqlite import queries

#: The posts of the range that have a loud voice: an author `a...` or a family `f...`.
_LOUD = """WITH some AS MATERIALIZED (
    SELECT p.rowid AS post, topic, {source} AS source, json_extract(document, '$.author') AS author,
      json_extract(document, '$.families') AS families
    FROM posts p WHERE time >= ? AND time < ? AND repost = 0),
  voices AS MATERIALIZED (
    SELECT post, topic, source, 'a' || author AS voice FROM some WHERE author <> ''
    UNION ALL SELECT post, topic, source, 'f' || f.value FROM some, json_each(families) f),
  loud AS (
    SELECT voice FROM voices GROUP BY voice, topic HAVING count(*) > ?
    UNION SELECT voice FROM voices WHERE source IN ({sources}) GROUP BY voice, source HAVING count(*) > ?
    UNION SELECT voice FROM voices v JOIN post_subjects s ON s.post = v.post GROUP BY voice, subject
    HAVING count(*) > ?),
  found AS (SELECT DISTINCT post FROM voices WHERE voice IN loud ORDER BY post LIMIT ?)
"""


def loud_voices(
    db: sqlite3.Connection, start: datetime, end: datetime, rule: NegativeDefinition, most: int
) -> list[VoicePost]:
    """Implements `PostStore.loud_voices`."""
    whole, subject = queries.whole_texts(rule), queries.subjects(rule)
    loud = _LOUD.format(source=queries.SOURCE, sources=queries.placeholders(rule.sources))
    query = f"""{loud} SELECT p.id, bucket, topic, {queries.SOURCE}, json_extract(document, '$.author'),
        json_extract(document, '$.families'), {whole.negative}, {whole.score}, s.subject, {subject.negative},
        {subject.score} FROM posts p LEFT {subject.joined} WHERE p.rowid IN found ORDER BY p.rowid"""  # noqa: S608
    given = (start.timestamp(), end.timestamp(), most, *rule.sources, most, most, VOICE_POSTS)
    posts: dict[str, VoicePost] = {}
    toward: defaultdict[str, dict[str, Negativity]] = defaultdict(dict)
    for row in db.execute(query, (*given, *whole.arguments, *subject.arguments)):
        key, bucket, topic, source, author, families, negative, score, name, negative_toward, score_toward = row
        if key not in posts:
            voices = tuple(json.loads(families or "[]"))
            posts[key] = VoicePost(
                key, bucket, topic, source, author or "", voices, Negativity(bool(negative), score), toward[key]
            )
        if name is not None:
            toward[key][name] = Negativity(bool(negative_toward), score_toward)
    return list(posts.values())
