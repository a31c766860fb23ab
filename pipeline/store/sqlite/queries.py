"""Conditions on posts, each with the arguments of its placeholders. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from pipeline.domain.counting import NegativeDefinition, Scope

Argument = str | float
#: The source of a post, in a query that names the table `p`.
SOURCE = "json_extract(p.document, '$.source')"


class Counted(NamedTuple):
    """Rows of `posts p` to count: what they are joined with, the condition of a negative one with its arguments, and
    its negative score.
    """

    joined: str
    negative: str
    arguments: list[Argument]
    score: str


def whole_texts(rule: NegativeDefinition) -> Counted:
    """A row for each post."""
    return Counted("", *negative(rule), "p.negative_score")


def subjects(rule: NegativeDefinition) -> Counted:
    """A row for each post and subject `s.subject`, judged by the sentiment toward it where the post has that."""
    joined, whole = "JOIN post_subjects s ON s.post = p.rowid", whole_texts(rule)
    if not rule.counts_toward:
        return whole._replace(joined=joined)
    toward, labels = negative_toward(rule)
    return Counted(
        f"{joined} LEFT JOIN post_toward t ON t.post = s.post AND t.subject = s.subject",
        f"iif(t.label IS NULL, {whole.negative}, {toward})",
        [*whole.arguments, *labels],
        f"coalesce(t.bin, {whole.score})",
    )


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


def negative_in(scope: Scope, rule: NegativeDefinition) -> tuple[str, list[Argument]]:
    """Posts that count as negative for a key: toward its subject where the post has that, else by the whole text."""
    whole, of_whole = negative(rule)
    if not (scope.subject and rule.counts_toward):
        return whole, of_whole
    toward, of_toward = negative_toward(rule)
    judged = f"(SELECT {toward} FROM post_toward t WHERE t.post = p.rowid AND t.subject = ?)"  # noqa: S608
    return f"coalesce({judged}, {whole})", [*of_toward, scope.subject, *of_whole]


def score_in(scope: Scope, rule: NegativeDefinition) -> tuple[str, list[Argument]]:
    """The negative score of a post for a key: toward its subject where the post has that, else of the whole text."""
    if not (scope.subject and rule.counts_toward):
        return "negative_score", []
    judged = "(SELECT t.score FROM post_toward t WHERE t.post = p.rowid AND t.subject = ?)"
    return f"coalesce({judged}, negative_score)", [scope.subject]


def negative_toward(rule: NegativeDefinition) -> tuple[str, list[Argument]]:
    """Rows of the table `t` of sentiments toward subjects that count as negative."""
    return f"(t.label IN ({placeholders(rule.negative)}) AND t.bin >= ?)", [*rule.negative, rule.score_from]


def written_out(query: str, arguments: Sequence[Argument]) -> str:
    """The query with its arguments in place of the placeholders, for a person to run.

    >>> written_out("source = ? AND time < ?", ["who's?", 3.0])
    "source = 'who''s?' AND time < 3.0"
    """
    parts = query.split("?")
    values = [str(a) if isinstance(a, float) else "'" + a.replace("'", "''") + "'" for a in arguments]
    return "".join(part + value for part, value in zip(parts, [*values, ""], strict=True))


def placeholders(values: Sequence[str]) -> str:
    """One placeholder per value, for `IN (...)`."""
    return ", ".join("?" * len(values))
