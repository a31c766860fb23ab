"""Mentions of subjects are ranges of the original text, whatever the normalisation of the search does to it."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.aligned_text import AlignedText
from models.search_text import SearchableText, keyword_text, searchable, spellings
from models.text import clean
from pipeline.classify.subjects import SubjectMatcher
from tests.fuzz.texts import TEXTS

FOLDED = spellings(fold_chinese=True)
KEYWORDS = ["nova phone", "nova", "诺瓦", "노바", "โนวา", "straße", "ﬁsh", "會社"]
NOVA = SubjectMatcher({"Nova": KEYWORDS}, fold_chinese=True)
#: Letters, digits and marks that compose, reorder, expand, disappear, or change their length when case is folded.
NASTY = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "nova", "Nova", "Ｎｏｖａ", "no\u00adva", "诺瓦", "諾瓦", "노바",
                "\u1102\u1169\u1107\u1161", "โนวา", "Straße", "ﬁsh", "㍿", "\ufdfa", "e\u0301", "\u0301",
                "\u0316", "\u0323\u0307", "İ", "ŉ", "ẞ", "ﾊﾟ", "か\u3099", "カﾞ", "\u09c7\u09be",
                "\u1100", "\u1161", "\u11a8", "\uac00", "\uffc2", "\u3164", "\U0001d165\U0001d15f",
                "\U00011131\U00011127", "😀", "👩\u200d🚀", "❤\ufe0f", "\u200d", "\ufe0f", "&amp;",
                "&#39;", "&nbsp;", "&zwj;", "&#x301;", "&eacute;", "&NotEqualTilde;", "&", ";",
                "#NovaPhone", "＃ＮｏｖａＰｈｏｎｅ2", "#Nova_x", " @bob ", "@小明", "http://t.cn/A1",
                "www.nova.com", " ", "  ", "\n", "\u3000", "\u00a0", "`", "´", "’", "·", "•", "\x00",
                "\x1b[31m", "\r\n", "1", "a",
            ]
        ),
        st.characters(exclude_categories=["Cs"]),
        st.characters(categories=["Mn", "Mc", "Lm", "Sk"]),
    ),
    max_size=30,
).map("".join)  # fmt: skip


@given(st.one_of(NASTY, TEXTS))
@example("ｶﾞ\u0301 &#xe;e\u0301")
@example("\ufdfa" * 1001 + "é")
def test_the_aligned_text_is_the_searchable_text(text: str) -> None:
    for given_text in (text, clean(text)):
        assert SearchableText(given_text).text == searchable(given_text)
        assert SearchableText(given_text, FOLDED).text == searchable(given_text, FOLDED)


@given(NASTY)
def test_a_normal_form_is_made_of_the_ranges_that_its_characters_come_from(text: str) -> None:
    for form in ("NFC", "NFKC"):
        aligned = AlignedText.of(text).normalised(form)
        assert aligned.text == unicodedata.normalize(form, text)
        ranges = list(dict.fromkeys(zip(aligned.starts, aligned.ends, strict=True)))
        assert [at for span in ranges for at in range(*span)] == list(range(len(text)))
        assert "".join(unicodedata.normalize(form, text[a:b]) for a, b in ranges) == aligned.text


def test_no_character_of_unicode_loses_its_place() -> None:
    for character in map(chr, (*range(0x80, 0xD800), *range(0xE000, 0x110000))):
        if unicodedata.decomposition(character) or unicodedata.combining(character):
            for text in (character, f"a{character}b"):
                aligned = AlignedText.of(text).normalised("NFKC")
                assert len(aligned.text) == len(aligned.starts) == len(aligned.ends), ascii(character)


@given(NASTY)
@example("&#x301;nova")
@example("#Nova #NovaPhone #NovaPhone")
def test_a_mention_is_a_range_of_the_text_that_reads_as_a_keyword(text: str) -> None:
    text = clean(text)
    mentions = NOVA.find(text).get("Nova", ())
    assert list(mentions) == sorted(set(mentions))
    for start, end in mentions:
        assert 0 <= start < end <= len(text)
        read = searchable(text[start:end], FOLDED)
        assert any(keyword_text(keyword, FOLDED) in read for keyword in KEYWORDS)
    for (_, end), (_, later) in zip(mentions, mentions[1:], strict=False):
        assert end < later, "no mention contains another"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("My Nova and the NOVA.", ["Nova", "NOVA"]),
        ("innovation, http://nova.com/nova and @nova", []),
        ("Ｎｏｖａ坏了", ["Ｎｏｖａ"]),
        ("新諾瓦手機，诺瓦", ["諾瓦", "诺瓦"]),
        ("no\u00adva n\u3164ova", ["nova", "n\u3164ova"]),
        ("N😀ova, No😀va and 😀Nova😀", ["Nova"]),
        ("&lt;b&gt;&#78;ova&lt;/b&gt; &nbsp; nova&nbsp;phone", ["&#78;ova", "nova&nbsp;phone"]),
        ("e\u0301 nova", ["nova"]),
        ("the nova phone", ["nova phone"]),
        ("nova  \n phone", ["nova  \n phone"]),
        ("#NovaPhoneFire is on fire", ["#NovaPhoneFire"]),
        ("#NovaPhone and #NovaPhone again", ["#NovaPhone", "#NovaPhone"]),
        ("#Nova is a nova", ["Nova", "nova"]),
        ("#Nova_x", ["Nova"]),
        ("\u1102\u1169\u1107\u1161 폰", ["노바"]),
        ("ซื้อโนวาแล้ว", ["โนวา"]),
        ("STRASSE und Straße", ["STRASSE", "Straße"]),
        ("a ﬁsh", ["ﬁsh"]),
        ("新㍿です", ["㍿"]),
        ("𝐍𝐨𝐯𝐚 and ⓃⓄⓋⒶ", ["𝐍𝐨𝐯𝐚", "ⓃⓄⓋⒶ"]),
    ],
)
def test_mentions_read_as_they_were_written(text: str, read: list[str]) -> None:
    text = clean(text)
    assert [text[a:b] for a, b in NOVA.find(text).get("Nova", ())] == read


def test_an_exception_takes_only_the_mentions_that_it_covers() -> None:
    text = "Nova Scotia has a Nova shop; Nova"
    plain = SubjectMatcher({"Nova": ["nova"]})
    assert plain.find(text) == {"Nova": ((0, 4), (18, 22), (29, 33))}
    excepting = SubjectMatcher({"Nova": ["nova"]}, {"Nova": ["nova scotia"]})
    assert excepting.find(text) == {"Nova": ((18, 22), (29, 33))}
    assert excepting.find("Nova Scotia") == {}


def test_subjects_share_a_place_and_come_sorted() -> None:
    matcher = SubjectMatcher({"Phone": ["nova phone"], "Nova": ["nova"], "A": ["a"]})
    assert list(matcher.find("a nova phone").items()) == [("A", ((0, 1),)), ("Nova", ((2, 6),)), ("Phone", ((2, 12),))]


def test_two_hundred_subjects_in_one_post_each_have_their_mentions() -> None:
    matcher = SubjectMatcher({f"b{i}": [f"brand {i}"] for i in range(200)})
    text = "，".join(f"Brand {i} é" for i in range(200))
    found = matcher.find(text)
    assert len(found) == 200
    assert all(text[a:b] == f"Brand {name[1:]}" for name, ((a, b),) in found.items())


def test_many_hashtags_and_many_mentions_take_linear_time() -> None:
    matcher = SubjectMatcher({"Nova": ["nova"]})
    times = []
    for n in (2_000, 20_000):
        text = " ".join(f"#NovaFan{i}é Nova" for i in range(n))
        started = time.process_time()
        assert len(matcher.find(text)["Nova"]) == 2 * n
        times.append(time.process_time() - started)
    assert times[1] < 40 * times[0]
