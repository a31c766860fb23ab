"""Texts and keywords through the subject search and the key of reposts."""

from __future__ import annotations

from hypothesis import strategies as st

from models.text import clean, content_hash
from pipeline.classify.subjects import SubjectMatcher
from tests.fuzz.texts import TEXTS

INPUTS = st.tuples(TEXTS, TEXTS).map(lambda pair: "\x1e".join(pair).encode("utf-8", "surrogatepass"))


def run(data: bytes) -> None:
    """The part before the first U+001E is a keyword, the rest a text."""
    keyword, _, text = data.decode("utf-8", "replace").partition("\x1e")
    cleaned = clean(text)
    assert clean(cleaned) == cleaned, "cleaning twice changes nothing"
    assert len(content_hash(cleaned)) == 32
    try:
        matcher = SubjectMatcher({"Nova": ["nova"], "keyword": [keyword]})
    except ValueError:
        matcher = SubjectMatcher({"Nova": ["nova"]})
    assert "Nova" in matcher.find(f"{cleaned}\n nova")
