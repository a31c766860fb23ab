"""The store on Elasticsearch 8.19 or 9. The only module that imports its client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from elasticsearch import ApiError, Elasticsearch, TransportError

from models.cache import LruCache
from pipeline.errors import EXIT_UNAVAILABLE, Fatal, Transient
from pipeline.posts import Label, Progress, ScoredPost
from pipeline.store import templates as names
from pipeline.store.base import BUCKET_S, SOURCES, Cell, CountRule, Outcome, Scope
from pipeline.store.bulk import ItemVerdict, item_verdicts

_PAGE = 5000
_CANDIDATES = 500
_KNOWN_HASHES = 200_000


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
    ) -> None:
        self._url = url
        self._period = period
        self._templates = names.templates(analyzer, replicas, period)
        tls: dict[str, Any] = {"ca_certs": ca_file} if ca_file else {}
        self._es = Elasticsearch(
            url,
            basic_auth=(username, password) if username else None,
            request_timeout=timeout_s,
            max_retries=0,
            retry_on_timeout=False,
            **tls,
        )
        self._ready_indices: set[str] = set()
        self._owners: LruCache[str, str] = LruCache(_KNOWN_HASHES)

    def setup(self) -> list[str]:
        made = []
        for name, body in self._templates.items():
            if not self._call(lambda name=name: self._es.indices.exists_index_template(name=name)):  # type: ignore[misc]
                made.append(f"index template {name}")
            self._call(lambda name=name, body=body: self._es.indices.put_index_template(name=name, **_body(body)))  # type: ignore[misc]
        current = names.posts_index(datetime.now(UTC), self._period)
        for index in (current, names.ALERTS, names.LABELS, names.ORIGINALS, names.STATE):
            if self._create(index):
                made.append(f"index {index}")
        return made + self._grow_mappings()

    def check(self) -> str:
        health = self._call(lambda: self._es.cluster.health(timeout="10s"))
        self._template_installed()
        if health["status"] == "red":
            raise Transient(f"store {self._url}: cluster {health['cluster_name']} is red")
        return f"Elasticsearch at {self._url}, {health['status']}, {self.post_count()} posts"

    def index(self, posts: Sequence[ScoredPost], ingested_at: datetime, version: int) -> list[Outcome]:
        for index in {self._index_of(p) for p in posts} - self._ready_indices:
            self._template_installed()
            self._create(index)
            self._ready_indices.add(index)
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
        for number, got in enumerate(self._bulk(operations)):
            if got is ItemVerdict.WRITTEN:
                outcomes[number] = Outcome.INDEXED
            elif got is ItemVerdict.CONFLICT:
                conflicts.append(number)
            else:
                outcomes[number] = Outcome.REJECTED
        for number, outcome in zip(conflicts, self._conflicting([posts[i] for i in conflicts]), strict=True):
            outcomes[number] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def _conflicting(self, posts: Sequence[ScoredPost]) -> list[Outcome]:
        """Whether each document that is there came from the very record (redelivered) or from another."""
        wanted = [{"_index": self._index_of(p), "_id": p.post.id, "_source": ["origin"]} for p in posts]
        found = self._mget(wanted)
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
        for content_hash, got in zip(unknown, self._bulk(operations), strict=True):
            if got is ItemVerdict.CONFLICT:
                taken.append(content_hash)
            else:
                owners[content_hash] = firsts[content_hash]
        for content_hash, document in zip(
            taken, self._mget([{"_index": names.ORIGINALS, "_id": h} for h in taken]), strict=True
        ):
            owners[content_hash] = document["owner"]
        for content_hash in unknown:
            self._owners.put(content_hash, owners[content_hash])
        return owners

    def _bulk(self, operations: list[list[dict[str, Any]]]) -> list[ItemVerdict]:
        """WRITTEN, CONFLICT or REJECTED per operation; a request that is too large is split in halves."""
        if not operations:
            return []
        lines: list[Any] = [orjson.dumps(line) for operation in operations for line in operation]
        try:
            response: object = self._call(lambda: self._es.bulk(operations=lines).body)
        except _TooLargeError:
            if len(operations) == 1:
                return [ItemVerdict.REJECTED]
            half = len(operations) // 2
            return self._bulk(operations[:half]) + self._bulk(operations[half:])
        got = item_verdicts(response, len(operations))
        if ItemVerdict.FATAL in got:
            raise Fatal(f"store {self._url} refuses writes (401, 403, 404 or a bad request)", _REMEDY)
        if ItemVerdict.SPLIT in got or ItemVerdict.RETRY in got:
            again = [i for i, v in enumerate(got) if v in {ItemVerdict.SPLIT, ItemVerdict.RETRY}]
            if len(again) == len(operations):
                raise Transient(f"store {self._url} took none of {len(operations)} documents", retry_after_s=1.0)
            for i, v in zip(again, self._bulk([operations[i] for i in again]), strict=True):
                got[i] = v
        return got

    def _mget(self, docs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not docs:
            return []
        answer = self._call(lambda: self._es.mget(docs=docs))["docs"]
        if len(answer) != len(docs) or not all(d.get("found") for d in answer):
            raise Transient(f"store {self._url}: a document in conflict cannot be read yet")
        return [d["_source"] for d in answer]

    def refresh(self) -> None:
        self._call(lambda: self._es.indices.refresh(index=names.POSTS, ignore_unavailable=True))

    def counts(self, start: datetime, end: datetime, rule: CountRule) -> list[Cell]:
        bucket = {"bucket": {"date_histogram": {"field": "@timestamp", "fixed_interval": f"{BUCKET_S}s"}}}
        topic = {"topic": {"terms": {"field": "topic"}}}
        subject = {"subject": {"terms": {"field": "subjects"}}}
        query = _filter([_range(start, end), {"term": {"repost": False}}])
        negative = {"negative": {"filter": _negative(rule)}}
        cells = []
        for sources in ([bucket, topic], [bucket, topic, subject]):
            after: dict[str, Any] | None = None
            while True:
                composite = {"size": _PAGE, "sources": sources, **({"after": after} if after else {})}
                answer = self._search(query=query, size=0, aggs={"cells": {"composite": composite, "aggs": negative}})[
                    "aggregations"
                ]["cells"]
                cells += [
                    Cell(
                        int(b["key"]["bucket"]) // 1000,
                        b["key"]["topic"],
                        b["key"].get("subject", ""),
                        b["doc_count"],
                        b["negative"]["doc_count"],
                    )
                    for b in answer["buckets"]
                ]
                after = answer.get("after_key")
                if not after or len(answer["buckets"]) < _PAGE:
                    break
        return cells

    def source_hours(self, start: datetime, end: datetime) -> dict[str, dict[int, int]]:
        hours = {"hours": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1h", "min_doc_count": 1}}}
        sources = {"sources": {"terms": {"field": "source", "size": SOURCES}, "aggs": hours}}
        answer = self._search(query=_filter([_range(start, end)]), size=0, aggs=sources)
        found = answer["aggregations"]["sources"]["buckets"] if "aggregations" in answer else []
        return {b["key"]: {int(h["key"]) // 1000: h["doc_count"] for h in b["hours"]["buckets"]} for b in found}

    def evidence(
        self, scope: Scope, start: datetime, end: datetime, rule: CountRule, limit: int
    ) -> list[dict[str, Any]]:
        query = _evidence(scope, start, end, rule)
        hits = self._search(query=query, size=_CANDIDATES, sort=[{"negative_score": "desc"}])["hits"]["hits"]
        hashes = [h["_source"]["content_hash"] for h in hits]
        heat: dict[str, int] = {}
        if hashes:
            groups = {"groups": {"terms": {"field": "content_hash", "size": len(hashes)}}}
            answer = self._search(query={"terms": {"content_hash": hashes}}, size=0, aggs=groups)
            heat = {b["key"]: b["doc_count"] - 1 for b in answer["aggregations"]["groups"]["buckets"]}
        found = [{**h["_source"], "_id": h["_id"], "heat": heat.get(h["_source"]["content_hash"], 0)} for h in hits]
        return sorted(found, key=lambda d: (-d["heat"], -d["negative_score"], d["_id"]))[:limit]

    def evidence_query(self, scope: Scope, start: datetime, end: datetime, rule: CountRule) -> str:
        body = json.dumps({"query": _evidence(scope, start, end, rule)}, ensure_ascii=False)
        return f"GET {names.POSTS}/_search {body}"

    def search(self, text: str, limit: int) -> list[dict[str, Any]]:
        words = text.split()
        if not words:
            return []
        must = [{"multi_match": {"query": w, "fields": ["title", "text"], "type": "phrase"}} for w in words]
        hits = self._search(query={"bool": {"must": must}}, size=limit, sort=[{"@timestamp": "desc"}])["hits"]["hits"]
        return [{**h["_source"], "_id": h["_id"]} for h in hits]

    def post(self, document_id: str) -> dict[str, Any] | None:
        hits = self._search(query={"ids": {"values": [document_id]}}, size=1)["hits"]["hits"]
        return {**hits[0]["_source"], "_id": document_id} if hits else None

    def documents(self, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
        hits = self._scan(names.POSTS, query=_filter([_range(start, end)]), sort=[{"@timestamp": "asc"}])
        return ({**h["_source"], "_id": h["_id"]} for h in hits)

    def replace(self, documents: Sequence[Mapping[str, Any]], version: int) -> int:
        operations: list[list[dict[str, Any]]] = []
        for document in documents:
            at = datetime.fromisoformat(document["@timestamp"])
            target = {"_index": names.posts_index(at, self._period), "_id": document["_id"], "version": version}
            operations.append(
                [
                    {"index": {**target, "version_type": "external"}},
                    {k: v for k, v in document.items() if k != "_id"},
                ]
            )
        return self._bulk(operations).count(ItemVerdict.WRITTEN)

    def put_labels(self, labels: Sequence[Label]) -> None:
        self._bulk([[{"index": {"_index": names.LABELS, "_id": x.id}}, x.to_json()] for x in labels])
        self._call(lambda: self._es.indices.refresh(index=names.LABELS))

    def labels(self) -> Iterator[Label]:
        hits = self._scan(names.LABELS, query={"match_all": {}}, sort=[{"at": "asc"}])
        return (Label.from_json(h["_source"]) for h in hits)

    def ids(self) -> Iterator[str]:
        hits = self._scan(names.POSTS, source=False, query={"match_all": {}}, sort=[{"_shard_doc": "asc"}])
        return (h["_id"] for h in hits)

    def _scan(self, index: str, **search: Any) -> Iterator[dict[str, Any]]:
        """All hits of a search at one point in time, page by page."""
        pit = self._call(lambda: self._es.open_point_in_time(index=index, keep_alive="2m"))["id"]
        after: list[Any] | None = None
        while True:
            hits = self._call(
                lambda after=after: self._es.search(  # type: ignore[misc]
                    pit={"id": pit, "keep_alive": "2m"}, size=_PAGE, search_after=after, **search
                )
            )["hits"]["hits"]
            yield from hits
            if len(hits) < _PAGE:
                break
            after = hits[-1]["sort"]
        self._call(lambda: self._es.close_point_in_time(id=pit))

    def post_count(self) -> int:
        return int(self._call(lambda: self._es.count(index=names.POSTS, ignore_unavailable=True))["count"])

    def bounds(self) -> tuple[datetime, datetime] | None:
        ends = {"first": {"min": {"field": "@timestamp"}}, "last": {"max": {"field": "@timestamp"}}}
        answer = self._search(query={"match_all": {}}, size=0, aggs=ends)["aggregations"]
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
                        "_id": f"progress-{p.topic}-{p.partition}",
                        "version": p.next_offset,
                        "version_type": "external_gte",
                    }
                },
                {"kind": "progress", "name": p.topic, "value": p.to_json()},
            ]
            for p in progress
        ]
        self._bulk(operations)

    def load_progress(self) -> dict[tuple[str, int], Progress]:
        self._call(lambda: self._es.indices.refresh(index=names.STATE))
        hits = self._search(index=names.STATE, query={"term": {"kind": "progress"}}, size=10_000)["hits"]["hits"]
        rows = [Progress.from_json(h["_source"]["value"]) for h in hits]
        return {(p.topic, p.partition): p for p in rows}

    def put_alert(self, alert_id: str, document: Mapping[str, Any]) -> None:
        self._call(lambda: self._es.index(index=names.ALERTS, id=alert_id, document=document, refresh=True))

    def alert(self, alert_id: str) -> dict[str, Any] | None:
        found = self._call(lambda: self._es.mget(index=names.ALERTS, ids=[alert_id]))["docs"][0]
        return {**found["_source"], "id": alert_id} if found.get("found") else None

    def alerts(self, *, open_only: bool = False, limit: int = 1000) -> list[dict[str, Any]]:
        query = {"term": {"state": "open"}} if open_only else {"match_all": {}}
        hits = self._search(index=names.ALERTS, query=query, size=limit, sort=[{"started_at": "desc"}])["hits"]["hits"]
        return [{**h["_source"], "id": h["_id"]} for h in hits]

    def put_state(self, name: str, value: Mapping[str, Any]) -> None:
        document = {"kind": "state", "name": name, "value": dict(value)}
        self._call(lambda: self._es.index(index=names.STATE, id=f"state-{name}", document=document))

    def state(self, name: str) -> dict[str, Any] | None:
        found = self._call(lambda: self._es.mget(index=names.STATE, ids=[f"state-{name}"]))["docs"][0]
        return dict(found["_source"]["value"]) if found.get("found") else None

    def close(self) -> None:
        self._es.close()

    def _index_of(self, scored: ScoredPost) -> str:
        return names.posts_index(scored.post.event_time, self._period)

    def _search(self, *, index: str = names.POSTS, **body: Any) -> Any:
        return self._call(lambda: self._es.search(index=index, ignore_unavailable=True, **body))

    def _template_installed(self) -> None:
        try:
            found = self._call(lambda: self._es.indices.get_index_template(name=names.POSTS))["index_templates"]
        except Fatal as error:
            raise Fatal(f"store {self._url} has no index template {names.POSTS} ({error})", _REMEDY) from None
        meta = found[0]["index_template"].get("_meta", {})
        if (schema := meta.get("schema", 1)) < names.SCHEMA:
            raise Fatal(f"store {self._url} was set up by an older release (schema {schema})", _REMEDY)
        period = meta.get("period")
        if period != self._period:
            raise Fatal(f"store.period is {self._period!r}, but setup fixed it at {period!r}", "set it back")

    def _grow_mappings(self) -> list[str]:
        """Fields of a newer release for the indices that an older one made; mappings are strict."""
        made = []
        for name, body in self._templates.items():
            pattern, wanted = f"{name}*" if name == names.POSTS else name, body["template"]["mappings"]["properties"]
            found = self._call(lambda pattern=pattern: self._es.indices.get_mapping(index=pattern))  # type: ignore[misc]
            for index, mapping in sorted(dict(found).items()):
                if missing := {k: v for k, v in wanted.items() if k not in mapping["mappings"]["properties"]}:
                    self._call(
                        lambda index=index, new=missing: self._es.indices.put_mapping(index=index, properties=new)  # type: ignore[misc]
                    )
                    made.append(f"fields {', '.join(sorted(missing))} of index {index}")
        return made

    def _create(self, index: str) -> bool:
        if self._call(lambda: self._es.indices.exists(index=index)):
            return False
        try:
            self._call(lambda: self._es.indices.create(index=index))
        except Fatal as error:
            if "resource_already_exists" not in str(error):
                raise
        return True

    def _call(self, request: Callable[[], Any]) -> Any:
        try:
            return request()
        except ApiError as error:
            raise self._translated(error) from None
        except TransportError as error:
            raise Transient(f"store {self._url} cannot be reached: {type(error).__name__}") from error

    def _translated(self, error: ApiError) -> Exception:
        status = error.meta.status
        kind = error.error if isinstance(error.error, str) else type(error).__name__
        message = f"store {self._url}: {status} {kind}"
        if status == 413:
            return _TooLargeError(message)
        if status == 429 or status >= 500 or kind == "cluster_block_exception":
            return Transient(message, retry_after_s=1.0)
        if kind == "media_type_header_exception":
            return Fatal(message, "install the client of the server's major version: pip install 'elasticsearch<9'")
        if status in {401, 403}:
            return Fatal(message, "check store.url, store.password and the role of that user")
        if status == 404:
            return Fatal(message, _REMEDY)
        return Fatal(message, "this is a request of ours that the server refuses; report it", EXIT_UNAVAILABLE)


class _TooLargeError(Exception):
    """The request was larger than the server takes."""


_REMEDY = "run 'opinionwatch setup' with a user that may create templates and indices"


def _body(template: Mapping[str, Any]) -> dict[str, Any]:
    return {("meta" if key == "_meta" else key): value for key, value in template.items()}


def _range(start: datetime, end: datetime) -> dict[str, Any]:
    return {"range": {"@timestamp": {"gte": start.isoformat(), "lt": end.isoformat()}}}


def _filter(clauses: list[dict[str, Any]]) -> dict[str, Any]:
    return {"bool": {"filter": clauses}}


def _negative(rule: CountRule) -> dict[str, Any]:
    if not rule.negative:
        return {"match_all": {}}
    return {"terms": {f"labels.{rule.head}": list(rule.negative)}}


def _evidence(scope: Scope, start: datetime, end: datetime, rule: CountRule) -> dict[str, Any]:
    clauses = [_range(start, end), {"term": {"repost": False}}, _negative(rule)]
    clauses += [{"term": {"topic": scope.topic}}] if scope.topic else []
    clauses += [{"term": {"subjects": scope.subject}}] if scope.subject else []
    return _filter(clauses)
