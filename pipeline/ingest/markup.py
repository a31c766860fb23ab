"""Extracts the text that a reader of HTML sees. Pure; the work is linear in the length."""

from __future__ import annotations

import html
import re

#: Elements that begin a new line.
_BLOCKS = frozenset(
    "address article aside blockquote br caption center dd details div dl dt fieldset figcaption figure footer form h1 "
    "h2 h3 h4 h5 h6 header hr li main nav ol p pre section summary table tbody tfoot thead tr ul".split()
)
#: Elements whose content is not shown.
_UNSEEN = frozenset(
    {"script", "style", "template", "head", "noframes", "iframe", "object", "textarea", "select", "svg"}
)
_INLINE = frozenset(
    "a abbr acronym area audio b base basefont bdi bdo big body button canvas cite code col colgroup data del dfn em "
    "embed font html i img input ins kbd label legend link map mark meta noscript option param picture q rp rt ruby s "
    "samp small source span strike strong sub sup td th time tt u var video wbr".split()
)
_TAG = re.compile(
    r"<!--|<[!?](?:doctype|xml|\[)[^<>]*>|"
    r"<(?P<end>/?)(?P<name>[a-zA-Z][\w:.-]*)(?P<rest>(?:[\s/](?:[^<>\"']|\"[^\"<]*\"|'[^'<]*')*+)?>|(?:[\s/][^<>]*+)?>)",
    re.IGNORECASE,
)
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*")


def reader_text(markup: str) -> str:
    """Removes tags, comments, scripts and styles, decodes entities, and puts blocks on separate lines.

    Text that only looks like a tag stays.

    >>> reader_text("<p>The <b>Nova</b> burned &amp;<br/>it&#8217;s <3 hot<script>x()</script></p>")
    'The Nova burned &\\nit’s <3 hot'
    """
    markup = markup.replace("<![CDATA[", "").replace("]]>", "")
    if "<" not in markup:
        return _tidy(html.unescape(markup))
    parts: list[str] = []
    at = 0
    while tag := _TAG.search(markup, at):
        parts.append(html.unescape(_SPACES.sub(" ", markup[at : tag.start()].replace("\n", " "))))
        at = tag.end()
        name = (tag["name"] or "").lower()
        if tag[0] == "<!--":
            end = markup.find("-->", at)
            at = len(markup) if end < 0 else end + 3
        elif name in _UNSEEN and not tag["end"] and not tag["rest"].endswith("/>"):
            at = _after(markup, name, at)
        elif name in _BLOCKS:
            parts.append("\n")
        elif name in {"td", "th"}:
            parts.append(" ")
        elif name and name not in _INLINE and name not in _UNSEEN and not {":", "-"} & set(name):
            parts.append(tag[0])
    parts.append(html.unescape(_SPACES.sub(" ", markup[at:].replace("\n", " "))))
    return _tidy("".join(parts))


def _after(markup: str, name: str, at: int) -> int:
    """Returns the index after an element whose content is not shown, which is the end if the element is not closed."""
    end = re.compile(rf"</{name}\b[^<>]*>", re.IGNORECASE).search(markup, at)
    return end.end() if end else len(markup)


def _tidy(text: str) -> str:
    return _LINES.sub("\n", _SPACES.sub(" ", text)).strip()
