"""Reads the dates and times that files and producers write, as aware UTC datetimes. Pure.

A form is read only if it has exactly one meaning. If it has several (11/12/2026) or none, there is no time, and the
caller decides what to do without one.
"""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone, tzinfo

#: Longer values are not times; this bounds the work.
MAX_LENGTH = 100
#: A number counts seconds, milliseconds, microseconds or nanoseconds since 1970: the unit that gives 2000 to 2100.
_FIRST_S, _LAST_S = 946_684_800, 4_102_444_800
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
#: Spreadsheets count days since 1899-12-30; these are the same years.
_FIRST_SERIAL, _LAST_SERIAL = 36_526, 73_051
_SERIAL_ORIGIN = datetime(1899, 12, 30)  # noqa: DTZ001

_NUMBER = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,20})?(?:[eE]\+?\d{1,2})?", re.ASCII)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(?:(\d{2})(\d{2})(\d{2})?)?", re.ASCII)
_COMMENT = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_TIME = re.compile(
    r"(?P<before>上午|中午|下午|晚上|凌晨|早上|午前|午後|오전|오후)?\s*(?<![\d.])"
    r"(?P<h>\d{1,2})\s*(?:[:时時点點시])\s*(?P<m>\d{1,2})?\s*(?:[分분])?"
    r"(?:(?::|(?<=[分분])\s*)(?P<s>\d{1,2})(?:[.,](?P<f>\d{1,30}))?\s*[秒초]?)?(?![\d:])"
    r"\s*(?P<after>[ap]\.?m\b\.?)?",
    re.IGNORECASE | re.ASCII,
)
_ZONE = re.compile(
    r"\s*(?:(?:UTC|GMT|Z)?\s*(?P<sign>[+-])(?P<zh>\d{1,2})(?::?(?P<zm>\d{2}))?(?:\s+(?:UTC|GMT|[A-Z]{3,4}\b))?"
    r"|(?P<name>[A-Z]{1,5}))(?![\w:+-])",
    re.IGNORECASE | re.ASCII,
)
_YEAR_FIRST = re.compile(r"(\d{4})\s*([-/.年년])\s*(\d{1,2})\s*[-/.月월]\s*(\d{1,2})\s*[日号號일.]?", re.ASCII)
_ORDINAL = re.compile(r"(\d{4})-(\d{3})", re.ASCII)
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})", re.ASCII)
_DAY_MONTH = re.compile(r"(\d{1,2})(?:st|nd|rd|th|\.|º)?(?:\s+de)?[\s/-]*([^\W\d_]+)\.?(?:\s+de)?[\s,/-]*(\d{4}|\d{2})")
_MONTH_DAY = re.compile(r"([^\W\d_]+)\.?\s*(\d{1,2})(?:st|nd|rd|th)?[\s,]+(\d{4})")
_HAN_MONTH = re.compile(r"(十[一二]|[一二三四五六七八九十]|1[0-2]|0?[1-9])月")
_HAN_NUMBERS = ("一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二")
_WEEKDAY = re.compile(
    r"^\s*(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*(?:[.,]+\s*|\s))|"
    r"(?:星期|周|週|礼拜)[一二三四五六日天]|[月火水木金土日]曜日?|[월화수목금토일]요일",
    re.IGNORECASE,
)
#: A weekday in another language.
_LEADING = re.compile(r"^[^\W\d_]{2,15}[.,]+\s*")
_MIDDAY = ("下午", "晚上", "中午", "午後", "오후", "p")

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january januar janvier janv enero ene gennaio gen janeiro januari января янв",
            "feb february februar février févr fevrier fevr fév febrero febbraio fevereiro fev februari февраля фев",
            "mar march märz mär mrz mars marzo março marco maart mrt марта мар",
            "apr april avril avr abril abr aprile апреля апр",
            "may mai mayo maggio mag maio mei мая май",
            "jun june juni juin junio giugno giu junho июня июн",
            "jul july juli juillet juil julio luglio lug julho июля июл",
            "aug august août aout agosto ago augustus августа авг",
            "sep sept september septembre septiembre settembre set setembro сентября сен",
            "oct october oktober okt octobre octubre ottobre ott outubro out октября окт",
            "nov november novembre noviembre novembro ноября ноя",
            "dec december dezember dez décembre déc decembre diciembre dic dicembre dezembro декабря дек",
        ),
        1,
    )
    for name in names.split()
}
#: Hours east of Greenwich. The American names have their meaning from RFC 822. A name with several meanings (CST, IST,
#: BST) is read only in the form of RFC 822, or if the zone of the caller has that name.
_HOURS = {
    "Z": 0.0, "UT": 0.0, "UTC": 0.0, "GMT": 0.0, "WET": 0.0, "WEST": 1.0, "CET": 1.0, "CEST": 2.0, "MEZ": 1.0,
    "MESZ": 2.0, "EET": 2.0, "EEST": 3.0, "MSK": 3.0, "JST": 9.0, "KST": 9.0, "HKT": 8.0, "SGT": 8.0, "PHT": 8.0,
    "WIB": 7.0, "ICT": 7.0, "PKT": 5.0, "AEST": 10.0, "AEDT": 11.0, "ACST": 9.5, "AWST": 8.0, "NZST": 12.0,
    "NZDT": 13.0, "EST": -5.0, "EDT": -4.0, "CDT": -5.0, "MST": -7.0, "MDT": -6.0, "PST": -8.0, "PDT": -7.0,
    "AKST": -9.0, "AKDT": -8.0, "HST": -10.0, "BRT": -3.0, "ART": -3.0, "SAST": 2.0, "EAT": 3.0, "WAT": 1.0,
}  # fmt: skip
_RFC_822_ONLY = {"CST": -6.0}


