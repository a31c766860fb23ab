"""Query clauses on posts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from models.json_types import JsonObject
from pipeline.domain.counting import NegativeDefinition, Scope
from pipeline.domain.toward_keywords import bin_keyword, bins_from, label_keyword


def in_range(start: datetime, end: datetime) -> JsonObject:
    """Posts with an event time in the range."""
    return {"range": {"@timestamp": {"gte": start.isoformat(), "lt": end.isoformat()}}}


def all_of(clauses: Sequence[JsonObject]) -> JsonObject:
    """Documents that meet every clause."""
    return {"bool": {"filter": clauses}}


def negative(rule: NegativeDefinition) -> JsonObject:
    """Posts that count as negative; every post if the definition names no class."""
    if not rule.negative:
        return {"match_all": {}}
    labelled = {"terms": {f"labels.{rule.head}": list(rule.negative)}}
    return all_of([labelled, {"range": {"negative_score": {"gte": rule.score_from}}}]) if rule.score_from else labelled


def without_toward() -> JsonObject:
    """Posts that an earlier release indexed, without the sentiment toward their subjects."""
    return {"bool": {"must_not": [{"exists": {"field": "toward_bins"}}]}}


def negative_toward(rule: NegativeDefinition, subject: str) -> JsonObject:
    """Posts that count as negative toward a subject; where they lack that, by the whole text."""
    judged: JsonObject = {"terms": {"toward_labels": [label_keyword(subject, label) for label in rule.negative]}}
    if rule.score_from:
        bins = [bin_keyword(subject, label, at) for label in rule.negative for at in bins_from(rule.score_from)]
        judged = {"terms": {"toward_bins": bins}}
    return {"bool": {"should": [judged, all_of([negative(rule), without_toward()])], "minimum_should_match": 1}}


def evidence(scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition) -> JsonObject:
    """Negative posts of the scope in the range, reposts left out."""
    toward = scope.subject and rule.counts_toward
    counted = negative_toward(rule, scope.subject) if toward else negative(rule)
    clauses = [in_range(start, end), {"term": {"repost": False}}, counted]
    clauses += [{"term": {"topic": scope.topic}}] if scope.topic else []
    clauses += [{"term": {"subjects": scope.subject}}] if scope.subject else []
    clauses += [{"term": {"source": scope.source}}] if scope.source else []
    return all_of(clauses)
