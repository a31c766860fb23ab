"""Reads RSS, RDF, Atom and JSON feeds into rows named as the contract names fields. Pure: no network.

feedparser only gets a stream of UTF-8 without a DOCTYPE, so it can neither open a path or an address nor expand an
entity. A feed that is not XML is repaired as feed readers do, and then read item by item, so that a broken item affects
no other.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import feedparser

from models.files.encodings import FileError
from models.files.rows import BadRow, Row
from models.json_types import Json, JsonObject
from pipeline.ingest.feed_text import FORBIDDEN, ROOT, decoded, repaired, xml_flaw
from pipeline.ingest.json_feed import read_json_feed
from pipeline.ingest.markup import reader_text

#: The most bytes of a feed, and the most characters of an item that is not XML.
MAX_FEED, MAX_BROKEN = 64 << 20, 200_000
#: Items that are parsed together, and the most items that are not XML, since each of these needs its own parser.
_AT_ONCE, _MOST_BROKEN = 200, 250
_XML = re.compile(r"<\?xml\b[^>]*>", re.IGNORECASE)
_DOCTYPE = re.compile(r"<!DOCTYPE[^\[<>]*+(?:\[.*?\]\s*)?>", re.IGNORECASE | re.DOTALL)
_ITEM = re.compile(r"<((?:[\w-]+:)?(?:item|entry))(?=[\s>])[^<>]*>", re.IGNORECASE)
_OPENED = re.compile(r"<([\w:.-]+)[^<>]*>")
_HOLDS = re.compile(r">\s*[^<\s]|<!\[CDATA\[|\shref\s*=")
_MAILBOX = re.compile(r"\S+\s+\(([^()]+)\)?")


def is_json_feed(head: bytes) -> bool:
    """Whether a file that begins like this is a JSON Feed."""
    head = head[:8192].replace(b"\x00", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    return head.startswith(b"{") and b"jsonfeed.org/version" in head[:4096]


def is_markup(head: bytes) -> bool:
    """Whether a file begins as XML does, in any encoding."""
    return head.replace(b"\x00", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"<")


def read_feed(data: bytes, name: str, encoding: str | None = None) -> tuple[str, Iterator[Row | BadRow]]:
    """Returns the feed's title ("" if it has none) and its items; raises `FileError`."""
    if len(data) > MAX_FEED:
        raise FileError(f"{name}: the feed has over {MAX_FEED >> 20} MiB", "split it")
    if is_json_feed(data[:8192]):
        return read_json_feed(data, name, encoding)
    text = FORBIDDEN.sub("", decoded(data, name, encoding))
    root = ROOT.search(text)
    if root is None:
        what = "an HTML page, not a feed" if "<html" in text[:5000].lower() else "not an RSS, Atom or JSON feed"
        raise FileError(f"{name}: is {what}", "download the feed itself")
    first = _ITEM.search(text)
    skipped = text[: root.start()]
    # The text is decoded, and entities are repaired below, so declaration and DOCTYPE are no longer needed.
    head = _DOCTYPE.sub("", _XML.sub("", text[root.start() : first.start() if first else len(text)]))
    text = head + (text[first.start() :] if first else "")
    line = 1 + skipped.count("\n")
    if xml_flaw(text) is not None:
        text = repaired(text)
    parsed = _parsed(text) if xml_flaw(text) is None else None
    if parsed is not None:
        return parsed.title, _rows(parsed, text, line)
    closed = _parsed(_closed(head))
    return closed.title if closed else "", _by_item(text, line)


@dataclass(frozen=True, slots=True)
class _Feed:
    """What feedparser found: the title, and the items as it gives them; `atom` feeds say the type of each text."""

    title: str
    atom: bool
    entries: Sequence[JsonObject]


def _parsed(text: str) -> _Feed | None:
    try:
        found = feedparser.parse(io.BytesIO(text.encode("utf-8")), sanitize_html=False, resolve_relative_uris=False)
    except Exception:  # a hostile feed may make the library raise anything; only this text is lost
        return None
    title = reader_text(str(dict(found.get("feed") or {}).get("title") or ""))[:200]
    return _Feed(title, str(found.get("version", "")).startswith("atom"), [dict(entry) for entry in found["entries"]])


def _rows(parsed: _Feed, text: str, first_line: int) -> Iterator[Row | BadRow]:
    places = [m.start() for m in _ITEM.finditer(text)]
    line, seen = first_line, 0
    for number, entry in enumerate(parsed.entries):
        if len(places) == len(parsed.entries):
            line += text.count("\n", seen, places[number])
            seen = places[number]
        yield Row(line, _post(entry, atom=parsed.atom))


