"""Cleaning, the content hash and the language of a text, at their limits."""

from __future__ import annotations

import hashlib
import unicodedata

import pytest

from models.text import (
    MAX_LIGATURES,
    MAX_MARKS,
    any_of,
    character_class,
    clean,
    clean_line,
    clean_url,
    compatible,
    content_hash,
    is_text,
    language,
    normalise,
)

ACUTE, LIGATURE = "\u0301", "\ufdfa"


def test_a_character_class_names_each_run_of_characters_once() -> None:
    assert character_class(lambda c: c in "abcxz", 0x7F) == (
        "\\U00000061-\\U00000063\\U00000078-\\U00000078\\U0000007a-\\U0000007a"
    )
    assert character_class(lambda c: c in "\x00\x7f", 0x7F) == "\\U00000000-\\U00000000\\U0000007f-\\U0000007f"
    assert character_class(lambda c: c == "\x7f", 0x7E) == ""


def test_a_class_finds_its_characters_within_sixteen_bits_and_beyond() -> None:
    emoji = any_of(character_class(lambda c: c in "ab\U0001f600\U0001f601"))
    assert [c for c in "abc\U0001f5ff\U0001f600\U0001f601\U0001f602" if emoji.match(c)] == [
        *"ab", "\U0001f600", "\U0001f601",
    ]  # fmt: skip


def test_of_the_marks_on_one_base_thirty_stay() -> None:
    assert MAX_MARKS == 30
    assert clean("x" + ACUTE * 30) == "x" + ACUTE * 30
    assert clean("x" + ACUTE * 31) == "x" + ACUTE * 30
    assert clean(("x" + ACUTE * 40) * 2) == ("x" + ACUTE * 30) * 2


def test_a_mark_that_composes_is_written_with_its_base() -> None:
    assert clean("e" + ACUTE) == "é"
    assert clean("手e" + ACUTE + "\u200d") == "手é"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a\r\nb\rc\x0bd\u2028e\u2029f\x85g", "a\nb\nc\nd\ne\nf\ng"),
        ("a\tb\nc", "a\tb\nc"),
        ("a\x00b\u202ec\U000e0041d", "abcd"),
        ("\x1b[31mred\x1b[0m \x9b2Jx \x1b]0;title\x07y \x1b(Bz", "red x y z"),
        ("\x9b1mbold", "bold"),
        ("no\u200dva", "nova"),
        ("\U0001f469\u200d\U0001f680", "\U0001f469\u200d\U0001f680"),
        ("क्\u200dष", "क्\u200dष"),
        ("❤\ufe0f a\ufe0fb \ufe0f", "❤\ufe0f ab "),
        ("", ""),
    ],
)
def test_what_no_person_reads_is_removed_and_what_they_read_stays(written: str, read: str) -> None:
    assert clean(written) == read
    assert clean(read) == read


def test_a_line_is_cut_after_it_was_cleaned() -> None:
    assert clean_line("a\tb\n\nc", 10) == "a b c"
    assert clean_line("  abcdef", 3) == "abc"
    assert clean_line("\u202e" * 9 + "abcdef", 3) == "abc"
    assert clean_line("ab cd", 3) == "ab"
    assert clean_line("\u202e" * 12 + "abc", 3) == "", "four characters are read for each that is wanted"
    assert clean_url(" http://x/a b\u202e ") == "http://x/a%20b"


def test_ligatures_are_written_out_up_to_a_thousand_of_them() -> None:
    assert MAX_LIGATURES == 1000
    written = unicodedata.normalize("NFKC", LIGATURE)
    assert compatible(LIGATURE * 1000) == written * 1000
    assert compatible(LIGATURE * 1001) == LIGATURE * 1001
    assert compatible("Ｆ") == "F"
    assert compatible("x" + ACUTE * 40) == unicodedata.normalize("NFKC", "x" + ACUTE * 30)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("RT @bob: Good News", "good news"),
        ("good //@小明：坏 https://a.b/c?d=1 end", "good 坏 end"),
        ("see WWW.Example.com/x, then", "see then"),
        ("mail a@b.c", "mail a@b.c"),
        ("@bob and @小明 hello", "and hello"),
        ("＠bob hello", "hello"),
        ("转发微博 轉發微博 好", "好"),
        ("微博上转发微博吧", "微博上转发微博吧"),
        ("ＡＢＣ  straße", "abc strasse"),
        (": 你好：", "你好"),
        ("a (http://x.y/z(1)) b", "a ( b"),
    ],
)
def test_a_repost_keeps_no_address_no_mention_and_no_marker(text: str, kept: str) -> None:
    assert normalise(text) == kept


def test_a_content_hash_is_of_what_a_repost_keeps_or_of_the_whole_where_that_is_nothing() -> None:
    assert content_hash("Hello") == hashlib.sha256(b"hello").hexdigest()[:32]
    assert content_hash("RT @a: hello http://x.y/z") == content_hash("HELLO")
    assert content_hash("http://x.y/a") != content_hash("http://x.y/b")
    assert content_hash("http://x.y/a") == hashlib.sha256(b"http://x.y/a").hexdigest()[:32]
    assert len(content_hash("\ud800")) == 32


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("x" * 9 + "手", "zh"), ("x" * 10 + "手", "latin"), ("手机 と カメラ", "ja"), ("전화", "ko"),
        ("телефон", "ru"), ("هاتف", "ar"), ("", "latin"), ("123", "latin"),
    ],
)  # fmt: skip
def test_a_language_is_the_first_script_that_fills_a_tenth(text: str, script: str) -> None:
    assert language(text) == script


def test_half_of_a_surrogate_pair_is_not_text() -> None:
    assert is_text("手机\U0001f600")
    assert not is_text("a\ud800")
