"""Posts in Elasticsearch: an index per period behind one alias, and the first document of each content hash."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from models.cache import LruCache
from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.domain.counting import BUCKET_S, Cell, NegativeDefinition, Scope
from pipeline.domain.post import Outcome, ScoredPost
from pipeline.domain.post_document import PostDocument, RepostedPost
from pipeline.domain.voices import VoicePost
from pipeline.store.elasticsearch import queries, voices
from pipeline.store.elasticsearch import templates as names
from pipeline.store.elasticsearch.bulk import ItemVerdict
from pipeline.store.elasticsearch.cells import cells_of, cells_toward, merged
from pipeline.store.elasticsearch.connection import PAGE, Connection, Operation
from pipeline.store.elasticsearch.indices import Indices
from pipeline.store.elasticsearch.states import ElasticsearchStates
from pipeline.store.elasticsearch.stored import Hit
from pipeline.store.protocol import SOURCES, VOICE_POSTS

#: Negative posts among which the most reposted are found.
_CANDIDATES = 500
#: Content hashes with a known owner that are kept in memory.
_KNOWN_HASHES = 200_000
_OLDEST_FIRST = [{"@timestamp": "asc"}]


class ElasticsearchPosts:
    """Implements `PostStore`."""

    def __init__(
        self, connection: Connection, indices: Indices, states: ElasticsearchStates, now: Callable[[], datetime]
    ) -> None:
        self._connection, self._indices, self._states, self._now = connection, indices, states, now
        self._owners: LruCache[str, str] = LruCache(_KNOWN_HASHES)

    def index(self, posts: Sequence[ScoredPost], ingested_at: datetime, version: int) -> list[Outcome]:
        self._indices.make_ready(self._index_of(p) for p in posts)
        owners = self._claim({p.post.content_hash: p.post.id for p in reversed(posts)})
        outcomes: list[Outcome | None] = [None] * len(posts)
        documents = (PostDocument(p, ingested_at, repost=owners[p.post.content_hash] != p.post.id) for p in posts)
        conflicts: list[int] = []
        for number, got in enumerate(self._connection.bulk([self._write(d, version) for d in documents])):
            if got is ItemVerdict.WRITTEN:
                outcomes[number] = Outcome.INDEXED
            elif got is ItemVerdict.CONFLICT:
                conflicts.append(number)
            else:
                outcomes[number] = Outcome.REJECTED
        for number, outcome in zip(conflicts, self._conflict_outcomes([posts[i] for i in conflicts]), strict=True):
            outcomes[number] = outcome
        self._states.invalidate_days((p.post.event_time for p in posts), ingested_at)
        return [outcome for outcome in outcomes if outcome is not None]

    def _write(self, document: PostDocument, version: int) -> Operation:
        index = self._indices.layout().index(document.post.event_time)
        target: JsonObject = {"_index": index, "_id": document.id, "version": version, "version_type": "external"}
        return [{"index": target}, document.to_json()]

    def _conflict_outcomes(self, posts: Sequence[ScoredPost]) -> list[Outcome]:
        """REDELIVERED for each post with a document from the same record, DUPLICATE for one from another record."""
        wanted = [{"_index": self._index_of(p), "_id": p.post.id, "_source": ["origin"]} for p in posts]
        found = self._connection.sources(wanted)
        outcomes = []
        for post, document in zip(posts, found, strict=True):
            same = document.get("origin") == post.post.origin._asdict()
            outcomes.append(Outcome.REDELIVERED if same else Outcome.DUPLICATE)
        return outcomes

    def _claim(self, firsts: dict[str, str]) -> dict[str, str]:
        """The owner (a document id) of each content hash: the first document to claim a hash owns it for good."""
        owners = {h: owner for h in firsts if (owner := self._owners.get(h)) is not None}
        unknown = [h for h in firsts if h not in owners]
        operations: list[Operation] = [
            [{"create": {"_index": names.ORIGINALS, "_id": h}}, {"owner": firsts[h]}] for h in unknown
        ]
        taken = []
        for content_hash, got in zip(unknown, self._connection.bulk(operations), strict=True):
            if got is ItemVerdict.CONFLICT:
                taken.append(content_hash)
            else:
                owners[content_hash] = firsts[content_hash]
        for content_hash, document in zip(
            taken, self._connection.sources([{"_index": names.ORIGINALS, "_id": h} for h in taken]), strict=True
        ):
            owners[content_hash] = JsonReader(document).text("owner")
        for content_hash in unknown:
            self._owners.put(content_hash, owners[content_hash])
        return owners

    def replace(self, documents: Sequence[PostDocument], version: int) -> int:
        written = self._connection.bulk([self._write(d, version) for d in documents]).count(ItemVerdict.WRITTEN)
        self._states.invalidate_days((d.post.event_time for d in documents), self._now())
        return written

    def refresh(self) -> None:
        self._connection.call(lambda es: es.indices.refresh(index=names.POSTS, ignore_unavailable=True))

    def counts(self, start: datetime, end: datetime, rule: NegativeDefinition) -> list[Cell]:
        posts = [queries.in_range(start, end), {"term": {"repost": False}}]
        whole: JsonObject = {
            "negative": {"filter": queries.negative(rule)},
            "score": {"sum": {"field": "negative_score"}},
        }
        theirs = [*posts, {"terms": {"source": list(rule.sources)}}]
        cells = cells_of(self._buckets(posts, ("topic",), whole))
        by_subject = [(posts, "topic"), *([(theirs, "source")] if rule.sources else [])]
        if rule.sources:
            cells += cells_of(self._buckets(theirs, ("topic", "source"), whole))
        for clauses, other in by_subject:
            if not rule.counts_toward:
                cells += cells_of(self._buckets(clauses, (other, "subjects"), whole))
                continue
            older = self._buckets([*clauses, queries.without_toward()], (other, "subjects"), whole)
            judged = self._buckets(clauses, (other, "toward_bins"), {})
            cells += merged([*cells_of(older), *cells_toward(judged, rule)])
        return cells

    def _buckets(self, clauses: list[JsonObject], fields: Sequence[str], counted: JsonObject) -> Iterator[JsonObject]:
        """The posts that meet the clauses, counted per bucket of time and value of each field."""
        histogram = {"date_histogram": {"field": "@timestamp", "fixed_interval": f"{BUCKET_S}s"}}
        keys = [{"bucket": histogram}, *({field: {"terms": {"field": field}}} for field in fields)]
        after: JsonObject = {}
        while True:
            found = self._connection.search(
                query=queries.all_of(clauses),
                size=0,
                aggs={"cells": {"composite": {"size": PAGE, "sources": keys, **after}, "aggs": counted}},
            )["aggregations"]["cells"]
            yield from found["buckets"]
            if len(found["buckets"]) < PAGE:
                return
            after = {"after": found["after_key"]}

    def loud_voices(self, start: datetime, end: datetime, rule: NegativeDefinition, most: int) -> list[VoicePost]:
        posts = [queries.in_range(start, end), {"term": {"repost": False}}]
        layout = self._indices.layout()
        one_index = layout.index(start) == layout.index(end - timedelta(microseconds=1))
        aggregations = voices.aggregations(rule, most, one_index=one_index)
        answer = self._connection.search(query=queries.all_of(posts), size=0, aggs=aggregations)
        found = voices.loud(answer.get("aggregations", {}), most)
        if not found:
            return []
        hits = self._connection.scan(
            names.POSTS,
            query=queries.all_of([*posts, voices.posts_of(found)]),
            source=False,
            docvalue_fields=voices.fields(rule),
            sort=[{"@timestamp": "asc"}],
        )
        return [voices.voice_post(hit, rule) for hit in islice(hits, VOICE_POSTS)]

    def source_hours(self, start: datetime, end: datetime) -> dict[str, dict[int, int]]:
        hours = {"hours": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1h", "min_doc_count": 1}}}
        sources = {"sources": {"terms": {"field": "source", "size": SOURCES}, "aggs": hours}}
        answer = self._connection.search(query=queries.all_of([queries.in_range(start, end)]), size=0, aggs=sources)
        found = answer["aggregations"]["sources"]["buckets"] if "aggregations" in answer else []
        return {b["key"]: {int(h["key"]) // 1000: h["doc_count"] for h in b["hours"]["buckets"]} for b in found}

    def evidence(
        self, scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition, limit: int
    ) -> list[RepostedPost]:
        query = queries.evidence(scope, start, end, rule)
        hits = self._connection.hits(names.POSTS, _CANDIDATES, query=query, sort=[{"negative_score": "desc"}])
        documents = [_document(hit) for hit in hits]
        hashes = [document.post.content_hash for document in documents]
        reposts: dict[str, int] = {}
        if hashes:
            groups = {"groups": {"terms": {"field": "content_hash", "size": len(hashes)}}}
            answer = self._connection.search(query={"terms": {"content_hash": hashes}}, size=0, aggs=groups)
            reposts = {b["key"]: b["doc_count"] - 1 for b in answer["aggregations"]["groups"]["buckets"]}
        found = [RepostedPost(document, reposts.get(document.post.content_hash, 0)) for document in documents]
        return sorted(found, key=lambda f: (-f.reposts, -f.document.negative_score(scope, rule), f.document.id))[:limit]

    def evidence_query(self, scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition) -> str:
        body = json.dumps({"query": queries.evidence(scope, start, end, rule)}, ensure_ascii=False)
        return f"GET {names.POSTS}/_search {body}"

    def search(self, text: str, limit: int) -> list[PostDocument]:
        words = text.split()
        if not words:
            return []
        must = [{"multi_match": {"query": w, "fields": ["title", "text"], "type": "phrase"}} for w in words]
        hits = self._connection.hits(names.POSTS, limit, query={"bool": {"must": must}}, sort=[{"@timestamp": "desc"}])
        return [_document(h) for h in hits]

    def post(self, document_id: str) -> PostDocument | None:
        hits = self._connection.hits(names.POSTS, 1, query={"ids": {"values": [document_id]}})
        return _document(hits[0]) if hits else None

    def documents(self, start: datetime, end: datetime) -> Iterator[PostDocument]:
        hits = self._connection.scan(
            names.POSTS, query=queries.all_of([queries.in_range(start, end)]), sort=[{"@timestamp": "asc"}]
        )
        return (_document(h) for h in hits)

    def ids(self) -> Iterator[str]:
        hits = self._connection.scan(names.POSTS, source=False, query={"match_all": {}}, sort=[{"_shard_doc": "asc"}])
        return (hit.id for hit in hits)

    def post_count(self) -> int:
        return int(self._connection.call(lambda es: es.count(index=names.POSTS, ignore_unavailable=True))["count"])

    def bounds(self) -> tuple[datetime, datetime] | None:
        ends = {"first": {"min": {"field": "@timestamp"}}, "last": {"max": {"field": "@timestamp"}}}
        answer = self._connection.search(query={"match_all": {}}, size=0, aggs=ends)["aggregations"]
        if answer["first"]["value"] is None:
            return None
        first, last = (datetime.fromtimestamp(answer[end]["value"] / 1000, UTC) for end in ("first", "last"))
        return first, last

    def _index_of(self, scored: ScoredPost) -> str:
        return self._indices.layout().index(scored.post.event_time)


def _document(hit: Hit) -> PostDocument:
    return PostDocument.from_json(hit.id, hit.source)
