"""What a row asks of the model: its text, and the target or the watched subjects in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from models.files.columns import text_fields
from models.files.targets import COLUMNS, TargetAbsentError, span_of, targeted
from models.json_types import JsonObject
from models.mentions import Mentions
from models.text import full_text
from pipeline.classify.subjects import SubjectMatcher

#: The name of the target of a row among the mentions in its text.
TARGET = "target"


class Question(NamedTuple):
    """A text as the classifier reads it, and the mentions in it that it shall judge."""

    text: str
    mentions: Mentions


@dataclass(frozen=True, slots=True)
class QuestionReader:
    """Reads the text of a row from the column `text_field`, or from a column with a usual name.

    With `matcher`, the mentions are those of the watched subjects; otherwise the row's `target`, `from` and `to` say
    where its target is in the text.
    """

    text_field: str | None
    matcher: SubjectMatcher | None

    def read(self, row: JsonObject) -> Question | None:
        """Returns None for a row without a text; raises `TargetError` if the target is not where the row says."""
        text_column, title_column = text_fields(row, self.text_field)
        if not (text_column or title_column):
            return None
        title, text = (x if x.strip() else "" for x in map(_as_text, (row.get(title_column), row.get(text_column))))
        whole = full_text(title, text)
        if self.matcher is not None:
            return Question(whole, self.matcher.find(whole))
        return Question(whole, _target(row, text, len(whole) - len(text)))


def _target(row: JsonObject, text: str, before: int) -> Mentions:
    """The target of the row in a text that `before` characters precede; empty for a row without a target."""
    if not _asks(row):
        return {}
    try:
        start, end = span_of(row, text)
    except TargetAbsentError:
        return {}
    return {TARGET: [(before + start, before + end)]}


def _asks(row: JsonObject) -> bool:
    """Whether the row has a target: columns `from` and `to` alone may be those of a letter, with addresses in them.

    Where one of the two has a number and the other is blank, the row has a target, and `span_of` names what is missing.
    """
    if row.get(COLUMNS.target) in (None, ""):
        ends = [row[column] for column in (COLUMNS.start, COLUMNS.end) if column in row]
        given = [end for end in ends if end not in (None, "")]
        return len(ends) == 2 and bool(given) and all(map(_is_number, given))
    return targeted(row)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and value.strip().lstrip("-").isdigit())


def _as_text(value: object) -> str:
    """A text, or a number as text, without lone surrogates, which no tokenizer accepts; "" for any other value."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).encode("utf-8", "replace").decode("utf-8")
