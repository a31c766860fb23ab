"""RSS, RDF, Atom and JSON feeds -> rows named as the contract names fields. Pure: bytes in, no network.

feedparser gets nothing but a document without a DOCTYPE, in UTF-8, as a stream: it can neither open a path or an
address nor expand an entity. A feed that is no XML is mended as readers do it, and then read item by item, so that a
broken item costs no other.
"""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

import feedparser
from defusedxml.ElementTree import ParseError, fromstring

from models.files.encodings import MULTIBYTE, SAMPLE, FileError, detected, known, side_by_side
from models.files.rows import BadRow, Row
from pipeline.ingest.markup import reader_text

#: Bytes of a feed, and characters of an item that is no XML.
MAX_FEED, MAX_BROKEN = 64 << 20, 200_000
#: Items read together, and those that are no XML that a feed may have: each of them takes a parser of its own.
_AT_ONCE, _MOST_BROKEN = 200, 250
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{1,40})["']""")
_XML = re.compile(r"<\?xml\b[^>]*>", re.IGNORECASE)
_DOCTYPE = re.compile(r"<!DOCTYPE[^\[<>]*+(?:\[.*?\]\s*)?>", re.IGNORECASE | re.DOTALL)
_ROOT = re.compile(r"<(?:[\w-]+:)?(rss|feed|rdf|channel)\b[^<>]*>", re.IGNORECASE)
_ITEM = re.compile(r"<((?:[\w-]+:)?(?:item|entry))(?=[\s>])[^<>]*>", re.IGNORECASE)
_OPENED = re.compile(r"<([\w:.-]+)[^<>]*>")
_HOLDS = re.compile(r">\s*[^<\s]|<!\[CDATA\[|\shref\s*=")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REFERENCE = re.compile(r"&(?:(#\d{1,8}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)?")
_PREFIX = re.compile(r"</?([A-Za-z_][\w.-]*):[A-Za-z_]")
_BOUND = re.compile(r"""\sxmlns:([\w.-]+)\s*=""")
_MAILBOX = re.compile(r"\S+\s+\(([^()]+)\)?")
_OWN = frozenset({"lt", "gt", "amp", "quot", "apos"})
_NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/", "content": "http://purl.org/rss/1.0/modules/content/",
    "media": "http://search.yahoo.com/mrss/", "itunes": "http://www.itunes.com/dtds/podcast-1.0.dtd",
    "atom": "http://www.w3.org/2005/Atom", "slash": "http://purl.org/rss/1.0/modules/slash/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "xhtml": "http://www.w3.org/1999/xhtml",
}  # fmt: skip


