"""The store on Elasticsearch 8.19 or 9."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from models.cache import LruCache
from pipeline.domain.annotation import Annotation
from pipeline.domain.counting import BUCKET_S, Cell, NegativeDefinition, Scope
from pipeline.domain.errors import Transient
from pipeline.domain.ledger import current
from pipeline.domain.post import Outcome, ScoredPost, time_of
from pipeline.domain.progress import Progress
from pipeline.domain.readable import readable
from pipeline.store.closed_days import invalidation_tokens
from pipeline.store.elasticsearch import templates as names
from pipeline.store.elasticsearch.bulk import ItemVerdict
from pipeline.store.elasticsearch.connection import PAGE, Connection
from pipeline.store.elasticsearch.indices import Indices
from pipeline.store.protocol import SOURCES, may_replace

_CANDIDATES = 500
_KNOWN_HASHES = 200_000
#: Of a write whose document changes between reading and writing.
_TRIES = 20


class ElasticsearchStore:
    """Implements `Store`; safe from several threads."""

    def __init__(
        self,
        url: str,
        *,
        username: str = "",
        password: str = "",
        ca_file: str = "",
        timeout_s: float = 30.0,
        analyzer: str = "standard",
        period: str = "month",
        replicas: int = 0,
        backfill_before: date | None = None,
    ) -> None:
        self._c = Connection(url, username, password, ca_file, timeout_s)
        self._indices = Indices(self._c, analyzer, period, replicas, backfill_before)
        self._owners: LruCache[str, str] = LruCache(_KNOWN_HASHES)

    def setup(self) -> list[str]:
        return self._indices.setup()

    def check(self) -> str:
        self._indices.check()
        health = self._c.call(lambda es: es.cluster.health(index="opinion-*", level="indices", timeout="10s"))
        if health["status"] == "red":
            red = sorted(name for name, entry in health["indices"].items() if entry["status"] == "red")
            raise Transient(
                f"store {self._c.url}: index {', '.join(red[:5])} of cluster {health['cluster_name']} is red",
                remedy="GET _cluster/allocation/explain says why; a node or a disk is missing",
            )
        notes = self._indices.health()
        return f"Elasticsearch at {self._c.url}, {health['status']}, {self.post_count()} posts{notes}"

    def index(self, posts: Sequence[ScoredPost], ingested_at: datetime, version: int) -> list[Outcome]:
        self._indices.make_ready(self._index_of(p) for p in posts)
        stamp = ingested_at.isoformat()
        owners = self._claim({p.post.content_hash: p.post.id for p in reversed(posts)})
        outcomes: list[Outcome | None] = [None] * len(posts)
        operations: list[list[dict[str, Any]]] = [
            [
                {
                    "index": {
                        "_index": self._index_of(p),
                        "_id": p.post.id,
                        "version": version,
                        "version_type": "external",
                    }
                },
                p.document(stamp, repost=owners[p.post.content_hash] != p.post.id),
            ]
            for p in posts
        ]
        conflicts: list[int] = []
        for number, got in enumerate(self._c.bulk(operations)):
            if got is ItemVerdict.WRITTEN:
                outcomes[number] = Outcome.INDEXED
            elif got is ItemVerdict.CONFLICT:
                conflicts.append(number)
            else:
                outcomes[number] = Outcome.REJECTED
        for number, outcome in zip(conflicts, self._conflicting([posts[i] for i in conflicts]), strict=True):
            outcomes[number] = outcome
        self._mark((p.post.event_time for p in posts), ingested_at)
        return [outcome for outcome in outcomes if outcome is not None]

    def _conflicting(self, posts: Sequence[ScoredPost]) -> list[Outcome]:
        """Whether each document that is there came from the very record (redelivered) or from another."""
        wanted = [{"_index": self._index_of(p), "_id": p.post.id, "_source": ["origin"]} for p in posts]
        found = self._c.mget(wanted)
        outcomes = []
        for post, document in zip(posts, found, strict=True):
            origin = post.post.origin
            same = document.get("origin") == {
                "topic": origin.topic,
                "partition": origin.partition,
                "offset": origin.offset,
            }
            outcomes.append(Outcome.REDELIVERED if same else Outcome.DUPLICATE)
        return outcomes

    def _claim(self, firsts: dict[str, str]) -> dict[str, str]:
        """Owner (document id) of each content hash; the first to claim one owns it for good."""
        owners = {h: owner for h in firsts if (owner := self._owners.get(h)) is not None}
        unknown = [h for h in firsts if h not in owners]
        operations: list[list[dict[str, Any]]] = [
            [{"create": {"_index": names.ORIGINALS, "_id": h}}, {"owner": firsts[h]}] for h in unknown
        ]
        taken = []
        for content_hash, got in zip(unknown, self._c.bulk(operations), strict=True):
            if got is ItemVerdict.CONFLICT:
                taken.append(content_hash)
            else:
                owners[content_hash] = firsts[content_hash]
        for content_hash, document in zip(
            taken, self._c.mget([{"_index": names.ORIGINALS, "_id": h} for h in taken]), strict=True
        ):
            owners[content_hash] = document["owner"]
        for content_hash in unknown:
            self._owners.put(content_hash, owners[content_hash])
        return owners

    def refresh(self) -> None:
        self._c.call(lambda es: es.indices.refresh(index=names.POSTS, ignore_unavailable=True))

    def counts(self, start: datetime, end: datetime, rule: NegativeDefinition) -> list[Cell]:
        bucket = {"bucket": {"date_histogram": {"field": "@timestamp", "fixed_interval": f"{BUCKET_S}s"}}}
        topic, subject, source = (
            {name: {"terms": {"field": field}}}
            for name, field in (("topic", "topic"), ("subject", "subjects"), ("source", "source"))
        )
        posts = [_range(start, end), {"term": {"repost": False}}]
        kinds = [([bucket, topic], posts), ([bucket, topic, subject], posts)]
        if rule.sources:
            theirs = [*posts, {"terms": {"source": list(rule.sources)}}]
            kinds += [([bucket, topic, source], theirs), ([bucket, subject, source], theirs)]
        negative = {"negative": {"filter": _negative(rule)}}
        cells = []
        for keys, clauses in kinds:
            after: dict[str, Any] | None = None
            while True:
                composite = {"size": PAGE, "sources": keys, **({"after": after} if after else {})}
                answer = self._c.search(
                    query=_filter(clauses), size=0, aggs={"cells": {"composite": composite, "aggs": negative}}
                )["aggregations"]["cells"]
                cells += [
                    Cell(
                        int(b["key"]["bucket"]) // 1000,
                        b["key"].get("topic", ""),
                        b["key"].get("subject", ""),
                        b["doc_count"],
                        b["negative"]["doc_count"],
                        b["key"].get("source", ""),
                    )
                    for b in answer["buckets"]
                ]
                after = answer.get("after_key")
                if not after or len(answer["buckets"]) < PAGE:
                    break
        return cells

    def source_hours(self, start: datetime, end: datetime) -> dict[str, dict[int, int]]:
        hours = {"hours": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1h", "min_doc_count": 1}}}
        sources = {"sources": {"terms": {"field": "source", "size": SOURCES}, "aggs": hours}}
        answer = self._c.search(query=_filter([_range(start, end)]), size=0, aggs=sources)
        found = answer["aggregations"]["sources"]["buckets"] if "aggregations" in answer else []
        return {b["key"]: {int(h["key"]) // 1000: h["doc_count"] for h in b["hours"]["buckets"]} for b in found}

    def evidence(
        self, scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition, limit: int
    ) -> list[dict[str, Any]]:
        query = _evidence(scope, start, end, rule)
        hits = self._c.search(query=query, size=_CANDIDATES, sort=[{"negative_score": "desc"}])["hits"]["hits"]
        hashes = [h["_source"]["content_hash"] for h in hits]
        heat: dict[str, int] = {}
        if hashes:
            groups = {"groups": {"terms": {"field": "content_hash", "size": len(hashes)}}}
            answer = self._c.search(query={"terms": {"content_hash": hashes}}, size=0, aggs=groups)
            heat = {b["key"]: b["doc_count"] - 1 for b in answer["aggregations"]["groups"]["buckets"]}
        found = [{**h["_source"], "_id": h["_id"], "heat": heat.get(h["_source"]["content_hash"], 0)} for h in hits]
        return sorted(found, key=lambda d: (-d["heat"], -d["negative_score"], d["_id"]))[:limit]

    def evidence_query(self, scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition) -> str:
        body = json.dumps({"query": _evidence(scope, start, end, rule)}, ensure_ascii=False)
        return f"GET {names.POSTS}/_search {body}"

    def search(self, text: str, limit: int) -> list[dict[str, Any]]:
        words = text.split()
        if not words:
            return []
        must = [{"multi_match": {"query": w, "fields": ["title", "text"], "type": "phrase"}} for w in words]
        hits = self._c.hits(names.POSTS, limit, query={"bool": {"must": must}}, sort=[{"@timestamp": "desc"}])
        return [{**h["_source"], "_id": h["_id"]} for h in hits]

    def post(self, document_id: str) -> dict[str, Any] | None:
        hits = self._c.search(query={"ids": {"values": [document_id]}}, size=1)["hits"]["hits"]
        return {**hits[0]["_source"], "_id": document_id} if hits else None

    def documents(self, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
        hits = self._c.scan(names.POSTS, query=_filter([_range(start, end)]), sort=[{"@timestamp": "asc"}])
        return ({**h["_source"], "_id": h["_id"]} for h in hits)

    def replace(self, documents: Sequence[Mapping[str, Any]], version: int) -> int:
        operations: list[list[dict[str, Any]]] = []
        for document in documents:
            index = self._indices.layout().index(time_of(document))
            target = {"_index": index, "_id": document["_id"], "version": version}
            operations.append(
                [
                    {"index": {**target, "version_type": "external"}},
                    {k: v for k, v in document.items() if k != "_id"},
                ]
            )
        written = self._c.bulk(operations).count(ItemVerdict.WRITTEN)
        self._mark(map(time_of, documents), datetime.now(UTC))
        return written

    def put_annotations(self, labels: Sequence[Annotation]) -> None:
        self._c.bulk([[{"index": {"_index": names.LABELS, "_id": x.id}}, x.to_json()] for x in labels])
        self._c.call(lambda es: es.indices.refresh(index=names.LABELS))

    def annotations(self) -> Iterator[Annotation]:
        hits = self._c.scan(names.LABELS, query={"match_all": {}}, sort=[{"at": "asc"}])
        return readable("labels in the store", hits, lambda h: Annotation.from_json(h["_source"]))

    def drop_annotations(self, labels: Sequence[Annotation]) -> int:
        dropped = self._c.bulk([[{"delete": {"_index": names.LABELS, "_id": x.id}}] for x in labels])
        self._c.call(lambda es: es.indices.refresh(index=names.LABELS))
        return dropped.count(ItemVerdict.WRITTEN)

    def ids(self) -> Iterator[str]:
        hits = self._c.scan(names.POSTS, source=False, query={"match_all": {}}, sort=[{"_shard_doc": "asc"}])
        return (h["_id"] for h in hits)

    def post_count(self) -> int:
        return int(self._c.call(lambda es: es.count(index=names.POSTS, ignore_unavailable=True))["count"])

    def bounds(self) -> tuple[datetime, datetime] | None:
        ends = {"first": {"min": {"field": "@timestamp"}}, "last": {"max": {"field": "@timestamp"}}}
        answer = self._c.search(query={"match_all": {}}, size=0, aggs=ends)["aggregations"]
        if answer["first"]["value"] is None:
            return None
        first, last = (datetime.fromtimestamp(answer[end]["value"] / 1000, UTC) for end in ("first", "last"))
        return first, last

    def save_progress(self, progress: Sequence[Progress]) -> None:
        operations: list[list[dict[str, Any]]] = [
            [
                {
                    "index": {
                        "_index": names.STATE,
                        "_id": f"progress-{p.log_key}-{p.partition}",
                        "version": p.next_offset,
                        "version_type": "external_gte",
                    }
                },
                {"kind": "progress", "name": p.topic, "value": p.to_json()},
            ]
            for p in progress
        ]
        self._c.bulk(operations)

    def load_progress(self) -> dict[tuple[str, int], Progress]:
        return current(self.all_progress())

    def all_progress(self) -> list[Progress]:
        self._c.call(lambda es: es.indices.refresh(index=names.STATE))
        hits = self._c.search(index=names.STATE, query={"term": {"kind": "progress"}}, size=10_000)["hits"]["hits"]
        return list(readable("progress in the store", hits, lambda h: Progress.from_json(h["_source"]["value"])))

    def put_alert(self, alert_id: str, document: Mapping[str, Any]) -> bool:
        for _ in range(_TRIES):
            there = self._c.get(names.ALERTS, alert_id)
            if there and not may_replace(there["_source"], document):
                return False
            if self._c.put(names.ALERTS, alert_id, document, **_unchanged(there)):
                return True
        raise Transient(f"alert {alert_id} changes all the time")

    def alert(self, alert_id: str) -> dict[str, Any] | None:
        found = self._c.get(names.ALERTS, alert_id)
        return {**found["_source"], "id": alert_id} if found else None

    def alerts(self, *, open_only: bool = False, limit: int = 1000) -> list[dict[str, Any]]:
        query = {"term": {"state": "open"}} if open_only else {"match_all": {}}
        hits = self._c.hits(names.ALERTS, limit, query=query, sort=[{"started_at": "desc"}])
        return [{**h["_source"], "id": h["_id"]} for h in hits]

    def due_alerts(self, channel: str, now: datetime, limit: int) -> list[dict[str, Any]]:
        mine: dict[str, Any] = {"term": {"notifications.channel": channel}}
        due = [mine, {"range": {"notifications.due_at": {"lte": now.isoformat()}}}]
        attempts = {"order": "asc", "nested": {"path": "notifications", "filter": mine}}
        hits = self._c.search(
            index=names.ALERTS,
            query={"nested": {"path": "notifications", "query": _filter(due)}},
            size=limit,
            sort=[{"notifications.attempts": attempts}, {"started_at": "asc"}],
        )["hits"]["hits"]
        return [{**h["_source"], "id": h["_id"]} for h in hits]

    def unsettled_alerts(self) -> Iterator[dict[str, Any]]:
        either = [{"term": {"state": "open"}}, {"exists": {"field": "pending"}}]
        hits = self._c.scan(
            names.ALERTS, query={"bool": {"should": either, "minimum_should_match": 1}}, sort=[{"started_at": "asc"}]
        )
        return ({**h["_source"], "id": h["_id"]} for h in hits)

    def open_alerts(self) -> dict[str, int]:
        kinds = {
            **{severity: {"term": {"severity": severity}} for severity in ("warning", "critical")},
            "unnotified": {
                "bool": {"must": {"exists": {"field": "unnotified"}}, "must_not": {"term": {"unnotified": ""}}}
            },
        }
        answer = self._c.search(
            index=names.ALERTS,
            query={"term": {"state": "open"}},
            size=0,
            aggs={"kinds": {"filters": {"filters": kinds}}},
        )
        found = answer.get("aggregations", {}).get("kinds", {}).get("buckets", {})
        return {kind: int(found.get(kind, {}).get("doc_count", 0)) for kind in kinds}

    def put_state(self, name: str, value: Mapping[str, Any]) -> None:
        self._c.call(lambda es: es.index(index=names.STATE, id=f"state-{name}", document=_state(name, value)))

    def swap_state(self, name: str, before: Mapping[str, Any] | None, value: Mapping[str, Any]) -> bool:
        for _ in range(_TRIES):
            there = self._c.get(names.STATE, f"state-{name}")
            known = there["_source"]["value"] if there else None
            if known != before:
                return bool(known == value)
            if self._c.put(names.STATE, f"state-{name}", _state(name, value), **_unchanged(there)):
                return True
        raise Transient(f"state {name} changes all the time")

    def state(self, name: str) -> dict[str, Any] | None:
        found = self._c.get(names.STATE, f"state-{name}")
        return dict(found["_source"]["value"]) if found else None

    def states(self, wanted: Sequence[str]) -> dict[str, dict[str, Any]]:
        if not wanted:
            return {}
        found = self._c.entries([{"_index": names.STATE, "_id": f"state-{name}"} for name in wanted])
        return {
            name: dict(document["_source"]["value"])
            for name, document in zip(wanted, found, strict=True)
            if document.get("found")
        }

    def _mark(self, times: Iterable[datetime], now: datetime) -> None:
        states = invalidation_tokens(times, now)
        done = self._c.bulk(
            [[{"index": {"_index": names.STATE, "_id": f"state-{n}"}}, _state(n, value)] for n, value in states.items()]
        )
        if done.count(ItemVerdict.WRITTEN) < len(states):
            raise Transient(f"store {self._c.url} did not take the marks of {len(states)} days", retry_after_s=1.0)

    def close(self) -> None:
        self._c.close()

    def _index_of(self, scored: ScoredPost) -> str:
        return self._indices.layout().index(scored.post.event_time)


def _unchanged(there: dict[str, Any] | None) -> dict[str, Any]:
    """The condition that a document is still as it was read, or still not there."""
    if there is None:
        return {"op_type": "create"}
    return {"if_seq_no": there["_seq_no"], "if_primary_term": there["_primary_term"]}


def _state(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "state", "name": name, "value": dict(value)}


def _range(start: datetime, end: datetime) -> dict[str, Any]:
    return {"range": {"@timestamp": {"gte": start.isoformat(), "lt": end.isoformat()}}}


def _filter(clauses: list[dict[str, Any]]) -> dict[str, Any]:
    return {"bool": {"filter": clauses}}


def _negative(rule: NegativeDefinition) -> dict[str, Any]:
    if not rule.negative:
        return {"match_all": {}}
    labelled = {"terms": {f"labels.{rule.head}": list(rule.negative)}}
    return _filter([labelled, {"range": {"negative_score": {"gte": rule.score_from}}}]) if rule.score_from else labelled


def _evidence(scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition) -> dict[str, Any]:
    clauses = [_range(start, end), {"term": {"repost": False}}, _negative(rule)]
    clauses += [{"term": {"topic": scope.topic}}] if scope.topic else []
    clauses += [{"term": {"subjects": scope.subject}}] if scope.subject else []
    clauses += [{"term": {"source": scope.source}}] if scope.source else []
    return _filter(clauses)
