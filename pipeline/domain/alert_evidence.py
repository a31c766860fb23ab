"""What an alert shows to people: its counts, its posts, and how its key did over the last day. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from models.json_reader import JsonReader
from models.json_types import JsonObject


@dataclass(frozen=True, slots=True)
class PeakCounts:
    """The counts of the window with the highest score; `window_s` is its length in seconds.

    `observed` and `expected` are negative posts in the negative lane; in the volume lane they are posts, and there is
    no `share` and no `expected_share` (both in [0, 1]). `lift` is observed over expected, `score` is -log10 of the tail
    probability. `cold` says that the key had too little history, so that fixed limits judged it.

    Where the negatives are estimated, `counted` are the posts that are labelled negative, `share_low` to `share_high`
    is the 80 % interval of the share, and `observed` is (sum of the negative scores - posts * `other_mean`) /
    (`negative_mean` - `other_mean`), rounded. All five are None where labels are counted.
    """

    observed: int = 0
    expected: float = 0.0
    posts: int = 0
    share: float | None = None
    expected_share: float | None = None
    lift: float = 0.0
    score: float = 0.0
    window_s: int = 3600
    cold: bool = False
    counted: int | None = None
    share_low: float | None = None
    share_high: float | None = None
    negative_mean: float | None = None
    other_mean: float | None = None


@dataclass(frozen=True, slots=True)
class AppliedThreshold:
    """The score `fire` from which keys of this volume `tier` alert.

    `false_alerts_per_key_week` is how often they alert without cause by the calibration, with the ends of its 80 %
    interval (None: there was no calibration yet, or it gave no interval).
    """

    tier: str = ""
    fire: float = 0.0
    false_alerts_per_key_week: float | None = None
    false_alerts_low: float | None = None
    false_alerts_high: float | None = None


@dataclass(frozen=True, slots=True)
class EvidencePost:
    """One of the posts that an alert shows; `text` is an excerpt, scores are in [0, 1].

    `toward` is the class toward the subject of the alert, and `toward_score` its negative score toward the subject.
    They are empty if no model judged the subject by itself.
    """

    id: str = ""
    source: str = ""
    url: str = ""
    published_at: datetime | None = None
    text: str = ""
    negative_score: float = 0.0
    reposts: int = 0
    toward: str = ""
    toward_score: float = 0.0
    unknown: JsonObject = field(default_factory=dict)

    @property
    def shown_score(self) -> float:
        """The negative score that counted: that toward the subject, if a model judged it."""
        return self.toward_score if self.toward else self.negative_score

    def to_json(self) -> JsonObject:
        return {
            "id": self.id,
            "source": self.source,
            "url": self.url,
            "published_at": self.published_at.isoformat() if self.published_at else None,
            "text": self.text,
            "negative_score": self.negative_score,
            "reposts": self.reposts,
            **({"toward": self.toward, "toward_score": self.toward_score} if self.toward else {}),
            **self.unknown,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> EvidencePost:
        fields = JsonReader(value)
        return cls(
            id=fields.text("id", ""),
            source=fields.text("source", ""),
            url=fields.text("url", ""),
            published_at=fields.time_or_none("published_at"),
            text=fields.text("text", ""),
            negative_score=fields.number("negative_score", 0.0),
            reposts=fields.whole("reposts", 0),
            toward=fields.text("toward", ""),
            toward_score=fields.number("toward_score", 0.0),
            unknown=fields.rest,
        )


@dataclass(frozen=True, slots=True)
class SourceProfile:
    """Where the posts of an alert come from; shares are in [0, 1] of all posts.

    `distinct_authors` counts the authors, and each post without an author as one more (None: nobody counted).
    `broad` says that no source and no author dominates.
    """

    sources: int = 0
    authors: int = 0
    top_source: str = ""
    top_source_share: float = 0.0
    top_author: str = ""
    top_author_share: float = 0.0
    distinct_authors: int | None = None
    broad: bool = False
    unknown: JsonObject = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        return {
            "sources": self.sources,
            "authors": self.authors,
            "top_source": self.top_source,
            "top_source_share": self.top_source_share,
            "top_author": self.top_author,
            "top_author_share": self.top_author_share,
            **({} if self.distinct_authors is None else {"voices": self.distinct_authors}),
            "broad": self.broad,
            **self.unknown,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> SourceProfile:
        fields = JsonReader(value)
        return cls(
            sources=fields.whole("sources", 0),
            authors=fields.whole("authors", 0),
            top_source=fields.text("top_source", ""),
            top_source_share=fields.number("top_source_share", 0.0),
            top_author=fields.text("top_author", ""),
            top_author_share=fields.number("top_author_share", 0.0),
            distinct_authors=fields.whole_or_none("voices"),
            broad=fields.flag("broad", default=False),
            unknown=fields.rest,
        )


@dataclass(frozen=True, slots=True)
class Series:
    """Posts and negatives of a key in steps of `step_s` seconds; the last step ends at `end` (epoch seconds)."""

    end: int
    step_s: int
    posts: tuple[int, ...]
    negatives: tuple[float, ...]

    def to_json(self) -> JsonObject:
        return {"end": self.end, "step_s": self.step_s, "posts": list(self.posts), "negatives": list(self.negatives)}

    @classmethod
    def from_json(cls, value: JsonObject) -> Series:
        fields = JsonReader(value)
        return cls(fields.whole("end"), fields.whole("step_s"), fields.wholes("posts"), fields.numbers("negatives"))


@dataclass(frozen=True, slots=True)
class LastHour:
    """What was observed in the hour that ends `at`, against what was expected."""

    at: datetime
    observed: int
    posts: int
    expected: float

    def to_json(self) -> JsonObject:
        return {"at": self.at.isoformat(), "observed": self.observed, "posts": self.posts, "expected": self.expected}

    @classmethod
    def from_json(cls, value: JsonObject) -> LastHour:
        fields = JsonReader(value)
        return cls(fields.time("at"), fields.whole("observed"), fields.whole("posts"), fields.number("expected"))
