"""The posts behind an alert, and what they have in common. Blocking: it reads the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from models.text import MAX_NAME, clean_line, clean_url
from pipeline.alerting.alerts.evidence_choice import choose, excerpt
from pipeline.alerting.alerts.loudest import loudest_voices
from pipeline.alerting.alerts.terms import distinctive, source_profile
from pipeline.domain.alert import VOLUME, Alert
from pipeline.domain.alert_evidence import EvidencePost, SourceProfile
from pipeline.domain.alert_voices import LoudestVoices
from pipeline.domain.counting import NegativeDefinition, Scope
from pipeline.domain.post import Toward
from pipeline.domain.post_document import RepostedPost
from pipeline.store.protocol import PostStore

#: Posts that an alert shows.
SHOWN = 5
#: Posts from which terms, sources and authors are counted and the posts shown are chosen.
EXPLAINED = 300


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the index says about an alert: its posts, the query that counts them, and the model that labelled them."""

    posts: tuple[EvidencePost, ...] = ()
    query: str = ""
    model: str = ""
    terms: tuple[str, ...] = ()
    source_profile: SourceProfile | None = None
    loudest_voices: LoudestVoices | None = None


class EvidenceReader:
    """Reads the posts of a scope and lane from `start` to `end`; every method raises what the store raises."""

    def __init__(self, store: PostStore, counting: NegativeDefinition) -> None:
        self._store, self._counting = store, counting

    def read(self, scope: Scope, lane: str, start: datetime, end: datetime) -> Evidence:
        """The evidence of a new event."""
        rule = self._definition(lane)
        posts = self._store.evidence(scope, start, end, rule, EXPLAINED)
        terms, profile = self._profile(scope, lane, start, posts)
        return Evidence(
            posts=tuple(_evidence_post(post, scope.subject, terms) for post in choose(posts, terms, SHOWN)),
            query=self._store.evidence_query(scope, start, end, rule),
            model=posts[0].document.model if posts else "",
            terms=terms,
            source_profile=profile,
            loudest_voices=self._loudest_voices(scope, start, end),
        )

    def reread(self, alert: Alert, end: datetime) -> Alert:
        """The alert with the terms and the sources of its posts up to `end`: others may have joined since it opened."""
        rule = self._definition(alert.lane)
        posts = self._store.evidence(alert.scope, alert.started_at, end, rule, EXPLAINED)
        terms, profile = self._profile(alert.scope, alert.lane, alert.started_at, posts)
        return replace(alert, terms=terms, source_profile=profile)

    def distinct_authors(self, scope: Scope, lane: str, start: datetime, end: datetime) -> int:
        """How many authors wrote the `EXPLAINED` strongest posts; a post without an author counts as one more."""
        posts = self._store.evidence(scope, start, end, self._definition(lane), EXPLAINED)
        return source_profile([each.document.post for each in posts]).distinct_authors or 0

    def _profile(
        self, scope: Scope, lane: str, start: datetime, found: Sequence[RepostedPost]
    ) -> tuple[tuple[str, ...], SourceProfile]:
        """The terms that set the posts apart from those of the week before, and where the posts come from."""
        week = self._store.evidence(scope, start - timedelta(days=7), start, self._definition(lane), EXPLAINED)
        posts, before = ([each.document.post for each in part] for part in (found, week))
        terms = distinctive((post.full_text for post in posts), (post.full_text for post in before))
        return tuple(terms), source_profile(posts)

    def _loudest_voices(self, scope: Scope, start: datetime, end: datetime) -> LoudestVoices | None:
        """The voices with as many posts of the key as the rule counts of one voice, and the counts without them."""
        rule = self._counting
        least = max(2, rule.posts_per_voice)
        posts = self._store.loud_voices(start, end, rule, least - 1)
        return loudest_voices(scope, self._store.counts(start, end, rule), posts, least) if posts else None

    def _definition(self, lane: str) -> NegativeDefinition:
        """In the volume lane every post is evidence."""
        return replace(self._counting, negative=()) if lane == VOLUME else self._counting


def _evidence_post(found: RepostedPost, subject: str, terms: Sequence[str]) -> EvidencePost:
    # An older release, which cleaned less, may have indexed the post.
    post = found.document.post
    toward = found.document.toward.get(subject)
    if toward is None or toward.whole_text:
        toward = Toward("", 0.0, 0.0)
    return EvidencePost(
        id=post.id,
        source=clean_line(post.source, MAX_NAME),
        url=clean_url(post.url),
        published_at=post.event_time,
        text=excerpt(post.title, post.text, terms),
        negative_score=found.document.scored.negative_score,
        reposts=found.reposts,
        toward=toward.label,
        toward_score=toward.negative_score,
    )
