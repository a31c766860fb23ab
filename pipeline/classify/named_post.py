"""A decoded post with the mentions of the watched subjects in it, and the key under which its prediction is cached."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from models.aligned_text import Span
from models.text import normalise
from pipeline.domain.post import Post

#: A private-use character marks each end of the mentions of a subject: this one those of the first.
_FIRST_MARK, _MARKS = 0xF0000, 0xFFFE


class NamedPost(NamedTuple):
    """`mentions` are ranges of `post.full_text` by subject; posts with the same `key` get the same prediction."""

    post: Post
    mentions: Mapping[str, Sequence[Span]]
    key: str


def named(post: Post, mentions: Mapping[str, Sequence[Span]]) -> NamedPost:
    return NamedPost(post, mentions, prediction_key(post.content_hash, post.full_text, mentions))


def prediction_key(content_hash: str, text: str, mentions: Mapping[str, Sequence[Span]]) -> str:
    """The content hash, and the places of the mentions within what `normalise` keeps of the text.

    So a repost shares the prediction of what it repeats, and texts with the same content hash do not share it if they
    mention other subjects or mention them in other places.

    >>> one = prediction_key("", "I left Nova", {"Nova": [(7, 11)]})
    >>> one == prediction_key("", "RT @x: I left NOVA", {"Nova": [(14, 18)]}), one == prediction_key("", "Nova", {})
    (True, False)
    """
    if not mentions:
        return content_hash
    marks = sorted(
        (at, chr(_FIRST_MARK + number % _MARKS))
        for number, spans in enumerate(mentions.values())
        for span in spans
        for at in span
    )
    pieces: list[str] = []
    done = 0
    for at, mark in marks:
        pieces += (text[done:at], mark)
        done = at
    marked = "".join(pieces) + text[done:]
    seen = "\x00".join([*mentions, normalise(marked)])
    return content_hash + hashlib.blake2b(seen.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
