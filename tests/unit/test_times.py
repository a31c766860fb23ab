"""Every form of a time that files and producers write, and that no text or number raises."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.times import MAX_LENGTH, read_time

NOON = "2026-11-23 13:05:00+00:00"
SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    "form",
    [
        "2026-11-23T13:05:00Z", "2026-11-23T21:05:00+08:00", "2026-11-23T21:05:00+0800", "2026-11-23T21:05:00+08",
        "2026-11-23 21:05:00 +0800", "2026-11-23 21:05:00 +08:00", "2026-11-23T13:05Z", "2026-11-23t13:05:00z",
        "20261123T130500Z", "2026-W48-1T13:05:00Z", "2026-327T13:05:00Z", " 2026-11-23T13:05:00Z\n",
        "2026-11-23T13:05:00,000Z", "2026-11-23T13:05:00.0000000001Z", "2026-11-23T21:05:00+08:00[Asia/Shanghai]",
        "2026-11-23 13:05:00 UTC", "2026-11-23 13:05:00 +0000 UTC", "2026/11/23 13:05", "2026.11.23 13:05:00",
        "2026-11-23 13:05:00", "2026-11-23 1:05 PM", "2026年11月23日 13:05", "2026年11月23日13时05分",
        "星期一, 23 十一月 2026 21:05:00 +0800", "周一, 23 11月 2026 13:05:00 GMT", "十一月 23, 2026 13:05",
        "11月 23, 2026 13:05", "23-十一月-2026 13:05:00", "23 11月, 2026 13:05",
        "2026年11月23日 星期一 下午1:05", "2026年11月23日13时05分00秒", "２０２６年１１月２３日　１３：０５",
        "2026年11月23日(月) 13:05", "2026年11月23日 13時05分", "2026년 11월 23일 오후 1:05", "2026-11-23，13:05",
        "Mon, 23 Nov 2026 13:05:00 GMT", "Mon, 23 Nov 2026 21:05:00 +0800", "Mon, 23 Nov 2026 21:05:00 +08:00",
        "Mon, 23 Nov 2026 21:05:00 GMT+8", "Mon, 23 Nov 2026 21:05:00 GMT+0800", "Mon, 23 Nov 2026 21:05:00 UTC+08:00",
        "Mon, 23 Nov 2026 08:05:00 EST", "Mon, 23 Nov 2026 05:05:00 PST", "Mon, 23 Nov 2026 07:05:00 CST",
        "Mon, 23 Nov 2026 13:05:00 UT", "Mon, 23 Nov 2026 13:05:00 Z", "Mon, 23 Nov 2026 13:05:00 A",
        "Mon, 23 Nov 2026 14:05:00 CET", "Mon, 23 Nov 2026 13:05", "Mon, 23 Nov 2026 13:05:00", "23 Nov 2026 13:05:00",
        "Fri, 23 Nov 2026 13:05:00 GMT", "Monday, 23-Nov-26 13:05:00 GMT", "Mon, 23 Nov 26 13:05:00 GMT",
        "Mon, 23 Nov 2026 21:05:00 +0800 (CST)", "Mon,23 Nov 2026 13:05:00 GMT", "mon, 23 nov 2026 13:05:00 gmt",
        "Mon, 23 November 2026 13:05:00 GMT", "Mon, 23. November 2026 13:05:00 GMT", "23-Nov-2026 13:05:00",
        "Mon Nov 23 13:05:00 +0000 2026", "Mon Nov 23 21:05:00 +0800 2026", "Mon Nov 23 13:05:00 2026",
        "Mon Nov 23 13:05:00 UTC 2026", "Mon Nov 23 2026 21:05:00 GMT+0800 (China Standard Time)",
        "November 23, 2026 1:05 PM", "Nov 23, 2026, 1:05:00 PM", "Nov. 23rd, 2026 13:05",
        "Monday, November 23, 2026 13:05",
        "lun., 23 nov. 2026 14:05:00 +0100", "23 de noviembre de 2026 13:05", "Mo, 23 Dez 2026 13:05",
        "23 ноября 2026 13:05",
        "23/11/2026 13:05", "23.11.2026 13:05:00", "11/23/2026 1:05:00 PM", "11/23/2026 13:05", "23-11-2026 13:05",
        "13:05 23/11/2026", "13:05:00 2026-11-23", "20261123130500", "202611231305",
        "1795439100", "1795439100000", "1795439100000000", "1795439100000000000", "1795439100.0", "1.7954391E9",
        1795439100, 1795439100.0, 1795439100000, 1795439100000000, 1795439100000000000, 46349.545138888889,
        "46349.545138888889",
    ],
)  # fmt: skip
def test_a_form_with_one_meaning_is_read(form: str | float) -> None:
    expected = datetime.fromisoformat(NOON) + (timedelta(days=30) if "Dez" in str(form) else timedelta())
    assert read_time(form) == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("2026-11-23", "2026-11-23T00:00:00Z"),
        ("20261123", "2026-11-23T00:00:00Z"),
        ("2026/11/23", "2026-11-23T00:00:00Z"),
        ("2026-11-23T24:00:00Z", "2026-11-24T00:00:00Z"),
        ("2026-11-23T23:59:60Z", "2026-11-24T00:00:00Z"),
        ("2026-11-23T21:05:00.123456789Z", "2026-11-23T21:05:00.123456Z"),
        ("Tue, 1 Dec 2026 12:00:00 AM +0000", "2026-12-01T00:00:00Z"),
        ("11/11/2026 08:00", "2026-11-11T08:00:00Z"),
        ("04.05.2026 08:00", "2026-05-04T08:00:00Z"),
        ("Sun, 06 Nov 94 08:49:37 GMT", "1994-11-06T08:49:37Z"),
        ("mar. 24 nov. 2026 10:00:00 +0000", "2026-11-24T10:00:00Z"),
        (1795440300.5, "2026-11-23T13:25:00.500000Z"),
        (46349, "2026-11-23T00:00:00Z"),
    ],
)
def test_the_edges_of_a_form(form: str | float, expected: str) -> None:
    assert read_time(form) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    "form",
    [
        "", " ", "yesterday", "3小时前", "昨天 21:05", "11/12/2026", "11-12-2026 10:00", "23/11/26", "2026", "2026-11",
        "21:05",
        "2026-13-01", "2026-02-30T10:00:00Z", "30 Feb 2026 10:00:00 GMT", "2026-11-23T25:00:00Z",
        "2026-11-23T24:00:01Z",
        "2026-11-23T10:60:00Z", "31/31/2026", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
        "2026-366T00:00:00Z",
        "2026-11-23 21:05:00 CST", "Mon Nov 23 21:05:00 CST 2026", "Mon, 23 Nov 2026 21:05:00 QQQQ",
        "Mon Foo 23 2026 10:00",
        "23 Nov 2026 13:05:00 AM", "-1795439100", "1e99", "9" * 60, "1" * 20, "NaN", "Infinity",
        "x" * 200, "2026-11-23T" + "0" * 90,
        0, -1, 12, 2026, 1e300, -1e300, float("nan"), float("inf"), 10**400, True, False, None, [], {}, b"2026-11-23",
    ],
)  # fmt: skip
def test_no_meaning_or_several_give_no_time(form: object) -> None:
    assert read_time(form) is None


def test_a_zone_counts_where_a_time_names_none() -> None:
    assert str(read_time("2026-11-23 21:05:00", SHANGHAI)) == NOON
    assert str(read_time("2026-11-23T13:05:00Z", SHANGHAI)) == NOON
    assert str(read_time("2026-11-23 13:05:00 GMT", SHANGHAI)) == NOON
    assert str(read_time("23.11.2026 21:05", SHANGHAI)) == NOON


def test_a_zone_says_which_of_the_names_that_the_world_uses_twice_is_meant() -> None:
    assert str(read_time("2026-11-23 21:05:00 CST", SHANGHAI)) == NOON
    assert str(read_time("Mon Nov 23 21:05:00 CST 2026", SHANGHAI)) == NOON
    assert str(read_time("Mon, 23 Nov 2026 21:05:00 CST", SHANGHAI)) == NOON


def test_the_order_of_day_and_month_can_be_given() -> None:
    assert str(read_time("11/12/2026 10:00", day_first=True)) == "2026-12-11 10:00:00+00:00"
    assert str(read_time("11/12/2026 10:00", day_first=False)) == "2026-11-12 10:00:00+00:00"
    assert str(read_time("23/11/2026 10:00", day_first=False)) == "2026-11-23 10:00:00+00:00"


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
TIMES = st.datetimes(datetime(1990, 1, 2), datetime(2068, 12, 30), timezones=ZONES)  # noqa: DTZ001


@given(TIMES)
def test_what_was_written_is_read(at: datetime) -> None:
    whole = at.replace(microsecond=0)
    assert read_time(at.isoformat()) == at
    assert read_time(format_datetime(whole)) == whole
    assert read_time(whole.strftime("%a %b %d %H:%M:%S %z %Y")) == whole
    assert read_time(whole.strftime("%Y年%m月%d日 %H:%M:%S"), whole.tzinfo or UTC) == whole
    assert read_time(whole.strftime("%B %d, %Y %I:%M:%S %p"), whole.tzinfo or UTC) == whole
    if whole.year >= 2001:
        for unit in (1, 10**3, 10**6, 10**9):
            assert read_time(round(whole.timestamp()) * unit) == whole
            assert read_time(str(round(whole.timestamp()) * unit)) == whole


@given(
    st.one_of(
        st.text(max_size=130),
        st.text("0123456789-/:.,+ TZWagpm年月日GMTCST()[]", max_size=130),
        st.floats(),
        st.integers(),
    )
)
def test_any_text_and_number_gives_an_aware_time_or_none(value: str | float) -> None:
    found = read_time(value)
    assert found is None or found.utcoffset() == timedelta()


@pytest.mark.parametrize("part", ["1", "1 ", "1:", "(", "[(", " ", "a", "1-", "周一", ". ", "00:00:", "+1"])
def test_the_work_is_bounded(part: str) -> None:
    started = time.perf_counter()
    for _ in range(200):
        read_time((part * MAX_LENGTH)[:MAX_LENGTH])
    read_time(part * 10**6)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("zone", "winter", "summer"),
    [
        ("America/New_York", "EST", "EDT"), ("America/Denver", "MST", "MDT"), ("America/Los_Angeles", "PST", "PDT"),
        ("America/Anchorage", "AKST", "AKDT"), ("Pacific/Honolulu", "HST", "HST"), ("Europe/Berlin", "CET", "CEST"),
        ("Europe/Berlin", "MEZ", "MESZ"), ("Europe/Lisbon", "WET", "WEST"), ("Europe/Athens", "EET", "EEST"),
        ("Europe/Moscow", "MSK", "MSK"), ("Asia/Tokyo", "JST", "JST"), ("Asia/Seoul", "KST", "KST"),
        ("Asia/Hong_Kong", "HKT", "HKT"), ("Asia/Singapore", "SGT", "SGT"), ("Asia/Manila", "PHT", "PHT"),
        ("Asia/Jakarta", "WIB", "WIB"), ("Asia/Bangkok", "ICT", "ICT"), ("Asia/Karachi", "PKT", "PKT"),
        ("Australia/Sydney", "AEDT", "AEST"), ("Australia/Darwin", "ACST", "ACST"), ("Australia/Perth", "AWST", "AWST"),
        ("Pacific/Auckland", "NZDT", "NZST"), ("America/Sao_Paulo", "BRT", "BRT"),
        ("America/Argentina/Buenos_Aires", "ART", "ART"), ("Africa/Johannesburg", "SAST", "SAST"),
        ("Africa/Nairobi", "EAT", "EAT"), ("Africa/Lagos", "WAT", "WAT"), ("UTC", "GMT", "UT"),
    ],
)  # fmt: skip
def test_the_name_of_a_zone_is_its_offset(zone: str, winter: str, summer: str) -> None:
    for name, month in ((winter, 1), (summer, 7)):
        at = datetime(2026, month, 15, 13, 5, tzinfo=ZoneInfo(zone))
        assert read_time(f"2026-{month:02}-15 13:05:00 {name}") == at
    assert read_time("Thu, 15 Jan 2026 13:05:00 CDT") == datetime(2026, 1, 15, 18, 5, tzinfo=UTC)