def read_time(value: object, zone: tzinfo = UTC, *, day_first: bool | None = None) -> datetime | None:
    """The time that a text or a number means, in UTC; None if it means no time or several.

    Times that do not name a zone are in `zone`. `day_first` says whether 11/12/2026 is in December; without it, such a
    date has no meaning. A text longer than `MAX_LENGTH` is not a time, which bounds the work.

    >>> str(read_time("2026-11-23T21:05:00+08:00")), str(read_time(1795440300123))
    ('2026-11-23 13:05:00+00:00', '2026-11-23 13:25:00.123000+00:00')
    >>> str(read_time("Mon, 23 Nov 2026 08:05:00 EST")), str(read_time("2026年11月23日 21:05"))
    ('2026-11-23 13:05:00+00:00', '2026-11-23 21:05:00+00:00')
    >>> str(read_time("23/11/2026 9:05 PM")), read_time("11/12/2026"), read_time("yesterday")
    ('2026-11-23 21:05:00+00:00', None, None)
    """
    try:
        if isinstance(value, str):
            return _of_text(value, zone, day_first) if len(value) <= MAX_LENGTH else None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _of_number(value, zone)
    except (ValueError, OverflowError):
        pass
    return None


def _of_number(value: int | float, zone: tzinfo) -> datetime | None:
    if not math.isfinite(value):
        return None
    for unit in _UNITS:
        if _FIRST_S * unit <= value < _LAST_S * unit:
            whole, part = divmod(value, unit)
            return datetime.fromtimestamp(int(whole), UTC) + timedelta(microseconds=int(part * 1_000_000 / unit))
    if _FIRST_SERIAL <= value < _LAST_SERIAL:
        return _placed(_SERIAL_ORIGIN + timedelta(seconds=round(value * 86_400)), zone)
    return None


def _of_text(text: str, zone: tzinfo, day_first: bool | None) -> datetime | None:
    text = text.strip()
    if _NUMBER.fullmatch(text):
        if (compact := _COMPACT.fullmatch(text)) and (1900 <= int(compact[1]) < 2100):
            return _placed(datetime(*(int(x or 0) for x in compact.groups())), zone)  # type: ignore[arg-type]  # noqa: DTZ001
        return _of_number(int(text) if text.isdigit() else float(text), zone)
    try:
        return _placed(datetime.fromisoformat(text), zone)
    except ValueError:
        return _of_words(unicodedata.normalize("NFKC", text), zone, day_first)


