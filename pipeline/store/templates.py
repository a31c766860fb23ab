"""Index templates and names of the Elasticsearch store. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

POSTS, ALERTS, LABELS = "opinion-posts", "opinion-alerts", "opinion-labels"
#: First document of each content hash, so that a repost is known as one whoever delivers it (docs/adr/0002).
ORIGINALS = "opinion-originals"
#: Progress per source partition and the evaluator's cursor (docs/adr/0001).
STATE = "opinion-state"
#: Raised with every change of a mapping: `setup` then adds what is new to the indices that exist.
SCHEMA = 6
PERIODS = {"hour": "%Y.%m.%d.%H", "day": "%Y.%m.%d", "month": "%Y.%m"}

_KEYWORD = {"type": "keyword", "ignore_above": 1024}
_SCORE = {"type": "float"}


def posts_index(event_time: datetime, period: str) -> str:
    """The index of a post: a function of its event time (UTC) and the period fixed at setup.

    >>> from datetime import UTC
    >>> posts_index(datetime(2026, 11, 24, 5, tzinfo=UTC), "month")
    'opinion-posts-2026.11'
    """
    return f"{POSTS}-{event_time.strftime(PERIODS[period])}"


def templates(analyzer: str, replicas: int, period: str) -> dict[str, dict[str, Any]]:
    """Template name -> body, for `PUT _index_template/NAME`."""
    text = {"type": "text", "analyzer": analyzer}
    posts = {
        "@timestamp": {"type": "date"},
        "ingested_at": {"type": "date"},
        **{name: _KEYWORD for name in ("id", "source", "kind", "url", "author", "lang", "topic", "sentiment")},
        "content_hash": {"type": "keyword"},
        "title": text,
        "text": text,
        "repost": {"type": "boolean"},
        "time_suspect": {"type": "boolean"},
        "corrected": {"type": "boolean"},
        "topic_score": _SCORE,
        "sentiment_score": _SCORE,
        "negative_score": _SCORE,
        "labels": {"type": "flattened"},
        # By head, which the template does not know: fields of their own would ask a writer for the right to map.
        "scores": {"type": "flattened"},
        "subjects": _KEYWORD,
        "engagement": {"properties": {name: {"type": "long"} for name in ("reposts", "likes", "comments")}},
        "model": {"properties": {"name": _KEYWORD, "version": _KEYWORD}},
        "origin": {"properties": {"topic": _KEYWORD, "partition": {"type": "integer"}, "offset": {"type": "long"}}},
        "extra": {"type": "flattened", "ignore_above": 1024},
    }
    alerts = {
        **{
            name: _KEYWORD
            for name in ("key", "topic", "subject", "source", "severity", "state", "model", "tier", "lane")
        },
        **{
            name: {"type": "date"}
            for name in ("started_at", "updated_at", "resolved_at", "first_notified_at", "last_notified_at")
        },
        **{
            name: _SCORE
            for name in (
                "expected",
                "share",
                "expected_share",
                "lift",
                "score",
                "peak_score",
                "fire",
                "false_alerts_per_key_week",
            )
        },  # fmt: skip
        **{name: {"type": "long"} for name in ("observed", "posts", "window_s", "sequence")},
        "cold": {"type": "boolean"},
        "related": _KEYWORD,
        "pending": _KEYWORD,
        "held": _KEYWORD,
        "unnotified": _KEYWORD,
        "note": _KEYWORD,
        "revision": {"type": "long"},
        # Per channel: what it was told, and when to look at it next. Nested, so that a query can ask about one channel.
        "notifications": {
            "type": "nested",
            "properties": {
                **{name: _KEYWORD for name in ("channel", "state", "detail", "told")},
                **{name: {"type": "date"} for name in ("at", "due_at")},
                **{name: {"type": "long"} for name in ("attempts", "sequence")},
            },
        },
        "false_alarm": {
            "properties": {"by": _KEYWORD, "note": _KEYWORD, "at": {"type": "date"}, "ended_at": {"type": "date"}}
        },
        "last_hour": {"type": "object", "enabled": False},
        "terms": _KEYWORD,
        "spread": {"type": "object", "enabled": False},
        "series": {"type": "object", "enabled": False},
        "query": {"type": "keyword", "index": False, "doc_values": False},
        "evidence": {"type": "object", "enabled": False},
    }
    labels = {
        **{name: _KEYWORD for name in ("post", "head", "label", "annotator", "model", "suggested", "source", "lang")},
        "at": {"type": "date"},
        "text": text,
    }
    state = {"kind": _KEYWORD, "name": _KEYWORD, "value": {"type": "object", "enabled": False}}
    return {
        POSTS: _template(POSTS + "-*", posts, replicas, alias=POSTS, period=period),
        ALERTS: _template(ALERTS, alerts, replicas),
        LABELS: _template(LABELS, labels, replicas),
        ORIGINALS: _template(ORIGINALS, {"owner": _KEYWORD}, replicas),
        STATE: _template(STATE, state, replicas),
    }


def _template(
    pattern: str, properties: dict[str, Any], replicas: int, alias: str = "", period: str = ""
) -> dict[str, Any]:
    return {
        "index_patterns": [pattern],
        "priority": 200,
        "_meta": {"owner": "opinionwatch", "period": period, "schema": SCHEMA},
        "template": {
            "settings": {"number_of_shards": 1, "number_of_replicas": replicas},
            "mappings": {"dynamic": "strict", "properties": properties},
            **({"aliases": {alias: {}}} if alias else {}),
        },
    }
