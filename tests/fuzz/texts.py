"""Hostile texts that several targets share."""

from __future__ import annotations

from hypothesis import strategies as st

_PIECES = [
    "nova", "Nova", "诺瓦", "手机", "諾瓦", "http://t.cn/A1", "https://x.y/z?a=1", "www.a.b",
    "@bob", "@小明", "//@小明:", "RT @bob: ", "转发微博", "#NovaPhoneFire", "#诺瓦#",
    "&amp;", "&#39;", "&nbsp;", "&#x110000;", "&#" + "9" * 40 + ";", " ", "\n", "\r\n", "\u2028", "\u00a0",
    "\u200b", "\u200d", "\u00ad", "\u202e", "\ufe0f", "\x00", "\x1b[31m", "\x1b]0;x\x07", "e\u0301",
    "\u0301\u0316" * 9, "\uff9e", "\ufdfa", "\ufb03", "\u0130", "\u0345", "\u1e9e", "\u3164", "\ud7a3",
    "😀", "👩\u200d🚀", "\U000e0067", "{", "}", "[", "]", '"', "\\", "&", "<", ">", ",", "=", "-",
    "\u2011", "\u2019", "：", "，", "！", "0", "9" * 25,
]  # fmt: skip

#: Short pieces in any order, some of them very often; no lone surrogates.
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(_PIECES), max_size=30).map("".join),
    st.builds(
        lambda pieces, times: "".join(pieces) * times,
        st.lists(st.sampled_from(_PIECES), min_size=1, max_size=3), st.sampled_from([1, 10, 300, 3000]),
    ),
)  # fmt: skip
