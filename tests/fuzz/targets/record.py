"""A Kafka record as a producer may send it, from the client's bytes to a row in SQLite.

The first line of an input is JSON with `timestamp` and `headers` ([[name, value in Latin-1 or null], ...]); what
follows is the record's value.
"""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pipeline.classify.stage import ClassifyStage
from pipeline.classify.subjects import SubjectMatcher
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.document_version import DocumentVersion
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import ScoredPost
from pipeline.domain.post_document import PostDocument
from pipeline.kafka.agent import to_record
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import DummyClassifier
from tests.fuzz.texts import TEXTS

_FIELDS = ("v", "id", "source", "kind", "url", "title", "text", "author", "published_at", "lang", "reposts", "likes",
           "comments", "extra", "created_at", "more")  # fmt: skip
_TIMES = st.sampled_from(
    ["2026-11-27T10:00:00Z", "2026/11/27 10:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
     "1795440300000", 1795440300, 1795440300000.5, -1, 1e308, "Fri, 27 Nov 2026 10:00:00 +0800",
     "2026-11-27T10:00:00+00:00:30", "24:00"]
)  # fmt: skip
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), TEXTS, _TIMES,
    st.sampled_from(["1,234", "12.0", "1.2e3", "1e999", "-3", "9" * 5000, "nan"]),
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
_POSTS = st.builds(
    lambda base, more: {**base, **more},
    st.fixed_dictionaries({"v": st.just(1), "id": st.text(max_size=5), "source": st.just("s"), "text": TEXTS}),
    st.dictionaries(st.sampled_from(_FIELDS), _VALUES, max_size=6),
)


def _json(value: object, ascii_: bool) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")


_BODIES = st.one_of(
    st.binary(max_size=200),
    st.builds(_json, _POSTS, st.booleans()),
    st.builds(_json, _VALUES, st.booleans()),
    st.builds(
        lambda body, at, byte: body[: at % len(body)] + bytes([byte]) + body[at % len(body) + 1 :],
        st.builds(_json, _POSTS, st.booleans()), st.integers(0, 10_000), st.integers(0, 255),
    ),
)  # fmt: skip
_HEADER_VALUES = st.one_of(
    st.none(),
    st.sampled_from(["1", "9" * 5000, "\xb2", "-1", " 2", "1_0", "\xff"]),
    st.binary(max_size=9).map(lambda value: value.decode("latin-1")),
)
_HEADERS = st.lists(st.tuples(st.sampled_from(["replayed", "origin", "", "x"]), _HEADER_VALUES), max_size=3)
_STAMPS = st.one_of(
    st.sampled_from([1_790_000_000_000, 0, -1, None, 1_790_000_000_000_000, -62135596800001, 253402300800000]),
    st.integers(-(2**63), 2**63 - 1),
)
INPUTS = st.builds(
    lambda stamp, headers, body: json.dumps({"timestamp": stamp, "headers": headers}).encode() + b"\n" + body,
    _STAMPS, _HEADERS, _BODIES,
)  # fmt: skip


@cache
def _stage() -> tuple[ClassifyStage, SqliteStore]:
    store = SqliteStore(Path(tempfile.mkdtemp(prefix="opinionwatch-fuzz-")) / "store.sqlite")
    store.setup()
    metrics = Metrics(CollectorRegistry())
    return ClassifyStage(
        DummyClassifier(), SubjectMatcher({"Nova": ["nova", "诺瓦"]}), NegativeDefinition(), metrics, 0
    ), store


def run(data: bytes) -> None:
    head, _, value = data.partition(b"\n")
    try:
        made: dict[str, Any] = json.loads(head)
        headers = [(name, None if v is None else v.encode("latin-1")) for name, v in made["headers"]]
    except (ValueError, TypeError, KeyError):
        made, headers = {"timestamp": 0}, []
    classify_stage, store = _stage()
    raw = SimpleNamespace(
        topic="opinion.forum", partition=0, offset=hash(data) & 0xFFFFFF, timestamp=made["timestamp"], value=value,
        key=b"", headers=headers,
    )  # fmt: skip
    record = to_record(raw)
    results = classify_stage.finish(classify_stage.infer(classify_stage.prepare([record])))
    for _, item in results:
        if isinstance(item, ScoredPost):
            orjson.dumps(PostDocument(item, datetime.now(UTC), repost=False).to_json())
            store.index([item], datetime.now(UTC), DocumentVersion.STREAMED)