def is_json_feed(head: bytes) -> bool:
    """Whether a file that begins like this is a JSON Feed."""
    head = head[:8192].replace(b"\x00", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    return head.startswith(b"{") and b"jsonfeed.org/version" in head[:4096]


def is_markup(head: bytes) -> bool:
    """Whether a file begins as XML does, in any encoding."""
    return head.replace(b"\x00", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"<")


def read_feed(data: bytes, name: str, encoding: str | None = None) -> tuple[str, Iterator[Row | BadRow]]:
    """The feed's title (empty where it has none) and its items. Raises `FileError`."""
    if len(data) > MAX_FEED:
        raise FileError(f"{name}: a feed of over {MAX_FEED >> 20} MiB", "split it")
    if is_json_feed(data[:8192]):
        return _json_feed(data, name, encoding)
    text = _FORBIDDEN.sub("", _decoded(data, name, encoding))
    root = _ROOT.search(text)
    if root is None:
        what = "an HTML page, no feed" if "<html" in text[:5000].lower() else "no RSS, Atom or JSON feed"
        raise FileError(f"{name}: is {what}", "give the address of the feed to what downloads it")
    first = _ITEM.search(text)
    skipped = text[: root.start()]
    # Neither declaration nor DOCTYPE is wanted any more: the text is decoded, and entities are mended below.
    head = _DOCTYPE.sub("", _XML.sub("", text[root.start() : first.start() if first else len(text)]))
    text = head + (text[first.start() :] if first else "")
    line = 1 + skipped.count("\n")
    if _flaw(text) is not None:
        text = _mended(text)
    parsed = _parsed(text) if _flaw(text) is None else None
    if parsed is not None:
        return _title(parsed), _rows(parsed, text, line)
    return _title(_parsed(_closed(head)) or {}), _by_item(text, line)


def _decoded(data: bytes, name: str, encoding: str | None) -> str:
    """By what was asked for, the mark, the declaration where it can be true, or a guess."""
    if encoding is not None:
        found = known(encoding)
        if found is None:
            raise FileError(f"{name}: the encoding {encoding!r} is not known", "name one that Python has, e.g. gb18030")
        return data.decode(found, "replace")
    said = _DECLARED.match(data)
    declared = known(said[1].decode("ascii")) if said else None
    if not data.startswith(_BOMS) and b"\x00" not in data[:4]:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            # What reads as UTF-8 is UTF-8, whatever it says; two characters of a Chinese encoding may look like it.
            if sum(c > "\x7f" for c in text) > (3 if declared in MULTIBYTE else 0):
                return text
        if declared and not declared.startswith(("utf-16", "utf-32")):
            text = data.decode(declared, "replace")
            # Nothing is wrong in Latin-1, and its letters beyond ASCII seldom stand side by side.
            wrong = (
                side_by_side(text)
                if declared == "cp1252"
                else text.count("\ufffd") * 20 > sum(map("\x7f".__lt__, text))
            )
            if not wrong:
                return text
    return data.decode(detected(data[:SAMPLE]), "replace")


def _flaw(text: str) -> str | None:
    """Why a document is no XML; None where it is."""
    try:
        fromstring(text.encode("utf-8"))
    except ParseError as error:
        return str(error)
    except Exception as error:  # the guards of defusedxml, and what else a parser finds wrong
        return type(error).__name__
    return None


def _mended(text: str) -> str:
    """HTML's entities as characters, an & alone as text, prefixes bound; what is in CDATA stays."""
    plain, *rest = text.split("<![CDATA[")
    parts = [_REFERENCE.sub(_reference, plain)]
    for piece in rest:
        inside, end, after = piece.partition("]]>")
        parts += ["<![CDATA[", inside, end, _REFERENCE.sub(_reference, after)]
    text = "".join(parts)
    unbound = set(_PREFIX.findall(text)) - set(_BOUND.findall(text)) - {"xml"}
    if unbound and (root := _ROOT.search(text)):
        bound = "".join(f' xmlns:{p}="{_NAMESPACES.get(p, f"urn:{p}")}"' for p in sorted(unbound))
        at = root.end() - (2 if root[0].endswith("/>") else 1)
        text = text[:at] + bound + text[at:]
    return text


def _reference(found: re.Match[str]) -> str:
    name = found[1]
    if name is None:
        return "&amp;"
    if name in _OWN:
        return found[0]
    shown = html.unescape(found[0])
    return html.escape(_FORBIDDEN.sub("", shown)) if shown != found[0] else "&amp;" + found[0][1:]


def _parsed(text: str) -> Mapping[str, Any] | None:
    try:
        found = feedparser.parse(io.BytesIO(text.encode("utf-8")), sanitize_html=False, resolve_relative_uris=False)
    except Exception:  # whatever a hostile feed makes the library raise costs this text alone
        return None
    return dict(found)


def _title(parsed: Mapping[str, Any]) -> str:
    return reader_text(str(dict(parsed.get("feed") or {}).get("title") or ""))[:200]


def _rows(parsed: Mapping[str, Any], text: str, first_line: int) -> Iterator[Row | BadRow]:
    places = [m.start() for m in _ITEM.finditer(text)]
    plain = str(parsed.get("version", "")).startswith("atom")
    line, seen = first_line, 0
    for number, entry in enumerate(parsed["entries"]):
        if len(places) == len(parsed["entries"]):
            line += text.count("\n", seen, places[number])
            seen = places[number]
        yield Row(line, _post(dict(entry), atom=plain))


def _by_item(text: str, first_line: int) -> Iterator[Row | BadRow]:
    root = found[0] if (found := _ROOT.search(text)) else "<rss>"
    good: list[tuple[int, str]] = []
    broken = 0
    for line, piece in _pieces(text, first_line):
        if _HOLDS.search(piece) is None:
            yield BadRow(line, "the item is empty")
            continue
        flaw = _flaw(_closed(root + piece))
        if flaw is None:
            good.append((line, piece))
            if len(good) < _AT_ONCE:
                continue
        yield from _posts(root, good)
        good.clear()
        if flaw is None:
            continue
        broken += 1
        post = {}
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


def _read_posts(root: str, pieces: str) -> list[dict[str, Any]]:
    parsed = _parsed(_closed(root + pieces)) if pieces else None
    if parsed is None:
        return []
    atom = str(parsed.get("version", "")).startswith("atom")
    return [_post(dict(e), atom=atom) for e in parsed["entries"]]


def _closed(text: str) -> str:
    root = _ROOT.search(text)
    if root is None:
        return text
    name = root[0][1:].split()[0].rstrip("/>")
    inner = text[root.end() :]
    if name.lower() == "rss":
        return f"{root[0]}<channel>{inner.replace('<channel>', '')}</channel></{name}>"
    return f"{root[0]}{inner}</{name}>"


def _post(entry: Mapping[str, Any], *, atom: bool) -> dict[str, Any]:
    """One item of feedparser's under the contract's names, those that it has."""
    texts = [_shown(x, atom=atom) for x in [*_list(entry.get("content")), entry.get("summary_detail")]]
    texts.append(reader_text(str(entry.get("summary") or "")) if "summary_detail" not in entry else "")
    authors = [str(dict(a).get("name") or "") for a in _list(entry.get("authors"))] or [str(entry.get("author") or "")]
    post = {
        "id": str(entry.get("id") or ""),
        "url": _link(entry),
        "title": " ".join(_shown(entry.get("title_detail"), atom=atom).split()),
        # A summary is shorter than the text, the caption of a picture than the summary.
        "text": max(texts, key=len),
        "author": ", ".join(filter(None, map(_person, authors))),
        "published_at": next((str(entry[k]) for k in ("published", "created", "updated") if k in entry), ""),
        "comments": str(entry.get("slash_comments") or ""),
    }
    return {k: v for k, v in post.items() if v}


def _shown(detail: Any, *, atom: bool) -> str:
    if not isinstance(detail, dict):
        return ""
    value = str(detail.get("value") or "")
    return value.strip() if atom and detail.get("type") == "text/plain" else reader_text(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _link(entry: Mapping[str, Any]) -> str:
    """The page of an item: its alternate link, else any that it has, else an id that is an address."""
    links = [dict(x) for x in _list(entry.get("links"))]
    pages = [str(x.get("href") or "") for x in sorted(links, key=lambda x: x.get("rel") != "alternate")]
    return next((x for x in [*pages, str(entry.get("link") or ""), str(entry.get("id") or "")] if "://" in x), "")


def _person(name: str) -> str:
    """The name in what stands for an author: of `mail@host (Name)`, which feedparser cuts at long endings, the name."""
    found = _MAILBOX.fullmatch(name.strip()[:500])
    return " ".join((found[1] if found else reader_text(name)).split())


def _json_feed(data: bytes, name: str, encoding: str | None) -> tuple[str, Iterator[Row | BadRow]]:
    try:
        feed = json.loads(_decoded(data, name, encoding).lstrip("\ufeff"))
        items = feed["items"]
    except (ValueError, RecursionError, KeyError) as error:
        raise FileError(f"{name}: is no JSON Feed ({type(error).__name__})", "give a feed with 'items'") from None
    return reader_text(str(feed.get("title") or ""))[:200], (_of_json(n, x) for n, x in enumerate(_list(items), 1))


def _of_json(number: int, item: Any) -> Row | BadRow:
    if not isinstance(item, dict):
        return BadRow(number, "the item is not an object")
    authors = [x for x in [*_list(item.get("authors")), item.get("author")] if isinstance(x, dict)]
    text = item.get("content_text") or reader_text(str(item.get("content_html") or "")) or item.get("summary")
    post = {
        "id": item.get("id"),
        "url": item.get("url") or item.get("external_url"),
        "title": reader_text(str(item.get("title") or "")),
        "text": text,
        "author": ", ".join(str(x["name"]) for x in authors if x.get("name")),
        "published_at": item.get("date_published") or item.get("date_modified"),
        "lang": item.get("language"),
    }
    return Row(number, {k: v for k, v in post.items() if v})
