"""A post as it is indexed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.domain.counting import NegativeDefinition, Scope
from pipeline.domain.post import Origin, Post, ScoredPost, Toward, toward_whole_text
from pipeline.domain.toward_keywords import bin_keyword, binned, label_keyword

#: Heads whose class and score also stand in fields of their own.
_MAIN_HEADS = ("topic", "sentiment")


def rounded(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores as the index keeps them."""
    return {head: round(score, 4) for head, score in scores.items()}


def rounded_toward(toward: Mapping[str, Toward]) -> dict[str, Toward]:
    """The sentiment toward each subject as the index keeps it."""
    return {
        subject: t._replace(score=round(t.score, 4), negative_score=round(t.negative_score, 4))
        for subject, t in toward.items()
    }


@dataclass(frozen=True, slots=True)
class PostDocument:
    """A document of the index: a post with its labels, when it was indexed, and what the store found out.

    `repost` is true if another document has the same content and was indexed first. `corrected` is true if people have
    overruled the model. `unknown` holds fields that a newer release wrote; they stay in the document. The index keeps
    scores with four decimals.
    """

    scored: ScoredPost
    ingested_at: datetime
    repost: bool
    corrected: bool = False
    unknown: JsonObject = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The id of the document (`_id`)."""
        return self.scored.post.id

    @property
    def post(self) -> Post:
        return self.scored.post

    @property
    def labels(self) -> Mapping[str, str]:
        """The class of each head."""
        return self.scored.labels

    @property
    def scores(self) -> Mapping[str, float]:
        """Per head, how sure the model was of its class, in [0, 1]; people are certain."""
        return self.scored.scores

    @property
    def topic(self) -> str:
        """The class of the head `topic`; empty if the model has no such head."""
        return self.scored.labels.get("topic", "")

    @property
    def toward(self) -> Mapping[str, Toward]:
        """The sentiment toward each subject, with scores as the index keeps them; empty in a document without it."""
        scored = self.scored
        if not scored.toward:
            return {}
        whole = toward_whole_text(scored.labels, scored.scores, scored.negative_score)
        return rounded_toward({subject: scored.toward.get(subject, whole) for subject in scored.subjects})

    def negative_score(self, scope: Scope, rule: NegativeDefinition) -> float:
        """The negative score for a key: toward its subject where the document has that, else of the whole text."""
        toward = self.scored.toward.get(scope.subject) if rule.counts_toward else None
        return self.scored.negative_score if toward is None else toward.negative_score

    def is_negative(self, scope: Scope, rule: NegativeDefinition) -> bool:
        """Whether the post counts as negative for a key that it belongs to."""
        toward = self.toward.get(scope.subject) if rule.counts_toward else None
        if toward is None:
            return rule.holds(self.labels, round(self.scored.negative_score, 4))
        return rule.holds_toward(toward.label, binned(toward.negative_score))

    @property
    def model(self) -> str:
        """Name and version of the model that labelled the post."""
        return f"{self.scored.model_name} {self.scored.model_version}"

    def to_json(self) -> JsonObject:
        """The body of the document, without its id."""
        post, scored = self.scored.post, self.scored
        labels, scores = scored.labels, rounded(scored.scores)
        return {
            "@timestamp": post.event_time.isoformat(),
            "ingested_at": self.ingested_at.isoformat(),
            "id": post.native_id,
            "source": post.source,
            "kind": post.kind,
            "url": post.url,
            "title": post.title,
            "text": post.text,
            "author": post.author,
            "lang": post.lang,
            "content_hash": post.content_hash,
            "repost": self.repost,
            "time_suspect": post.time_suspect,
            "topic": labels.get("topic", ""),
            "topic_score": scores.get("topic", 0.0),
            "sentiment": labels.get("sentiment", ""),
            "sentiment_score": scores.get("sentiment", 0.0),
            "negative_score": round(scored.negative_score, 4),
            "labels": dict(labels),
            "scores": scores,
            "subjects": list(scored.subjects),
            **self._toward_json(),
            **({"families": list(scored.families)} if scored.families else {}),
            "engagement": {"reposts": post.reposts, "likes": post.likes, "comments": post.comments},
            "model": {"name": scored.model_name, "version": scored.model_version},
            "origin": {"topic": post.origin.topic, "partition": post.origin.partition, "offset": post.origin.offset},
            "corrected": self.corrected,
            "extra": post.extra,
            **self.unknown,
        }

    def _toward_json(self) -> JsonObject:
        """The sentiment toward each subject, and the keywords of it that queries count; nothing without subjects."""
        toward = self.toward
        if not toward:
            return {}
        return {
            "toward": [{"subject": subject, **t._asdict()} for subject, t in toward.items()],
            "toward_labels": [label_keyword(subject, t.label) for subject, t in toward.items()],
            "toward_bins": [bin_keyword(subject, t.label, t.negative_score) for subject, t in toward.items()],
        }

    @classmethod
    def from_json(cls, document_id: str, body: JsonObject) -> PostDocument:
        """Reads the body of a document that this release or an earlier one wrote; raises `ValueError` or `KeyError`.

        Documents of early releases have a score for `topic` and `sentiment` only (docs/adr/0013).
        """
        fields = JsonReader(body)
        labels, sure = fields.texts_by_name("labels"), fields.has("scores")
        scores = fields.numbers_by_name("scores")
        for head in _MAIN_HEADS:
            fields.text(head, "")
            score = fields.number(f"{head}_score", 0.0)
            if not sure and head in labels:
                scores[head] = score
        for derived in ("toward_labels", "toward_bins"):
            fields.texts(derived)
        model = JsonReader(fields.object("model"))
        scored = ScoredPost(
            post=_post(document_id, fields),
            labels=labels,
            scores=scores,
            negative_score=fields.number("negative_score", 0.0),
            subjects=fields.texts("subjects"),
            model_name=model.text("name", ""),
            model_version=model.text("version", ""),
            toward=dict(map(_toward, fields.objects("toward"))),
            families=fields.texts("families"),
        )
        return cls(
            scored,
            ingested_at=fields.time("ingested_at"),
            repost=fields.flag("repost", default=False),
            corrected=fields.flag("corrected", default=False),
            unknown=fields.rest,
        )


def _post(document_id: str, fields: JsonReader) -> Post:
    engagement, origin = JsonReader(fields.object("engagement")), JsonReader(fields.object("origin"))
    return Post(
        id=document_id,
        source=fields.text("source"),
        native_id=fields.text("id", ""),
        kind=fields.text("kind", ""),
        url=fields.text("url", ""),
        title=fields.text("title", ""),
        text=fields.text("text", ""),
        author=fields.text("author", ""),
        lang=fields.text("lang", ""),
        event_time=fields.time("@timestamp"),
        time_suspect=fields.flag("time_suspect", default=False),
        content_hash=fields.text("content_hash", ""),
        reposts=engagement.whole("reposts", 0),
        likes=engagement.whole("likes", 0),
        comments=engagement.whole("comments", 0),
        extra=fields.texts_by_name("extra"),
        origin=Origin(origin.text("topic", ""), origin.whole("partition", 0), origin.whole("offset", 0)),
    )


def _toward(entry: JsonObject) -> tuple[str, Toward]:
    fields = JsonReader(entry)
    return fields.text("subject"), Toward(
        fields.text("label"),
        fields.number("score"),
        fields.number("negative_score"),
        fields.flag("whole_text", default=False),
    )


class RepostedPost(NamedTuple):
    """A document, and how many other documents repost its content."""

    document: PostDocument
    reposts: int
