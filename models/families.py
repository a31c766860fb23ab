"""Families of near-copies: texts that differ in a word or in a few characters have a value in common. Pure.

MinHash (Broder 1997, "On the resemblance and containment of documents") over the words of the normalised text; a
character of a script without spaces is a word of its own. The words fall into three parts by their hash, and the value
of a part is made of its `_LEAST_HASHES` words with the least hashes. A word that replaces another changes two parts at
most, so the third keeps its value.
"""

from __future__ import annotations

import re
from zlib import crc32

from models.text import normalise

#: A word as UTF-8: one Han character, kana or Hangul syllable, or a run of letters and digits of another script.
_WORD = re.compile(
    rb"\xe3[\x81-\xbf][\x80-\xbf]|[\xe4-\xed][\x80-\xbf]{2}"
    rb"|(?:[0-9a-z]|[\xc3-\xdf][\x80-\xbf]|[\xe0\xe1][\x80-\xbf]{2})+"
)
#: Bytes of a text that are read.
_READ = 4000
_PARTS, _LEAST_HASHES = 3, 4
#: A part whose words have fewer bytes says too little: unrelated short texts would share it.
_LEAST_BYTES = 6


def families(text: str) -> tuple[str, ...]:
    """At most three values; none for a text without words.

    A short text in which no part says enough has one value, made of all its words.

    >>> len(families("My Nova phone caught fire while charging and burned the table"))
    3
    >>> one, other = "诺瓦手机充电时起火，桌子烧坏了", "诺瓦手机充电时冒火，桌子烧坏了"
    >>> bool(set(families(one)) & set(families(other)))
    True
    """
    words = sorted(set(_WORD.findall(normalise(text).encode("utf-8", "surrogatepass")[:_READ])), key=crc32)
    parts: list[list[bytes]] = [[] for _ in range(_PARTS)]
    for word in words:
        part = parts[crc32(word) % _PARTS]
        if len(part) < _LEAST_HASHES:
            part.append(word)
    joined = [b"".join(part) for part in parts]
    values = [f"{crc32(part):08x}{number}" for number, part in enumerate(joined) if len(part) >= _LEAST_BYTES]
    if not values and words:
        values = [f"{crc32(b''.join(words)):08x}{_PARTS}"]
    return tuple(values)
