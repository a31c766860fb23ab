"""Cleans texts, hashes their content to find reposts, and recognises URLs and handles. Pure.

Three users share the content hash: repost detection in the pipeline, the inference cache, and the removal of test texts
from training data. Every function takes time linear in the length of its text, whatever the text contains.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Literal, NamedTuple

#: Longest name (of a source, an author, a subject) in characters.
MAX_NAME = 200
#: Most combining marks kept per base character, as in the Stream-Safe Text Format (UAX #15): sorting them is quadratic.
MAX_MARKS = 30
#: Most characters per text that NFKC may expand to four or more characters.
MAX_LIGATURES = 1_000
#: Characters that are marks only in their compatibility decomposition.
_MARKS_WHEN_DECOMPOSED = "\u0f73\u0f75\u0f81\uff9e\uff9f"


def character_class(wanted: Callable[[str], object], last: int = 0x1FFFF) -> str:
    """The inside of a regular expression's `[...]` for the characters up to `last` for which `wanted` is true."""
    ranges: list[list[int]] = []
    codes = range(last + 1)
    for code in compress(codes, map(wanted, map(chr, codes))):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{end:08x}" for first, end in ranges)


def any_of(inside: str) -> re.Pattern[str]:
    """A pattern that finds characters of a class quickly: `re` looks up a class in one step within 16 bits only."""
    wide = re.findall(r"\\U000[1-9a-f]\w{4}-\\U\w{8}", inside)
    narrow = inside
    for part in wide:
        narrow = narrow.replace(part, "")
    return re.compile(f"[{narrow}]|(?=[\U00010000-\U0010ffff])[{''.join(wide)}]")


NON_STARTERS = character_class(unicodedata.combining) + _MARKS_WHEN_DECOMPOSED
_BREAKS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
#: Terminal commands, removed as a whole: removing only ESC would leave the rest of a command as text. An unterminated
#: string is not a command, and every kind ends at the next ESC, so that no character is scanned twice.
_COMMANDS = re.compile(
    r"\x1b\[[0-?]*+[ -/]*+[@-~]|\x9b[0-9;?]++[@-~]|\x1b[ -/]++[0-~]|"
    r"\x1b[\]PX^_][^\x07\x1b\x9c\n\r]*+(?:\x07|\x1b\\|\x9c)"
)
_KEPT_CONTROLS = "\n\t\u200d"
_INVISIBLE = re.compile(
    "["
    + character_class(
        lambda c: not c.isprintable() and unicodedata.category(c) in {"Cc", "Cf"} and c not in _KEPT_CONTROLS
    )
    + "\U000e0001-\U000e007f]+"
)
_EMOJI = "\u2190-\u29ff\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_VIRAMAS = character_class(lambda c: unicodedata.combining(c) == 9)
#: Joiners between two emoji or within an Indic cluster, and variation selectors after a character with variants.
_JOINERS = re.compile(f"((?<=[{_EMOJI}\ufe0f])\u200d(?=[{_EMOJI}])|(?<=[{_VIRAMAS}])\u200d(?=\\w))|\u200d")
_LOST_SELECTORS = re.compile(r"(?<![^A-Za-z\s])[\ufe00-\ufe0f\U000e0100-\U000e01ef]+")
_MARKED = any_of(NON_STARTERS + r"\U0000200d-\U0000200d\U0000fe00-\U0000fe0f\U000e0100-\U000e01ef")
_ONE_LINE = re.compile(r"[\n\t]+")


class Substitution(NamedTuple):
    """A step of a normalisation: `pattern.sub(replacement, text)`."""

    pattern: re.Pattern[str]
    replacement: str


#: A step is a substitution or the normal form NFC.
Step = Substitution | Literal["NFC"]
TOO_MANY_MARKS = Substitution(re.compile(f"([{NON_STARTERS}]{{{MAX_MARKS}}})[{NON_STARTERS}]+"), r"\1")
_LONE_JOINERS = Substitution(_JOINERS, r"\1")
_CONTROL_STEPS: tuple[Step, ...] = (
    Substitution(_COMMANDS, ""),
    Substitution(_BREAKS, "\n"),
    Substitution(_INVISIBLE, ""),
)
#: Composing may free one more mark than before, so the limit applies twice. A joiner may follow a selector that was
#: removed, or a mark that was reordered.
_MARK_STEPS: tuple[Step, ...] = (
    Substitution(_LOST_SELECTORS, ""),
    _LONE_JOINERS,
    TOO_MANY_MARKS,
    "NFC",
    TOO_MANY_MARKS,
    _LONE_JOINERS,
)
#: The steps of `clean`, which skips those that cannot change a text.
CLEANING = _CONTROL_STEPS + _MARK_STEPS


def clean(text: str) -> str:
    """NFC text without control characters, format characters and terminal commands.

    It keeps line breaks, tabs and the joiners of emoji.

    >>> clean("a\\x00b\\u202ec\\n"), clean("a\\u2028b\\r\\nc"), clean("no\\u200dva \\U0001f469\\u200d\\U0001f680")
    ('abc\\n', 'a\\nb\\nc', 'nova \U0001f469\u200d\U0001f680')
    """
    if not text.isprintable():
        if "\x1b" in text or "\x9b" in text:
            text = _COMMANDS.sub("", text)
        text = _INVISIBLE.sub("", _BREAKS.sub("\n", text))
    if text.isascii():
        return text
    if not _MARKED.search(text):
        return unicodedata.normalize("NFC", text)
    return _applied(_MARK_STEPS, text)


