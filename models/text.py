"""Text normalisation and the content hash that finds reposts. Pure.

It lies in `models` because three places share it: repost detection in the pipeline, the inference cache,
and the removal of test texts from training data.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

_URL = re.compile(r"(?:https?://|www\.)[^\s\u3000-\u9fff\uff00-\uffef]+", re.IGNORECASE)
_REPOST = re.compile(r"\brt\s+@[\w.-]{1,40}\s*:?|//\s*@[\w.-]{1,40}\s*:?|转发微博|轉發微博", re.IGNORECASE)
_MENTION = re.compile(r"@[\w.-]{1,40}")
_SPACE = re.compile(r"\s+")
_JOINER = "\u200d"


def clean(text: str) -> str:
    """NFC text without control and format characters (line breaks and the emoji joiner stay).

    >>> clean("a\\x00b\\u202ec\\n")
    'abc\\n'
    """
    text = unicodedata.normalize("NFC", text)
    if text.isprintable():
        return text
    return "".join(c for c in text if c in "\n\t" or c == _JOINER or unicodedata.category(c) not in {"Cc", "Cf"})


def normalise(text: str) -> str:
    """The part of a text that a repost keeps: no case, width, spacing, URL, mention or repost marker.

    >>> normalise("RT @bob: Ｈello   World https://t.co/x")
    'hello world'
    >>> normalise("//@小明:手机 爆炸了 http://t.cn/A1")
    '手机 爆炸了'
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = _MENTION.sub(" ", _REPOST.sub(" ", _URL.sub(" ", text)))
    return _SPACE.sub(" ", text).strip(" :：")


def content_hash(text: str) -> str:
    """Hex SHA-256 (first 32 digits) of the normalised text; of the raw text where nothing is left of it.

    >>> content_hash("Hello http://a.b/c") == content_hash("RT @x: hello")
    True
    """
    kept = normalise(text) or text
    return hashlib.sha256(kept.encode("utf-8", "surrogatepass")).hexdigest()[:32]


_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u3400-\u9fff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
)


def language(text: str) -> str:
    """A guess by script for texts that say no language: `latin` where none of the others fills a tenth.

    >>> language("手机 overheats 爆炸"), language("hello")
    ('zh', 'latin')
    """
    for name, script in _SCRIPTS:
        if len(script.findall(text)) * 10 >= max(1, len(text)):
            return name
    return "latin"