def _by_item(text: str, first_line: int) -> Iterator[Row | BadRow]:
    root = found[0] if (found := ROOT.search(text)) else "<rss>"
    good: list[tuple[int, str]] = []
    broken = 0
    for line, piece in _pieces(text, first_line):
        if _HOLDS.search(piece) is None:
            yield BadRow(line, "the item is empty")
            continue
        flaw = xml_flaw(_closed(root + piece))
        if flaw is None:
            good.append((line, piece))
            if len(good) < _AT_ONCE:
                continue
        yield from _posts(root, good)
        good.clear()
        if flaw is None:
            continue
        broken += 1
        post: dict[str, str] = {}
        if len(piece) <= MAX_BROKEN and broken <= _MOST_BROKEN:
            post = next(iter(_read_posts(root, piece)), {})
        yield Row(line, post) if post else BadRow(line, f"the item cannot be read ({flaw.partition(':')[0]})")
    yield from _posts(root, good)


def _pieces(text: str, line: int) -> Iterator[tuple[int, str]]:
    """Line and text of each item, closed where it is not."""
    starts = list(_ITEM.finditer(text))
    seen = 0
    for item, following in zip_longest(starts, starts[1:]):
        line += text.count("\n", seen, item.start())
        seen = item.start()
        piece = text[item.start() : following.start() if following else len(text)]
        closing = f"</{item[1]}>"
        end = piece.find(closing)
        yield line, _with_its_cdata(piece[:end] if end >= 0 else piece) + closing


def _with_its_cdata(piece: str) -> str:
    """The piece, its last CDATA section closed at the end of the element that holds it where nothing closes it."""
    at = piece.rfind("<![CDATA[")
    if at < 0 or "]]>" in piece[at:]:
        return piece
    holder = _OPENED.match(piece, max(0, piece.rfind("<", 0, at)))
    closing = f"</{holder[1]}>" if holder else ""
    end = piece.find(closing, at) if closing else -1
    return f"{piece[:end]}]]>{piece[end:]}" if end >= 0 else f"{piece}]]>{closing}"


def _posts(root: str, pieces: list[tuple[int, str]]) -> Iterator[Row | BadRow]:
    """Items that are XML each, read together."""
    posts = _read_posts(root, "".join(piece for _, piece in pieces))
    if len(posts) != len(pieces):
        posts = [next(iter(_read_posts(root, piece)), {}) for _, piece in pieces]
    for (line, _), post in zip(pieces, posts, strict=True):
        yield Row(line, post) if post else BadRow(line, "the item is empty")


def _read_posts(root: str, pieces: str) -> list[dict[str, str]]:
    parsed = _parsed(_closed(root + pieces)) if pieces else None
    if parsed is None:
        return []
    return [_post(entry, atom=parsed.atom) for entry in parsed.entries]


def _closed(text: str) -> str:
    root = ROOT.search(text)
    if root is None:
        return text
    name = root[0][1:].split()[0].rstrip("/>")
    inner = text[root.end() :]
    if name.lower() == "rss":
        return f"{root[0]}<channel>{inner.replace('<channel>', '')}</channel></{name}>"
    return f"{root[0]}{inner}</{name}>"


def _post(entry: JsonObject, *, atom: bool) -> dict[str, str]:
    """Returns the fields of an item of feedparser, under the contract's names."""
    texts = [_shown(x, atom=atom) for x in [*_list(entry.get("content")), entry.get("summary_detail")]]
    texts.append(reader_text(str(entry.get("summary") or "")) if "summary_detail" not in entry else "")
    authors = [str(a.get("name") or "") for a in _objects(entry.get("authors"))] or [str(entry.get("author") or "")]
    post = {
        "id": str(entry.get("id") or ""),
        "url": _link(entry),
        "title": " ".join(_shown(entry.get("title_detail"), atom=atom).split()),
        # A summary is shorter than the text, and a picture's caption is shorter than the summary.
        "text": max(texts, key=len),
        "author": ", ".join(filter(None, map(_person, authors))),
        "published_at": next((str(entry[k]) for k in ("published", "created", "updated") if k in entry), ""),
        "comments": str(entry.get("slash_comments") or ""),
    }
    return {k: v for k, v in post.items() if v}


def _shown(detail: Json, *, atom: bool) -> str:
    if not isinstance(detail, dict):
        return ""
    value = str(detail.get("value") or "")
    return value.strip() if atom and detail.get("type") == "text/plain" else reader_text(value)


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _objects(value: Json) -> list[JsonObject]:
    """Returns plain objects: those of feedparser look for a missing name under other names."""
    return [dict(each) for each in _list(value) if isinstance(each, dict)]


def _link(entry: JsonObject) -> str:
    """Returns the page of an item: its alternate link, else any other link, else an id that is an address."""
    links = _objects(entry.get("links"))
    pages = [str(x.get("href") or "") for x in sorted(links, key=lambda x: x.get("rel") != "alternate")]
    return next((x for x in [*pages, str(entry.get("link") or ""), str(entry.get("id") or "")] if "://" in x), "")


def _person(name: str) -> str:
    """Returns the name of an author, also from `mail@host (Name)`, which feedparser truncates at long endings."""
    found = _MAILBOX.fullmatch(name.strip()[:500])
    return " ".join((found[1] if found else reader_text(name)).split())
