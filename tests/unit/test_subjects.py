"""Subjects are found where a person reads them, and reposts are told by what they keep."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.search_text import GAP, searchable, spellings
from models.text import MAX_LIGATURES, MAX_MARKS, clean, compatible, content_hash
from pipeline.classify.subjects import SubjectMatcher, matcher
from pipeline.domain.errors import Fatal
from pipeline.settings import resolve
from tests.fuzz.texts import TEXTS

NOVA = SubjectMatcher({"Nova": ["nova phone", "nova", "诺瓦"]}, fold_chinese=True)
#: What stands before and after a word without being part of it.
BORDERS = st.sampled_from(
    ["", " ", "\n", "\u3000", "\u00a0", "&nbsp;", ",", "，", "。",
     "“", "”", "'", "’", "(", ")", "《", "》", "#", "：", "/", "…",
     "手机", "爆炸了", "폰", "😀", "&amp;", "&#39;", "&lt;b&gt;", " http://t.cn/A1 ", " @bob ", " @小明 ", "//@小明: ",
     " RT @bob: ", "转发微博", "\u200b", "\u00ad", "\u202e"]
)  # fmt: skip
SPELLINGS = st.sampled_from(
    [
        "nova",
        "Nova",
        "NOVA",
        "Ｎｏｖａ",
        "no\u00adva",
        "n\u200bo\u200bv\u200ba",
        "n\ufe0fova",
        "诺瓦",
        "諾瓦",
        "#Nova",
        "&#78;ova",
    ]
)


@given(st.lists(BORDERS, max_size=6), SPELLINGS, st.lists(BORDERS, max_size=6))
def test_a_keyword_is_found_whatever_surrounds_it(before: list[str], word: str, after: list[str]) -> None:
    assert tuple(NOVA.find(clean("".join(before) + word + "".join(after)))) == ("Nova",)


@pytest.mark.parametrize(
    "text",
    [
        "看http://t.cn/A1诺瓦坏了", "http://t.cn/A1，Nova坏了", "(see http://t.cn/A1)Nova", "http://x.y/“Nova”",
        "www.x.y Nova",
        "@bob诺瓦坏了", "//@小明:Nova坏了", "rt @小明 Nova", "mail me at a@b.com, Nova", "<a href=\"http://x.y\">Nova</a>",
        "#NovaPhoneFire", "#myNova2026", "＃ＮｏｖａＰｈｏｎｅ", "#the_nova_phone", "5GNova手机"[2:], "AT&amp;T Nova",
        "x\u000bnova",
        "x\u2028nova", "nova's", "nova\u2019s", "nova\u2011like", "nova_phone", "โนวา nova โทรศัพท์",
    ],
)  # fmt: skip
def test_it_is_found_in(text: str) -> None:
    assert tuple(NOVA.find(clean(text))) == ("Nova",)


@pytest.mark.parametrize(
    "text",
    [
        "innovation", "novas", "xnova", "nova1", "http://nova.com/nova", "看https://a.b/nova，好", "www.nova.com",
        "@nova hi", "@nova_fan hi", "@the.nova",
        "a@nova.com", "#innovation", "#renovation2026", "@诺瓦官方 你好", "no va", "no\nva",
    ],
)  # fmt: skip
def test_it_is_not_found_in(text: str) -> None:
    assert tuple(NOVA.find(clean(text))) == ()


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("levi's", "Levi’s"), ("levi’s", "Levi's"), ("wi-fi", "Wi\u2011Fi"), ("wi–fi", "wi-fi"), ("nova phone",
        "nova\u00a0 phone"),
        ("AT&T", "at&amp;t"), ("AT&amp;T", "AT&T"), ("nova phone", "#NovaPhoneFire"), ("iphone 15",
        "#iPhone15"), ("nova\u200b", "nova"),
        ("手机", "手機"), ("臺灣", "台湾"), ("#novafire", "#NovaFire!"), ("ﾊﾟﾅ", "パナ"), ("c++", "C++"), ("โนวา",
        "ซื้อโนวาแล้ว"),
        ("o`neill", "O´Neill"), ("ﬁsh", "fish"), ("straße", "STRASSE"),
    ],
)  # fmt: skip
def test_one_thing_written_in_two_ways_is_one(keyword: str, text: str) -> None:
    assert tuple(SubjectMatcher({"x": [keyword]}, fold_chinese=True).find(clean(text))) == ("x",)


def test_no_keyword_reaches_across_a_link_or_a_handle() -> None:
    assert tuple(NOVA.find("nov http://x.y a")) == ()
    assert tuple(SubjectMatcher({"x": ["nova phone"]}).find("nova @bob phone")) == ()


def test_an_exception_cancels_the_place_that_it_covers_and_no_other() -> None:
    matcher = SubjectMatcher({"Nova": ["nova"], "Canada": ["nova scotia"]}, {"Nova": ["nova scotia", "bossa nova"]})
    assert tuple(matcher.find("Nova Scotia")) == ("Canada",)
    assert tuple(matcher.find("bossa nova scotia")) == ("Canada",)
    assert tuple(matcher.find("my Nova in Nova Scotia")) == ("Canada", "Nova")
    assert tuple(matcher.find("Nova, Scotia")) == ("Nova",), "the phrase is another with a comma"
    assert tuple(matcher.find("nova scotian nova")) == ("Nova",), "half a word is no exception"


def test_overlapping_names_are_all_found_and_many_of_them() -> None:
    matcher = SubjectMatcher({f"s{n}": ["a" * n] for n in range(1, 60)} | {f"t{i}": [f"brand {i}"] for i in range(200)})
    assert tuple(matcher.find("a" * 59)) == ("s59",)
    assert len(matcher.find(" ".join(f"brand {i}" for i in range(200)))) == 200


def test_keywords_that_can_never_be_found_are_refused_with_their_subject() -> None:
    for keyword in ("\u200b", " ", "http://nova.com", "@nova", "x" * 201):
        with pytest.raises(ValueError, match=r"subject 'Nova': keyword"):
            SubjectMatcher({"Nova": [keyword]})
        with pytest.raises(Fatal, match=r"subjects\.Nova"):
            resolve(None, {"subjects": {"Nova": [keyword]}}, {})


def test_settings_take_lists_and_tables() -> None:
    subjects: dict[str, Any] = {"Nova": {"any": ["nova"], "not": ["nova scotia"]}, "Pear": ["pear"]}
    settings = resolve(None, {"subjects": subjects}, {}).settings
    assert settings.model_dump(mode="json")["subjects"] == subjects
    assert tuple(matcher(settings).find("Nova Scotia pears and a pear")) == ("Pear",)
    wrong: dict[str, Any]
    for wrong in (
        {"a|b": ["x"]},
        {"a\x1b[31m": ["x"]},
        {"": ["x"]},
        {"a": {"any": []}},
        {"a": {"not": ["b"]}},
        {"a": 3},
    ):
        with pytest.raises(Fatal, match="subjects"):
            resolve(None, {"subjects": wrong}, {})


@given(TEXTS)
@example("e\u200b\u0301")
@example("\u0958" + "\u0301" * 30)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert not {"\r", "\x00", "\x1b", "\u2028", "\u202e", "\u200b"} & set(cleaned)


def test_emoji_and_indic_clusters_keep_their_joiners() -> None:
    for text in ("👩\u200d🚀", "❤\ufe0f\u200d🔥", "क्\u200dष", "1\ufe0f\u20e3", "葛\U000e0100"):
        assert clean(text) == text


_WORDS = st.sampled_from(["nova", "坏了", "手机", "很好", "fire", "phone", "폰", "привет", "x"])
_MARKUP = st.sampled_from(
    [
        " http://t.cn/A1 ",
        "http://t.cn/A1，",
        "(http://x.y)",
        " @bob ",
        "@bob：",
        "//@小明: ",
        "RT @bob: ",
        " 转发微博 ",
        "，",
        "!",
        " ",
    ]
)


@given(st.lists(st.tuples(_WORDS, _MARKUP), min_size=1, max_size=8), st.integers(0, 7), _WORDS)
def test_texts_that_differ_in_a_word_have_different_hashes(parts: list[tuple[str, str]], at: int, word: str) -> None:
    at %= len(parts)
    other = [*parts[:at], (word, parts[at][1]), *parts[at + 1 :]]
    one, two = ("".join(w + m for w, m in x) for x in (parts, other))
    assert (content_hash(one) == content_hash(two)) == (parts[at][0] == word)


def test_what_is_no_markup_is_kept_in_the_hash() -> None:
    for one, two in [
        ("我要转发微博抽奖", "我要抽奖"),
        ("awww.nova is bad", "awww.pear is bad"),
        ("http://t.cn/A1！Nova坏", "http://t.cn/A1！Pear坏"),
        ("http://t.cn/A1노바", "http://t.cn/A1페어"),
        ("//@小明 这手机爆炸了", "//@小明 这手机很好"),
        ("mail bob@nova.com", "mail bob@pear.com"),
        ("ok @bob诺瓦坏了", "ok @bob诺瓦很好"),
        ("ok @" + "诺瓦坏了" * 6, "ok @" + "诺瓦很好" * 6),
        ("x \ufdfa" * 2000 + "nova", "x \ufdfa" * 2000 + "pear"),
    ]:
        assert content_hash(one) != content_hash(two), one


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("RT @bob: Hello   World https://t.co/x", "b94d27b9934d3e08a52e52d7da7dabfa"),
        ("//@小明:手机 爆炸了 http://t.cn/A1", "1f633179cd854fe963eff9761033f4ad"),
        ("Ｎｏｖａ 手机！！", "b3f8267747d30d87c2418d1bc3de5f70"),
        ("转发微博", "d0c0f693d232ecf2f294b2cd28f85c05"),
        ("@bob: see (http://x.y/z).", "98a91aa217043f04f481102edcfc6b9d"),
        ("#诺瓦# “坏了” @小明 http://t.cn/A1，太差", "11766b4df0e6721a49f13c292da4ea1f"),
        ("http://t.cn/A1", "8be45e3c6f52403392aebd02bd4b23df"),
        ("é\nè", "823ff0b6773ed0bdc6bde239b46dff3e"),
    ],
)
def test_hashes_of_posts_that_are_indexed_do_not_change(text: str, digest: str) -> None:
    assert content_hash(text) == digest


def test_no_character_gets_round_the_limits_of_marks_and_ligatures() -> None:
    """Of all of Unicode: what NFKC makes a mark counts as one, and what it writes out long is a ligature."""
    for code in (*range(0x80, 0xD800), *range(0xE000, 0x33480), *range(0xE0000, 0xE1000)):
        written = unicodedata.normalize("NFKC", chr(code))
        if unicodedata.combining(written[0]):
            assert len(compatible(f"a{chr(code) * 99}")) <= 1 + 3 * MAX_MARKS, hex(code)
        if len(written) > 3:
            assert len(compatible(chr(code) * 2 * MAX_LIGATURES)) == 2 * MAX_LIGATURES, hex(code)


@pytest.mark.parametrize("keyword", ["iphone 15", "iphone15", "iphone", "fire", "iphone15fire"])
def test_a_number_in_a_hashtag_is_a_word_or_ends_one(keyword: str) -> None:
    assert tuple(SubjectMatcher({"S": [keyword]}).find("#iPhone15Fire")) == ("S",)


def test_traditional_characters_are_folded_where_asked_for() -> None:
    assert searchable("諾瓦手機") == "諾瓦手機"
    assert searchable("諾瓦手機", spellings(fold_chinese=True)) == "诺瓦手机"
    assert searchable("“諾瓦”", spellings(fold_chinese=True)) == '"诺瓦"'
    assert spellings(fold_chinese=False).keys() < spellings(fold_chinese=True).keys()
    assert all(len(to) == 1 for to in spellings(fold_chinese=True).values())


@pytest.mark.parametrize(
    ("tag", "words"),
    [("NovaTV", "nova tv"), ("TVNova", "tv nova"), ("iPhone", ""), ("nova_phone", "nova phone"), ("nova2", "nova 2"),
     ("2Nova", ""), ("NOVA", ""), ("NovaA", "nova a"), ("aB", ""), ("abC", "ab c")],
)  # fmt: skip
def test_a_hashtag_is_found_by_its_words(tag: str, words: str) -> None:
    assert searchable(f"#{tag}") == f"#{tag.lower()}" + (f"{GAP}{words}" if words else "")


@pytest.mark.parametrize("keyword", ["istanbul", "İstanbul", "ISTANBUL"])
@pytest.mark.parametrize("text", ["istanbul", "İstanbul", "İSTANBUL", "ISTANBUL", "ıstanbul", "I\u0307stanbul"])
def test_the_turkish_letters_i_are_one_letter(keyword: str, text: str) -> None:
    written = clean(f"Ah {text}!")
    assert SubjectMatcher({"City": [keyword]}).find(written) == {"City": ((3, len(written) - 1),)}
