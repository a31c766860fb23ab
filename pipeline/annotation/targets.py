"""Where the text of an annotation names its subject. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.aligned_text import Span
from models.json_types import JsonObject
from pipeline.domain.annotation import Annotation

if TYPE_CHECKING:
    from pipeline.classify.subjects import SubjectMatcher


def mention_of(annotation: Annotation, subjects: SubjectMatcher) -> Span | None:
    """The mention that the annotator marked, else the first that the settings find, else the name of the subject.

    None for a text that names the subject in no such way.
    """
    if annotation.mention is not None:
        return annotation.mention
    if found := subjects.find(annotation.text).get(annotation.subject):
        return found[0]
    at = annotation.text.find(annotation.subject)
    return (at, at + len(annotation.subject)) if at >= 0 else None


def target_fields(annotation: Annotation, subjects: SubjectMatcher) -> JsonObject:
    """The words that name the subject and their place in the text, as training reads them; empty if unknown."""
    mention = mention_of(annotation, subjects)
    if mention is None:
        return {}
    start, end = mention
    return {"target": annotation.text[start:end], "from": start, "to": end}
