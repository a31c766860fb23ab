"""The language of a post: what the feed says is brought into one form, and what it leaves out is detected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text import clean
from pipeline.classify.language import UNDETERMINED, detect, tag
from tests.unit.test_codec_limits import decoded

POSTS = {
    "zh": [
        "退款",
        "手机又爆炸了，我要退款！！！！！！！！！！！！！！",
        "Nova 手机 overheats 退款",
        "臺灣高鐵誤點了一小時",
    ],
    "en": ["I want my money back", "worst service ever #fail", "the 火锅 was cold and the waiter rude, never again"],
    "ja": ["新しいスマホが熱すぎて持てない", "返金してほしいです"],
    "ko": ["환불해 주세요"],
    "ru": ["Поезд опять опоздал на час"],
    "uk": ["Чому ніхто не відповідає на дзвінки?"],
    "ar": ["لماذا لا يرد أحد على المكالمات؟"],
    "fa": ["چرا کسی جواب تلفن را نمی‌دهد؟"],
    "he": ["הרכבת שוב מאחרת"],
    "th": ["โทรศัพท์ร้อนมาก ขอเงินคืน"],
    "hi": ["फोन बहुत गर्म हो रहा है, पैसे वापस करो"],
    "es": ["El tren otra vez con retraso"],
    "pt": ["estou esperando o pacote há uma semana"],
    "fr": ["J'attends mon colis depuis une semaine"],
    "de": ["Ich warte seit einer Woche auf mein Paket"],
    "it": ["Il telefono si surriscalda, voglio il rimborso"],
    "vi": ["Điện thoại nóng quá, tôi muốn hoàn tiền"],
    UNDETERMINED: ["👍👍", "12:30", "http://example.org/a/refund/now", "@ann", "???"],
}


@pytest.mark.parametrize(("language", "text"), [(code, text) for code, texts in POSTS.items() for text in texts])
def test_short_posts_in_many_languages_are_told_apart(language: str, text: str) -> None:
    assert detect(text) == language


@pytest.mark.parametrize(
    "text", ["退款 https://example.org/a/very/long/path/in/latin/letters?and=more", "退款 @someone_with_a_long_name"]
)
def test_links_and_handles_do_not_hide_the_language(text: str) -> None:
    assert detect(text) == "zh"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("zh-CN", "zh-CN"), ("ZH_cn", "zh-CN"), (" en ", "en"), ("EN-us", "en-US"), ("english", "en"), ("中文", "zh"),
        ("zh-hans", "zh-Hans"), ("eng", "en"), ("cmn", "zh"), ("iw", "he"), ("es-419", "es-419"), ("gsw", "gsw"),
        ("en_US.UTF-8", "en-US"), ("en-GB,en;q=0.8", "en-GB"), ("Chinese (Simplified)", "zh"), ("sl-rozaj", "sl-rozaj"),
        ("und", UNDETERMINED), ("mul", UNDETERMINED), ("qme", UNDETERMINED),
        ("nan", ""), ("UNK", ""), ("kr", "ko"), ("简体中文", "zh-Hans"), ("繁體中文", "zh-Hant"), ("粤语", "yue"),
        ("", ""), ("xx", ""), ("klingonese", ""), ("e", ""), ("-", ""), ("<b>", ""), ("1", ""),
    ],
)  # fmt: skip
def test_what_the_feed_says_becomes_a_tag(said: str, expected: str) -> None:
    assert tag(said) == expected


def test_a_language_that_the_feed_says_is_not_replaced_by_the_detected_one() -> None:
    assert decoded(text="I want my money back", lang="zh_tw").lang == "zh-TW"


@pytest.mark.parametrize("said", [None, "", "und", "unknown", 7, ["en"]])
def test_without_a_language_in_the_record_it_is_detected(said: object) -> None:
    assert decoded(text="手机又爆炸了，我要退款", lang=said).lang == "zh"


def test_a_value_that_is_not_a_language_is_counted_as_ignored() -> None:
    assert (decoded(lang="unknown").ignored, decoded(lang="und").ignored, decoded().ignored) == (("lang",), (), ())


@given(st.text())
def test_every_text_has_a_language_in_the_form_that_a_feed_would_give(text: str) -> None:
    found = detect(clean(text))
    assert found == tag(found) != ""


@given(st.text(max_size=35))
def test_a_tag_stays_as_it_is_when_it_is_read_again(said: str) -> None:
    assert tag(tag(said)) == tag(said)


@pytest.mark.parametrize("odd", ["\uffff", "\ufdd0", "\U0001fffe", "\ud800", "\x00", "\x85", "\x0b"])
def test_a_character_that_the_detector_refuses_does_not_hide_the_language(odd: str) -> None:
    assert detect(f"I want {odd} my money back{odd}") == "en"
