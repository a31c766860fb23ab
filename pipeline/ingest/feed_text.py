"""Turns the bytes of a feed into text, and repairs text that an XML parser would reject. Pure."""

from __future__ import annotations

import html
import re

from defusedxml.ElementTree import ParseError, fromstring

from models.files.encodings import MULTIBYTE, SAMPLE, FileError, detected, known, side_by_side

#: Characters that XML does not allow.
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
#: The root element of a feed.
ROOT = re.compile(r"<(?:[\w-]+:)?(rss|feed|rdf|channel)\b[^<>]*>", re.IGNORECASE)
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{1,40})["']""")
_REFERENCE = re.compile(r"&(?:(#\d{1,8}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)?")
_PREFIX = re.compile(r"</?([A-Za-z_][\w.-]*):[A-Za-z_]")
_BOUND = re.compile(r"""\sxmlns:([\w.-]+)\s*=""")
_OWN = frozenset({"lt", "gt", "amp", "quot", "apos"})
_NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/", "content": "http://purl.org/rss/1.0/modules/content/",
    "media": "http://search.yahoo.com/mrss/", "itunes": "http://www.itunes.com/dtds/podcast-1.0.dtd",
    "atom": "http://www.w3.org/2005/Atom", "slash": "http://purl.org/rss/1.0/modules/slash/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "xhtml": "http://www.w3.org/1999/xhtml",
}  # fmt: skip


def decoded(data: bytes, name: str, encoding: str | None) -> str:
    """Decodes by the given encoding, the byte order mark, a plausible declaration or a guess; raises `FileError`."""
    if encoding is not None:
        found = known(encoding)
        if found is None:
            raise FileError(
                f"{name}: the encoding {encoding!r} is not known", "name an encoding that Python knows, such as gb18030"
            )
        return data.decode(found, "replace")
    said = _DECLARED.match(data)
    declared = known(said[1].decode("ascii")) if said else None
    if not data.startswith(_BOMS) and b"\x00" not in data[:4]:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            # Valid UTF-8 is UTF-8, whatever the declaration; but two characters of a Chinese encoding may look like it.
            if sum(c > "\x7f" for c in text) > (3 if declared in MULTIBYTE else 0):
                return text
        if declared and not declared.startswith(("utf-16", "utf-32")):
            text = data.decode(declared, "replace")
            # Any bytes are valid Latin-1, but its letters beyond ASCII are seldom adjacent.
            wrong = (
                side_by_side(text)
                if declared == "cp1252"
                else text.count("\ufffd") * 20 > sum(map("\x7f".__lt__, text))
            )
            if not wrong:
                return text
    return data.decode(detected(data[:SAMPLE]), "replace")


def xml_flaw(text: str) -> str | None:
    """Returns why a document is not XML; None if it is."""
    try:
        fromstring(text.encode("utf-8"))
    except ParseError as error:
        return str(error)
    except Exception as error:  # the guards of defusedxml, and any other error of the parser
        return type(error).__name__
    return None


def repaired(text: str) -> str:
    """Replaces HTML entities, escapes a lone & and binds prefixes; CDATA sections stay as they are."""
    plain, *rest = text.split("<![CDATA[")
    parts = [_REFERENCE.sub(_reference, plain)]
    for piece in rest:
        inside, end, after = piece.partition("]]>")
        parts += ["<![CDATA[", inside, end, _REFERENCE.sub(_reference, after)]
    text = "".join(parts)
    unbound = set(_PREFIX.findall(text)) - set(_BOUND.findall(text)) - {"xml"}
    if unbound and (root := ROOT.search(text)):
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
    return html.escape(FORBIDDEN.sub("", shown)) if shown != found[0] else "&amp;" + found[0][1:]
