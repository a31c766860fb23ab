"""Query clauses on posts. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pipeline.domain.counting import NegativeDefinition, Scope


def in_range(start: datetime, end: datetime) -> dict[str, Any]:
    return {"range": {"@timestamp": {"gte": start.isoformat(), "lt": end.isoformat()}}}


def all_of(clauses: list[dict[str, Any]]) -> dict[str, Any]:
    return {"bool": {"filter": clauses}}


def negative(rule: NegativeDefinition) -> dict[str, Any]:
    if not rule.negative:
        return {"match_all": {}}
    labelled = {"terms": {f"labels.{rule.head}": list(rule.negative)}}
    return all_of([labelled, {"range": {"negative_score": {"gte": rule.score_from}}}]) if rule.score_from else labelled


def evidence(scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition) -> dict[str, Any]:
    clauses = [in_range(start, end), {"term": {"repost": False}}, negative(rule)]
    clauses += [{"term": {"topic": scope.topic}}] if scope.topic else []
    clauses += [{"term": {"subjects": scope.subject}}] if scope.subject else []
    clauses += [{"term": {"source": scope.source}}] if scope.source else []
    return all_of(clauses)
