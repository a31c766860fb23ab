"""Limits and answers of receivers at their edges."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.alerting.notify.channels.answers import (
    BUSY_S,
    DINGTALK,
    FEISHU,
    MAX_WORDS,
    WECOM,
    Answer,
    Vendor,
    judge,
    judge_slack,
    judge_vendor,
    quoted,
)
from pipeline.alerting.notify.channels.http import MAX_WAIT_S, is_public, waited_s
from pipeline.alerting.notify.channels.message import Message, Quote, cut, fitted, markdown
from pipeline.alerting.notify.channels.rate_limit import RateLimit
from pipeline.domain.errors import Fatal, Transient

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_limit_holds_in_every_window_and_says_how_long_to_wait() -> None:
    clock = [0.0]
    limit = RateLimit({60.0: 4, 1.0: 2}, lambda: clock[0])
    for at in (0.0, 0.5):
        clock[0] = at
        limit.acquire("c")
    with pytest.raises(Transient, match="limit of 2 in 1 s") as refused:
        limit.acquire("c")
    assert refused.value.retry_after_s == pytest.approx(0.5)
    for at in (1.0, 2.0):
        clock[0] = at
        limit.acquire("c")
    clock[0] = 10.0
    with pytest.raises(Transient, match="limit of 4 in 60 s") as refused:
        limit.acquire("c")
    assert refused.value.retry_after_s == pytest.approx(50.0), "what was refused is not counted"
    clock[0] = 59.99
    with pytest.raises(Transient) as refused:
        limit.acquire("c")
    assert refused.value.retry_after_s == 0.05, "at least"
    clock[0] = 60.0
    limit.acquire("c")
    with pytest.raises(Transient) as refused:
        limit.acquire("c")
    assert refused.value.retry_after_s == pytest.approx(0.5)


def wait_of(answer: Answer, vendor: Vendor | None = None) -> float | None:
    """Seconds to wait; None where the answer is a refusal, -1 where the message was taken."""
    try:
        judge_vendor("c", answer, vendor) if vendor else judge("c", answer)
    except Transient as error:
        return error.retry_after_s
    except Fatal:
        return None
    return -1


@pytest.mark.parametrize(
    ("status", "wait_s"),
    [(199, None), (200, -1), (204, -1), (299, -1), (300, None), (404, None), (408, 1.0), (425, 1.0), (429, 1.0),
     (499, None), (500, 1.0), (503, 1.0), (999, 1.0)],
)  # fmt: skip
def test_each_status_is_taken_refused_or_tried_again(status: int, wait_s: float | None) -> None:
    assert wait_of(Answer(status, "")) == wait_s


def test_a_receiver_says_how_long_it_wants_to_be_left_alone() -> None:
    assert wait_of(Answer(503, "", wait_s=7.0)) == 7.0
    assert wait_of(Answer(503, "", wait_s=0.0)) == 0.05
    busy = '{"errcode": 130101, "errmsg": "send too fast"}'
    assert wait_of(Answer(200, busy), DINGTALK) == BUSY_S == 15.0
    assert wait_of(Answer(200, busy, wait_s=3.0), DINGTALK) == 3.0


@pytest.mark.parametrize("vendor", [DINGTALK, FEISHU, WECOM])
def test_a_vendor_is_taken_at_its_code(vendor: Vendor) -> None:
    good = f'{{"{vendor.code}": 0, "{vendor.words}": "ok"}}'
    assert wait_of(Answer(200, good), vendor) == -1
    assert wait_of(Answer(502, good), vendor) == 1.0, "a gateway in front answered"
    assert wait_of(Answer(200, good.replace("0", "77")), vendor) is None
    assert wait_of(Answer(200, good.replace("0", "true")), vendor) is None
    assert wait_of(Answer(200, '{"StatusCode": 0, "StatusMessage": "success"}'), vendor) == -1
    assert wait_of(Answer(200, "[]"), vendor) is None
    assert wait_of(Answer(200, '{"x', complete=False), vendor) == 1.0, "it broke off before its code"
    assert wait_of(Answer(500, "oops"), vendor) == 1.0
    for code in sorted(vendor.busy):
        assert wait_of(Answer(200, good.replace("0", str(code), 1)), vendor) == 15.0
    for words in vendor.busy_words:
        spoken = f'{{"{vendor.code}": 9499, "{vendor.words}": "sorry: {words.upper()}"}}'
        assert wait_of(Answer(200, spoken), vendor) == 15.0
        assert wait_of(Answer(200, spoken.replace("9499", "0")), vendor) == -1, "words of a success are no limit"


def test_the_codes_that_mean_later_are_those_that_the_vendors_document() -> None:
    assert DINGTALK.busy == {-1, 130101, 410100, 90030, 90018}
    assert FEISHU.busy == {11232, 11233, 230020, 99991400}
    assert WECOM.busy == {-1, 45009, 45011, 45033, 6000}


def test_slack_takes_a_message_with_ok() -> None:
    for text in ("ok", ' "ok" \n'):
        judge_slack("c", Answer(200, text))
    for answer in (Answer(429, "rate_limited"), Answer(200, "ratelimited")):
        with pytest.raises(Transient) as busy:
            judge_slack("c", answer)
        assert busy.value.retry_after_s == 15.0
    for answer in (Answer(500, "ok"), Answer(200, "o", complete=False)):
        with pytest.raises(Transient):
            judge_slack("c", answer)
    for answer in (Answer(404, "no_service"), Answer(200, "invalid"), Answer(300, "ok")):
        with pytest.raises(Fatal):
            judge_slack("c", answer)


def test_a_page_is_no_receipt_whatever_stands_before_it() -> None:
    for text in ("\ufeff \n<!DOCTYPE html><p>", "<HTML lang=en>"):
        assert wait_of(Answer(200, text)) is None
    assert wait_of(Answer(200, "taken <html>")) == -1


def test_a_receivers_words_are_cut() -> None:
    assert (MAX_WORDS, len(quoted("x" * 200)), quoted("x" * 201)) == (200, 200, "x" * 199 + "…")
    assert quoted("a\x00b\n c") == "ab c"


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("0", 0.0), ("60", 60.0), ("86400", 86400.0), ("86401", 86400.0), ("9" * 40, 86400.0), ("-1", None), ("1.5", None),
     ("", None), ("６０", None), ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0), ("Thu, 01 Jan 2026 00:01:00 -0000", 60.0),
     ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0), ("Fri, 01 Jan 2027 00:00:00 GMT", MAX_WAIT_S)],
)  # fmt: skip
def test_a_wait_is_a_day_at_the_most(header: str, wait_s: float | None) -> None:
    assert waited_s(header, NOW) == wait_s


@pytest.mark.parametrize(
    ("address", "public"),
    [("8.8.8.8", True), ("10.0.0.1", False), ("::ffff:10.0.0.1", False), ("::ffff:8.8.8.8", True),
     ("2002:a00:1::", False), ("2002:808:808::", True), ("64:ff9b::808:808", True), ("64:ff9b:1::808:808", False),
     ("::ffff:0:a00:1", False),
     ("fe80::1%eth0", False), ("2606:4700::1111", True), ("ff0e::1", False), ("169.254.169.254", False)],
)  # fmt: skip
def test_an_address_that_carries_another_is_judged_by_that_one(address: str, public: bool) -> None:
    assert is_public(address) == public


SAID = Message(
    "title", ["fact one", "fact two"], "Evidence", [Quote("手" * 400, "http://x/1", ""), Quote("b" * 50, "", "+3")]
)


def test_a_message_is_shortened_by_its_evidence_first() -> None:
    assert fitted(SAID, markdown, 10_000).count("手") == 279, "an excerpt has 280 characters at the most"
    for most in (1000, 700, 500, 300, 150, 60, 20):
        text = fitted(SAID, markdown, most)
        assert len(text.encode()) <= most
        assert text.startswith("**title"[: most - 3])
        if most >= 60:
            assert "- fact one\n\n- fact two" in text, "facts are cut last"
    assert fitted(SAID, markdown, 700).count("手") == 139
    assert "b" * 50 in fitted(SAID, markdown, 700)
    assert fitted(SAID, markdown, 500).count("手") == 69
    assert "b" * 50 not in fitted(SAID, markdown, 300)


def test_a_cut_splits_no_character() -> None:
    assert [cut("手机爆炸", n) for n in (12, 11, 10, 9, 8, 3)] == ["手机爆炸", "手机…", "手机…", "手机…", "手…", "…"]


def test_evidence_is_quoted_with_its_reposts_and_links_that_are_links() -> None:
    quotes = [Quote("a [x](y)", "http://x/(1)", "+3"), Quote("b", "https://x/1", ""), Quote("c", "ftp://x", "")]
    said = Message("t", ["f"], "Evidence", quotes)
    assert markdown(said) == "**t**\n\n- f\n\n**Evidence**\n\n> a ［x］(y) (+3)\n\n> b [link](https://x/1)\n\n> c"
    assert markdown(Message("t", [], "Evidence", [])) == "**t**"
