"""Normalises texts and keywords for the search for watched subjects. Pure.

Unlike the normalisation that finds reposts (`models.text.normalise`), it removes nothing that a person reads. It maps
variants of the same writing (width, case, quotes, hyphens, spaces, entities, hashtags) to one form.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import cache

from models.aligned_text import AlignedText, Span
from models.text import CLEANING, HANDLE, URL, clean, compatible

#: Replaces URLs and handles, which are not searched. No keyword contains it, so that no match spans it.
GAP = "\x00"
MAX_KEYWORD = 200

#: The number of digits is bounded: a longer number is not a character, and parsing it takes long.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_MAIL_DOMAIN = r"(?<=[A-Za-z0-9_])@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
_HIDDEN = re.compile(rf"{URL}|{HANDLE}|{_MAIL_DOMAIN}", re.IGNORECASE)
_HASHTAG = re.compile(r"[#＃](\w{2,})")
#: Characters that no screen shows: joiners, variation selectors, fillers.
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
        # Turkish has two letters i, and case folding leaves "İ" as two characters and "ı" as another letter.
        **dict.fromkeys("İı", "i"),
    }
)
_BACKTICK = {ord("`"): "'"}
#: White space that `str.split` and `" ".join` shorten.
_SPACES = re.compile(r"\A\s+|\s+\Z|\s{2,}")
_HAN = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, 0x32000))


def searchable(text: str, one_way: Mapping[int, str] | None = None) -> str:
    """Normalises a clean text for the keyword search; `one_way` maps variant characters (see `spellings`).

    Appends the words of hashtags in camel case, once with numbers as separate words and once joined to the word before.

    >>> searchable("Ｎｏｖａ’s #NovaPhoneFire @nova http://nova.com").replace(GAP, "|")
    "nova's #novaphonefire | ||nova phone fire"
    """
    if "&" in text and (entities := _ENTITY.sub(_unescaped, text)) != text:
        text = clean(entities)
    if _may_hide(text):
        text = _HIDDEN.sub(GAP, text)
    if tags := _hashtag_words(text):
        text = GAP.join([text, *tags])
    return _folded(text, one_way)


class SearchableText:
    """What `searchable` makes of a text, with the ranges of the text that its characters come from."""

    def __init__(self, original: str, one_way: Mapping[int, str] | None = None) -> None:
        aligned = AlignedText.of(original)
        if "&" in original and (entities := aligned.replaced(_ENTITY, _unescaped)).text != original:
            aligned = entities.apply(CLEANING)
        if _may_hide(aligned.text):
            aligned = aligned.replaced(_HIDDEN, lambda _: GAP)
        tags = _hashtag_words(aligned.text)
        self._hashtags = [[aligned.span(*span) for span in found] for found in tags.values()]
        self._length = len(original)
        # The words of hashtag number i stand for the position i after the end of the text.
        words = [GAP + words for words in tags]
        at = [self._length + i for i, appended in enumerate(words) for _ in appended]
        aligned = AlignedText(
            aligned.text + "".join(words), aligned.starts + at, aligned.ends + [position + 1 for position in at]
        )
        self._aligned = _folded_aligned(aligned, one_way)

    @property
    def text(self) -> str:
        return self._aligned.text

    def mentions(self, occurrences: Iterable[Span]) -> tuple[Span, ...]:
        """The sorted ranges of the original text for the ranges at which keywords of one subject occur in `text`.

        Of ranges that contain each other, the widest is a mention. The words of a hashtag are a mention of the whole
        hashtag, unless a keyword occurs in the hashtag itself.
        """
        direct: set[Span] = set()
        tags: set[Span] = set()
        for occurrence in occurrences:
            span = self._aligned.span(*occurrence)
            if span[0] < self._length:
                direct.add(span)
            else:
                tags.update(self._hashtags[span[0] - self._length])
        found = _widest(direct)
        starts = [start for start, _ in found]
        for start, end in tags:
            at = bisect_left(starts, start)
            if at == len(found) or found[at][1] > end:
                direct.add((start, end))
        return tuple(_widest(direct))


def keyword_text(keyword: str, one_way: Mapping[int, str] | None = None) -> str:
    """Normalises a keyword as `searchable` normalises texts; raises `ValueError` where no text can contain it."""
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
    """Maps variant characters to one of them: quotes, hyphens, dots within names, and the Turkish letters i.

    With `fold_chinese`, it also maps traditional characters to simplified ones, one to one, by OpenCC.
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


def _folded_aligned(aligned: AlignedText, one_way: Mapping[int, str] | None) -> AlignedText:
    if not aligned.text.isascii():
        aligned = aligned.replaced(_UNSEEN, lambda _: "").translated(one_way or _VARIANTS).compatible()
    aligned = aligned.translated(_BACKTICK).casefolded().replaced(_SPACES, _space_between)
    # The spaces that are left are single, and any of them may be another kind of space.
    return AlignedText(" ".join(aligned.text.split()), aligned.starts, aligned.ends)


def _space_between(spaces: re.Match[str]) -> str:
    return " " if spaces.start() and spaces.end() < len(spaces.string) else ""


def _may_hide(text: str) -> bool:
    """Whether the text may contain a URL or a handle."""
    return "://" in text or "@" in text or "＠" in text or "www." in text.lower()


def _hashtag_words(text: str) -> dict[str, list[Span]]:
    """The words of each hashtag that has several (see `_words`), with the ranges of the hashtags with these words."""
    found: dict[str, list[Span]] = {}
    if "#" in text or "＃" in text:
        for tag in _HASHTAG.finditer(text):
            for words in filter(None, {_words(tag[1]): 1, _words(tag[1], numbers=False): 1}):
                found.setdefault(words, []).append(tag.span())
    return found


def _widest(spans: Iterable[Span]) -> list[Span]:
    """The spans that no other contains, sorted."""
    found: list[Span] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not found or end > found[-1][1]:
            found.append((start, end))
    return found


def _unescaped(entity: re.Match[str]) -> str:
    return html.unescape(entity[0])


def _words(tag: str, *, numbers: bool = True) -> str:
    """The words of a hashtag, or "" where it is a single word. A leading lower-case letter is part of a name (iPhone).

    With `numbers`, a digit starts a new word.

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
