"""Query clauses on posts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from models.json_types import JsonObject
from pipeline.domain.counting import NegativeDefinition, Scope


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


def evidence(scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition) -> JsonObject:
    """Negative posts of the scope in the range, reposts left out."""
    clauses = [in_range(start, end), {"term": {"repost": False}}, negative(rule)]
    clauses += [{"term": {"topic": scope.topic}}] if scope.topic else []
    clauses += [{"term": {"subjects": scope.subject}}] if scope.subject else []
    clauses += [{"term": {"source": scope.source}}] if scope.source else []
    return all_of(clauses)
