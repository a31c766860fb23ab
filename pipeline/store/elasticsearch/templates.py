"""The index templates of the Elasticsearch store, and the layout of its indices. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from models.json_reader import JsonReader
from models.json_types import JsonObject

POSTS, ALERTS, LABELS = "opinion-posts", "opinion-alerts", "opinion-labels"
#: The first document of each content hash, so that every worker recognises a repost (docs/adr/0002).
ORIGINALS = "opinion-originals"
#: The progress per source partition, and the states (docs/adr/0001).
STATE = "opinion-state"
#: Increases with every change of a mapping; `setup` then adds the new fields to existing indices.
SCHEMA = 7
#: The priority of our index templates: Elasticsearch applies the matching template with the highest priority.
PRIORITY = 200
OURS = (POSTS, ALERTS, LABELS, ORIGINALS, STATE)
#: An index name of each kind, to find the templates that match it.
EXAMPLES = (f"{POSTS}-2026.11", f"{POSTS}-2026.11.24", f"{POSTS}-2026.11.24.05", f"{POSTS}-2019", *OURS[1:])
PERIODS = {"hour": "%Y.%m.%d.%H", "day": "%Y.%m.%d", "month": "%Y.%m"}

_KEYWORD: JsonObject = {"type": "keyword", "ignore_above": 1024}
_SCORE: JsonObject = {"type": "float"}


#: Posts up to this many days older than the first setup have an index per period; older ones have one per year.
_HORIZON_DAYS = {"hour": 7, "day": 90, "month": 90}
_YEAR = "%Y"


@dataclass(frozen=True, slots=True)
class Layout:
    """Which index a post belongs to: it depends only on the event time, and setup fixes it (docs/adr/0028).

    Posts from before `backfill_before` share one index per year (None: no posts do). Otherwise a feed with items of
    many years would create thousands of indices.

    >>> layout = Layout("day", date(2026, 9, 1))
    >>> [layout.index(datetime(year, 11, 24, 5, tzinfo=UTC)) for year in (2026, 2019)]
    ['opinion-posts-2026.11.24', 'opinion-posts-2019']
    """

    period: str
    backfill_before: date | None = None

    def index(self, event_time: datetime) -> str:
        at = event_time.astimezone(UTC)
        old = self.backfill_before is not None and at.date() < self.backfill_before
        return f"{POSTS}-{at.strftime(_YEAR if old else PERIODS[self.period])}"

    def misplaces(self, index: str, before: Layout) -> bool:
        """Whether an index that was filled under `before` may hold posts that belong to another index here."""
        start = start_of(index)
        if start is None or self == before:
            return False
        old, new = before.backfill_before, self.backfill_before
        if not _is_yearly(index):
            return self.period != before.period or (new is not None and start < _midnight(new))
        # All its posts are from before `old`: they are in place unless the new date is earlier.
        return new is None or (old is not None and new < old and start.replace(year=start.year + 1) > _midnight(new))


def first_layout(period: str, today: date, indices: list[str]) -> Layout:
    """The layout that a store with these `indices` gets today: it misplaces no post in them."""
    horizon = today - timedelta(days=_HORIZON_DAYS[period])
    if period == "month":
        horizon = horizon.replace(day=1)
    starts = [start.date() for index in indices if not _is_yearly(index) and (start := start_of(index))]
    return Layout(period, min([horizon, *starts]))


def later(before: Layout, first: Layout) -> date | None:
    """The new date of a store that has one: it moves forward past deleted indices, but never back."""
    return max((d for d in (before.backfill_before, first.backfill_before) if d), default=None)


def layout_of(meta: JsonObject) -> Layout:
    """The layout that the `_meta` of the template holds."""
    fields = JsonReader(meta)
    before = fields.text("backfill_before", "")
    return Layout(fields.text("period", ""), date.fromisoformat(before) if before else None)


def start_of(index: str) -> datetime | None:
    """The first moment that an index of posts covers; None for any other name.

    >>> start_of("opinion-posts-2026.11"), start_of("opinion-posts-old")
    (datetime.datetime(2026, 11, 1, 0, 0, tzinfo=datetime.timezone.utc), None)
    """
    for pattern in (_YEAR, *PERIODS.values()):
        try:
            return datetime.strptime(index.removeprefix(f"{POSTS}-"), pattern).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def _is_yearly(index: str) -> bool:
    return len(index.removeprefix(f"{POSTS}-")) == 4


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


@dataclass(frozen=True, slots=True)
class Template:
    """An index template: `properties` are the fields of the documents in indices whose name matches `pattern`."""

    pattern: str
    properties: JsonObject
    replicas: int
    alias: str = ""
    layout: Layout | None = None
    schema: int = SCHEMA

    @property
    def meta(self) -> JsonObject:
        """What a later setup reads: the owner, the layout and the schema."""
        before = self.layout and self.layout.backfill_before
        return {
            "owner": "opinionwatch",
            "period": self.layout.period if self.layout else "",
            "schema": self.schema,
            **({"backfill_before": before.isoformat()} if before else {}),
        }

    @property
    def body(self) -> JsonObject:
        """What each new index gets."""
        return {
            "settings": {"number_of_shards": 1, "number_of_replicas": self.replicas},
            "mappings": {"dynamic": "strict", "properties": self.properties},
            **({"aliases": {self.alias: {}}} if self.alias else {}),
        }


def templates(analyzer: str, replicas: int, layout: Layout) -> dict[str, Template]:
    """Every index template by its name."""
    text: JsonObject = {"type": "text", "analyzer": analyzer}
    posts: JsonObject = {
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
        # The template does not know the heads, and a writer may lack the privilege to map a field for each.
        "scores": {"type": "flattened"},
        "subjects": _KEYWORD,
        # Queries ask for the keywords, which are made of the objects.
        "toward": {"type": "object", "enabled": False},
        "toward_labels": _KEYWORD,
        "toward_bins": _KEYWORD,
        "families": _KEYWORD,
        "engagement": {"properties": {name: {"type": "long"} for name in ("reposts", "likes", "comments")}},
        "model": {"properties": {"name": _KEYWORD, "version": _KEYWORD}},
        "origin": {"properties": {"topic": _KEYWORD, "partition": {"type": "integer"}, "offset": {"type": "long"}}},
        "extra": {"type": "flattened", "ignore_above": 1024},
    }
    alerts: JsonObject = {
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
                "false_alerts_low",
                "false_alerts_high",
                "share_low",
                "share_high",
                "negative_mean",
                "other_mean",
            )
        },  # fmt: skip
        **{name: {"type": "long"} for name in ("observed", "counted", "posts", "window_s", "sequence")},
        "cold": {"type": "boolean"},
        "related": _KEYWORD,
        "pending": _KEYWORD,
        "held": _KEYWORD,
        "unnotified": _KEYWORD,
        "note": _KEYWORD,
        "revision": {"type": "long"},
        # Per channel: what was sent to it, and when it is due next. Nested, so that a query can ask about one channel.
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
        "loudest_voices": {"type": "object", "enabled": False},
        "disputed": {"type": "boolean"},
        "terms": _KEYWORD,
        "spread": {"type": "object", "enabled": False},
        "series": {"type": "object", "enabled": False},
        "query": {"type": "keyword", "index": False, "doc_values": False},
        "evidence": {"type": "object", "enabled": False},
    }
    labels: JsonObject = {
        **{name: _KEYWORD for name in ("post", "head", "label", "annotator", "model", "suggested", "source", "lang")},
        "subject": _KEYWORD,
        "mention": {"type": "integer"},
        "at": {"type": "date"},
        "text": text,
    }
    state: JsonObject = {"kind": _KEYWORD, "name": _KEYWORD, "value": {"type": "object", "enabled": False}}
    return {
        POSTS: Template(POSTS + "-*", posts, replicas, alias=POSTS, layout=layout),
        ALERTS: Template(ALERTS, alerts, replicas),
        LABELS: Template(LABELS, labels, replicas),
        ORIGINALS: Template(ORIGINALS, {"owner": _KEYWORD}, replicas),
        STATE: Template(STATE, state, replicas),
    }
