"""Conditions on posts, each with the arguments of its placeholders. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pipeline.domain.counting import NegativeDefinition, Scope

Argument = str | float
#: The source of a post, in a query that names the table `p`.
SOURCE = "json_extract(p.document, '$.source')"


def in_scope(scope: Scope, start: datetime, end: datetime) -> tuple[str, list[Argument]]:
    """Posts of the scope in the range."""
    where = "time >= ? AND time < ?"
    arguments: list[Argument] = [start.timestamp(), end.timestamp()]
    if scope.topic:
        where, arguments = f"{where} AND topic = ?", [*arguments, scope.topic]
    if scope.subject:
        where += " AND EXISTS (SELECT 1 FROM post_subjects s WHERE s.post = p.rowid AND s.subject = ?)"
        arguments.append(scope.subject)
    if scope.source:
        where, arguments = f"{where} AND {SOURCE} = ?", [*arguments, scope.source]
    return where, arguments


def negative(rule: NegativeDefinition) -> tuple[str, list[Argument]]:
    """Posts that count as negative; every post if the definition names no class."""
    if not rule.negative:
        return "1", []
    labelled = f"json_extract(labels, ?) IN ({placeholders(rule.negative)})"
    return f"({labelled} AND negative_score >= ?)", [f'$."{rule.head}"', *rule.negative, rule.score_from]


def placeholders(values: Sequence[str]) -> str:
    """One placeholder per value, for `IN (...)`."""
    return ", ".join("?" * len(values))
