"""A feed as a server may send it, to the records that `ingest` makes of it."""

from __future__ import annotations

from hypothesis import strategies as st

from models.files.encodings import FileError
from models.files.rows import Row
from pipeline.classify.codec import decode
from pipeline.domain.errors import Poison
from pipeline.domain.post import Origin, Record
from pipeline.ingest.columns import RowError, Rules, as_bytes, post_of
from pipeline.ingest.feeds import read_feed
from tests.fuzz.texts import TEXTS

_PIECES = [
    "<item>", "</item>", "<entry>", "</entry>", "<item", "<title>", "</title>", "<link>", "</link>", "<guid>",
    "</guid>",
    "<link href='a'/>", "<link rel='alternate' href='http://[::1/x'/>", "<description>", "</description>", "<![CDATA[",
    "]]>", "<!--", "-->", "<content:encoded>", "</content:encoded>", "<dc:creator>", "</dc:creator>", "<a:b>",
    "<x:y z='",
    "<pubDate>Fri, 20 Nov 2026 10:00:00 CST</pubDate>", "<dc:date>2026", "<author><name>", "</name></author>", "<p>",
    "&lt;p&gt;", "<script>", "&lt;script&gt;", "&nbsp;", "&#0;", "&#x110000;", "&bogus;", "&", "<", ">", "'", '"', "</",
    "<media:group><media:description>", "</media:description></media:group>", "<itunes:summary>",
    "<content type='xhtml'>",
    "<content mode='base64'>", "AAAA=", "</content>", "<div xmlns='http://www.w3.org/1999/xhtml'>", "</div>",
    "</channel>",
    "</rss>", "<rss>", "<channel>", "<feed xml:base='http://[x'>", "<?php", "?>", "<!DOCTYPE x [<!ENTITY e 'ee'>]>",
    "&e;",
    "<g:geo lat='x'>", "<georss:point>1 x</georss:point>", "<category term='a'/>",
    "<enclosure url='http://[' length='-'/>",
    "<cloud domain='http://['/>", "<source url='//['>", "<textInput>", "<image><url>//[</url></image>", "\n", " ",
]  # fmt: skip
_HEADS = [
    '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel><title>t</title>',
    '<?xml version="1.0" encoding="gb2312"?><rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel>',
    "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' xmlns='http://purl.org/rss/1.0/'>",
    "<feed xmlns='http://www.w3.org/2005/Atom' xml:base='http://b.example/'>", "<rss>", "<feed>", "", "<html>",
    "\ufeff<rss>",
    "<!DOCTYPE rss [<!ENTITY a 'aa'>]><rss><channel>", '{"version":"https://jsonfeed.org/version/1","items":[',
]  # fmt: skip
_ENDS = ["</channel></rss>", "</feed>", "</rdf:RDF>", "", "</item></channel></rss>", "]}"]
_BODIES = st.one_of(
    st.lists(st.one_of(st.sampled_from(_PIECES), TEXTS), max_size=40).map("".join),
    st.builds(lambda pieces, times: "".join(pieces) * times, st.lists(st.sampled_from(_PIECES), min_size=1, max_size=4),
              st.sampled_from([1, 30, 1000])),
)  # fmt: skip
INPUTS = st.one_of(
    st.builds(
        lambda head, body, end, encoding: (head + body + end).encode(encoding, "replace"),
        st.sampled_from(_HEADS), _BODIES, st.sampled_from(_ENDS),
        st.sampled_from(["utf-8", "gb18030", "utf-16", "latin-1", "cp1251", "shift_jis"]),
    ),
    st.binary(max_size=300),
)  # fmt: skip


def run(data: bytes) -> None:
    try:
        title, rows = read_feed(data, "feed.xml")
        found = list(rows)
    except FileError:
        return
    for row in found:
        if isinstance(row, Row):
            try:
                mapped = post_of(row.values, Rules(source=title or "feed", kind="news"))
                decode(Record(Origin("feed.xml", 0, row.line), 1_800_000_000_000, as_bytes(mapped.post)))
            except (RowError, Poison):
                continue