def _of_words(text: str, zone: tzinfo, day_first: bool | None) -> datetime | None:
    text = " ".join(_WEEKDAY.sub(" ", _COMMENT.sub(" ", text)).split()).strip(" ,")
    after_midnight = timedelta()
    named: tzinfo | str | None = None
    if time := _TIME.search(text):
        found = _clock(time)
        if found is None:
            return None
        after_midnight, rest = found, text[time.end() :]
        if (at := _ZONE.match(rest)) and (named := _zone(at)) is not None:
            rest = rest[at.end() :]
        text = f"{text[: time.start()].rstrip(' T,t')} {rest}".strip(" ,-")
    day, rfc_822 = _date(text, day_first)
    if day is None and (leading := _LEADING.match(text)):
        day, rfc_822 = _date(text[leading.end() :], day_first)
    if day is None:
        return None
    if isinstance(named, str):
        named = _named(named, zone, day, rfc_822=rfc_822)
        if named is None:
            return None
    return _placed(day + after_midnight, named or zone)


def _clock(time: re.Match[str]) -> timedelta | None:
    """The time since midnight; 24:00 and a leap second are the start of the next day or minute."""
    hour, minute, second = (int(time[x] or 0) for x in "hms")
    half = (time["before"] or time["after"] or "").lower()
    if half and half.startswith(_MIDDAY):
        hour += 12 if hour < 12 else 0
    elif half:
        if hour > 12:
            return None
        hour %= 12
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second)):
        return None
    microseconds = int((time["f"] or "0")[:6].ljust(6, "0"))
    return timedelta(hours=hour, minutes=minute, seconds=second, microseconds=microseconds)


def _zone(at: re.Match[str]) -> tzinfo | str | None:
    """An offset, or the name of a known zone; None for a word that is not a zone."""
    if at["sign"]:
        offset = timedelta(hours=int(at["zh"]), minutes=int(at["zm"] or 0))
        return timezone(offset if at["sign"] == "+" else -offset)
    name = at["name"].upper()
    return name if name in _HOURS or name in _RFC_822_ONLY or len(name) == 1 or name in {"IST", "BST"} else None


def _named(name: str, zone: tzinfo, day: datetime, *, rfc_822: bool) -> tzinfo | None:
    if zone is not UTC and name == zone.tzname(day):
        return zone
    if name in _HOURS:
        return timezone(timedelta(hours=_HOURS[name]))
    if not rfc_822:
        return None
    # RFC 2822: RFC 822 defined the military letters the wrong way round, so that they mean nothing.
    return timezone(timedelta(hours=_RFC_822_ONLY[name])) if name in _RFC_822_ONLY else UTC if len(name) == 1 else None


def _date(text: str, day_first: bool | None) -> tuple[datetime | None, bool]:
    """Midnight of a date, without a zone, and whether the date has the form of RFC 822."""
    if found := _YEAR_FIRST.fullmatch(text):
        return datetime(int(found[1]), int(found[3]), int(found[4])), False  # noqa: DTZ001
    if found := _ORDINAL.fullmatch(text):
        day = datetime(int(found[1]), 1, 1) + timedelta(days=int(found[2]) - 1)  # noqa: DTZ001
        return (day if int(found[2]) and day.year == int(found[1]) else None), False
    if found := _YEAR_LAST.fullmatch(text):
        one, other, year = int(found[1]), int(found[3]), int(found[4])
        # With dots, every country writes the day first.
        first = True if found[2] == "." and other <= 12 else day_first
        if one > 12 or other > 12 or one == other:
            first = one > 12
        if first is None:
            return None, False
        return datetime(year, *((other, one) if first else (one, other))), False  # noqa: DTZ001
    written, text = text, _HAN_MONTH.sub(_month_name, text)
    if (found := _DAY_MONTH.fullmatch(text)) and (month := _MONTHS.get(found[2].casefold())):
        return datetime(_year(found[3]), month, int(found[1])), text == written  # noqa: DTZ001
    if (found := _MONTH_DAY.fullmatch(text)) and (month := _MONTHS.get(found[1].casefold())):
        return datetime(int(found[3]), month, int(found[2])), False  # noqa: DTZ001
    return None, False


def _month_name(month: re.Match[str]) -> str:
    """The English name of a month that is written 十一月 or 11月 with a day and a year."""
    number = int(month[1]) if month[1].isdigit() else _HAN_NUMBERS.index(month[1]) + 1
    return next(name for name, n in _MONTHS.items() if n == number)


def _year(text: str) -> int:
    year = int(text)
    return year if len(text) == 4 else year + (2000 if year < 69 else 1900)


def _placed(time: datetime, zone: tzinfo) -> datetime:
    return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)