def clean_line(text: str, limit: int) -> str:
    """The first `limit` characters of `text`, clean and on one line.

    >>> clean_line(" we\\x1b[31mi\\r\\nbo\\u202e ", 20)
    'wei bo'
    """
    return _ONE_LINE.sub(" ", clean(text[: 4 * limit])).strip()[:limit].rstrip()


def clean_url(url: str) -> str:
    """A clean URL with its white space escaped, so that it stays one word wherever it is shown.

    >>> clean_url("http://x/\\x1b[2J\\r\\n a")
    'http://x/%20a'
    """
    return "%20".join(clean(url).split())


def _applied(steps: Sequence[Step], text: str) -> str:
    for step in steps:
        text = unicodedata.normalize(step, text) if isinstance(step, str) else step.pattern.sub(step.replacement, text)
    return text


_LIGATURES = character_class(
    lambda c: unicodedata.decomposition(c)[:1] == "<" and len(unicodedata.normalize("NFKC", c)) > 3
)
_LIGATURE = re.compile(f"[{_LIGATURES}]")
_GROWS = any_of(NON_STARTERS + _LIGATURES)


def compatible(text: str) -> str:
    """NFKC in bounded time and space: a text with too many ligatures keeps them."""
    if text.isascii():
        return text
    if _GROWS.search(text):
        text = _applied([TOO_MANY_MARKS], text)
        if has_too_many_ligatures(text):
            return text
    return unicodedata.normalize("NFKC", text)


def has_too_many_ligatures(text: str) -> bool:
    """Whether NFKC would make the text much longer, so that `compatible` leaves it as it is."""
    return len(_LIGATURE.findall(text)) > MAX_LIGATURES


_URL_CHARACTER = r"[A-Za-z0-9\-._~:/?#@!$&*+,;=%]"
#: A URL ends at the first character that URLs cannot contain, since text may follow it without a space.
URL = rf"(?:https?://|(?<![A-Za-z0-9])www\.)(?:{_URL_CHARACTER}|\({_URL_CHARACTER}*\))+"
#: Latin handles are ASCII and end where another script begins; handles in other scripts must end at a word boundary.
HANDLE = (
    r"(?<![A-Za-z0-9_])[@＠](?:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,39}+(?![A-Za-z0-9_])|[^\W\x00-\x7f][\w-]{0,19}+(?!\w))"
)
#: Closing punctuation belongs to the text around the URL.
_CLOSERS = r"""[)\]}>"'\\^`|».,:;!?\u2010-\u2027\u2030-\u205e！＂＄-＇）-／：-？［-｠]*"""

_URL = re.compile(URL + _CLOSERS, re.IGNORECASE)
_NAME = rf"(?:[@＠][\w.-]{{1,40}}+\s*+[:：]|{HANDLE})"
_REPOST = re.compile(rf"\brt\s++{_NAME}|//\s*+{_NAME}|(?<!\w)(?:转发微博|轉發微博)(?!\w)", re.IGNORECASE)
_MENTION = re.compile(HANDLE)
_SPACE = re.compile(r"\s+")


def normalise(text: str) -> str:
    """The text that reposts have in common: without case, width, spacing, URLs, mentions and repost markers.

    >>> normalise("RT @bob: Ｈello   World https://t.co/x")
    'hello world'
    >>> normalise("//@小明:手机 爆炸了 http://t.cn/A1"), normalise("http://t.cn/A1，Nova坏了")
    ('手机 爆炸了', 'nova坏了')
    """
    return _SPACE.sub(" ", compatible(without_links(text)).casefold()).strip(" :：")


def without_links(text: str) -> str:
    """The text with a space in place of each URL, mention and repost marker.

    >>> without_links("RT @bob: see https://t.co/x")
    '  see  '
    """
    if "://" in text or "www." in text.lower():
        text = _URL.sub(" ", text)
    if "@" in text or "＠" in text or "微博" in text:
        text = _MENTION.sub(" ", _REPOST.sub(" ", text))
    return text


def content_hash(text: str) -> str:
    """The first 32 hex digits of the SHA-256 of the normalised text, or of the raw text where normalising leaves none.

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
    """The language guessed from the script; `latin` where no other script makes up a tenth of the text.

    >>> language("手机 overheats 爆炸"), language("hello")
    ('zh', 'latin')
    """
    for name, script in _SCRIPTS:
        if len(script.findall(text)) * 10 >= max(1, len(text)):
            return name
    return "latin"


def is_text(value: str) -> bool:
    """Whether the string is valid Unicode, that is without lone surrogates."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def full_text(title: str, text: str) -> str:
    """Title and text of a post as the classifier reads them; either may be empty.

    >>> full_text("Recall", "Batteries overheat."), full_text("", "Batteries overheat.")
    ('Recall\\nBatteries overheat.', 'Batteries overheat.')
    """
    return f"{title}\n{text}" if title and text else title or text
