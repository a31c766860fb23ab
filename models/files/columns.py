"""The names of text and title columns, and the comparison of names. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_APART = re.compile(r"[\s_\-]+")
TEXT = (
    "text", "content", "body", "message", "full_text", "fulltext", "selftext", "caption", "post_text", "tweet",
    "tweet_text", "comment_text", "comment_body", "review_text", "review_body", "review", "sentence", "description",
    "abstract", "snippet", "comment", "document", "utterance", "content_text", "summary", "内容", "正文",
    "文本",
    "全文", "微博正文", "微博内容", "帖子内容", "博文内容", "文章内容", "评论内容", "评论", "內容", "內文",
    "評論內容", "本文", "텍스트",
)  # fmt: skip
TITLE = ("title", "headline", "subject", "post_title", "标题", "题目", "文章标题", "標題", "タイトル", "제목")


def plain(name: str) -> str:
    """The name in lower case and normal width, without spaces, hyphens and underscores.

    >>> plain(" Created_At ") == plain("createdAt") == plain("created-at")
    True
    """
    return _APART.sub("", unicodedata.normalize("NFKC", name).casefold())


_TEXT = tuple(map(plain, TEXT))
_TITLE = tuple(map(plain, TITLE))


def text_fields(columns: Iterable[str], field: str | None = None) -> tuple[str, str]:
    """The columns of text and title, "" for none; `field` names the text column instead of the known names."""
    names = {plain(k): k for k in reversed(list(columns))}
    title = next((names[t] for t in _TITLE if t in names), "")
    if field is not None:
        return names.get(plain(field), ""), title
    return next((names[t] for t in _TEXT if t in names), ""), title
