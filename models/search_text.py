"""The text in which watched subjects are looked for, and keywords as they are looked for. Pure.

It is not the text that finds reposts (`models.text.normalise`): nothing is removed that a person reads, and what
people write in several ways (width, case, quotes, hyphens, spaces, entities, hashtags) is written in one.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from functools import cache

from models.text import HANDLE, URL, clean, compatible

#: Stands for what is not searched: URLs and handles. No keyword has it, so that none reaches across.
GAP = "\x00"
MAX_KEYWORD = 200

#: Digits are bounded: a longer number is no character, and reading it takes long.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_MAIL_DOMAIN = r"(?<=[A-Za-z0-9_])@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
_HIDDEN = re.compile(rf"{URL}|{HANDLE}|{_MAIL_DOMAIN}", re.IGNORECASE)
_HASHTAG = re.compile(r"[#＃](\w{2,})")
#: Shown by no screen: joiners, variation selectors, fillers.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\U000e0000-\U000e0fff]+"
)
_VARIANTS: dict[int, str] = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′‵ʹʻʼʽˈ`´＇", "'"),
        **dict.fromkeys("“”„‟″‶«»＂〝〞〟", '"'),
        **dict.fromkeys("‐‑‒–—―−﹘﹣－⁃", "-"),
        **dict.fromkeys("•‧∙⋅・･", "·"),
    }
)
_HAN = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, 0x32000))


def searchable(text: str, one_way: Mapping[int, str] | None = None) -> str:
    """A clean text as keywords are looked for in it; `one_way` writes characters in one way, see `spellings`.

    Hashtags with capitals inside are there as they are, and as words, numbers by themselves and with the word before.

    >>> searchable("Ｎｏｖａ’s #NovaPhoneFire @nova http://nova.com").replace(GAP, "|")
    "nova's #novaphonefire | ||nova phone fire"
    """
    if "&" in text and (entities := _ENTITY.sub(_unescaped, text)) != text:
        text = clean(entities)
    if "://" in text or "@" in text or "＠" in text or "www." in text.lower():
        text = _HIDDEN.sub(GAP, text)
    tags: dict[str, None] = {}
    if "#" in text or "＃" in text:
        for tag in _HASHTAG.findall(text):
            tags.update(dict.fromkeys(filter(None, (_words(tag), _words(tag, numbers=False)))))
    return _folded(f"{text}{GAP}{GAP.join(tags)}" if tags else text, one_way)


def keyword_text(keyword: str, one_way: Mapping[int, str] | None = None) -> str:
    """A keyword as `searchable` has it; raises `ValueError` where it can never be found."""
    text = _folded(_HIDDEN.sub(GAP, clean(_ENTITY.sub(_unescaped, keyword))), one_way).strip()
    if len(keyword) > MAX_KEYWORD:
        raise ValueError(f"keyword {keyword[:20]!r}... has {len(keyword)} characters; the limit is {MAX_KEYWORD}")
    if not text:
        raise ValueError(f"keyword {keyword!r} has no visible character")
    if GAP in text:
        raise ValueError(f"keyword {keyword!r} contains a URL or a handle, and those are not searched")
    return text


@cache
def spellings(*, fold_chinese: bool) -> Mapping[int, str]:
    """What is written in several ways -> one of them: quotes, hyphens and dots in the middle of names.

    With `fold_chinese` also traditional characters -> their simplified form, as OpenCC has them, one for one.
    """
    if not fold_chinese:
        return _VARIANTS
    import opencc

    characters = [chr(code) for first, end in _HAN for code in range(first, end)]
    folded = opencc.OpenCC("t2s").convert("\n".join(characters)).split("\n")
    return {ord(c): f for c, f in zip(characters, folded, strict=True) if f != c and len(f) == 1} | _VARIANTS


def _folded(text: str, one_way: Mapping[int, str] | None) -> str:
    if not text.isascii():
        text = compatible(_UNSEEN.sub("", text).translate(one_way or _VARIANTS))
    return " ".join(text.replace("`", "'").casefold().split())


def _unescaped(entity: re.Match[str]) -> str:
    return html.unescape(entity[0])


def _words(tag: str, *, numbers: bool = True) -> str:
    """The words of a hashtag, "" where it is a single one. A small letter in front belongs to a name (iPhone).

    With `numbers`, what begins with a digit is a word of its own.

    >>> _words("NovaPhoneFire2026"), _words("HTTPServer_down"), _words("iPhone15"), _words("nova")
    ('Nova Phone Fire 2026', 'HTTP Server down', 'iPhone 15', '')
    >>> _words("iPhone15Fire", numbers=False), _words("iPhone15", numbers=False)
    ('iPhone15 Fire', '')
    """
    words, began = [], 0
    for at in range(1, len(tag)):
        left, right = tag[at - 1], tag[at]
        if (
            (right.isupper() and at > 1 and (left.islower() or left.isdigit()))
            or (left.isupper() and right.isupper() and at + 1 < len(tag) and tag[at + 1].islower())
            or (numbers and right.isdigit() and left.isalpha())
            or "_" in {left, right}
        ):
            words.append(tag[began:at])
            began = at
    return " ".join(w for w in [*words, tag[began:]] if w != "_") if words else ""
