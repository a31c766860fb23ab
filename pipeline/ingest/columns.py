"""Maps rows of any table to posts of the contract: names of columns, and forms of numbers, times and ids. Pure.

An optional field with an invalid value moves to `extra` and is reported, and the post stays. docs/ingest.md lists the
names.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache

from models.files.columns import TEXT, TITLE, plain
from models.json_types import Json, JsonObject
from pipeline.classify.codec import KINDS
from pipeline.domain.times import read_time
from pipeline.ingest.markup import reader_text

#: For each field of the contract, the names that files use for it, the best first; a dot leads into an object.
ALIASES: dict[str, tuple[str, ...]] = {
    "v": ("v",),
    "id": (
        "id_str", "id", "native_id", "post_id", "tweet_id", "status_id", "note_id", "article_id", "comment_id",
        "message_id", "mblogid", "mid", "guid", "uuid", "uri", "微博id", "帖子id", "文章id", "评论id", "编号",
    ),
    "source": ("source", "platform", "site", "channel", "media", "website", "source_name", "source.name", "来源",
        "平台",
               "来源平台", "网站", "媒体", "媒体名称", "渠道", "來源", "網站"),
    "kind": ("kind",),
    "url": ("url", "link", "permalink", "href", "post_url", "tweet_url", "permalink_url", "page_url", "external_url",
            "链接", "网址", "原文链接", "微博链接", "地址", "連結", "鏈接", "網址"),
    "title": TITLE,
    "text": (*TEXT, "note_tweet.text", "extended_tweet.full_text", "content.text"),
    "author": (
        "author", "username", "user_name", "screen_name", "nickname", "author_name", "author.name", "author.username",
        "user.screen_name", "user.username", "user.name", "user.nickname", "account.acct", "account.username",
        "creator",
        "user", "from.name", "from", "by", "poster", "author_id", "user_id", "作者", "用户名", "用户昵称", "昵称",
        "博主",
        "发布者", "发帖人", "发布人", "用户", "暱稱", "發布者",
    ),
    "published_at": (
        "published_at", "published", "publish_time", "publish_date", "pubdate", "pub_date", "pub_time",
        "date_published",
        "created_at", "created_time", "create_time", "created_utc", "created", "posted_at", "post_time", "post_date",
        "datetime", "date", "timestamp", "time", "发布时间", "发表时间", "创建时间", "发布日期", "时间", "日期",
        "發布時間",
        "發佈時間", "時間",
    ),
    "lang": ("lang", "language", "语言"),
    "reposts": ("reposts", "reposts_count", "repost_count", "retweet_count", "retweets", "shares", "share_count",
                "reblogs_count", "public_metrics.retweet_count", "转发数", "转发量", "转发", "分享数", "轉發數",
                "轉發"),
    "likes": ("likes", "like_count", "likes_count", "favorite_count", "favourites_count", "favorites",
        "attitudes_count",
              "digg_count", "upvotes", "ups", "public_metrics.like_count", "点赞数", "点赞量", "点赞", "赞", "喜欢",
              "按讚數"),
    "comments": ("comments", "comments_count", "comment_count", "reply_count", "replies", "replies_count",
        "num_comments",
                 "public_metrics.reply_count", "评论数", "评论量", "回复数", "評論數", "留言數"),
    "extra": ("extra",),
}  # fmt: skip
_COUNTS = ("reposts", "likes", "comments")
_NOTHING = frozenset({"", "null", "none", "nan", "n/a", "na", "-", "--", "nat", "undefined", "—", "–", "#n/a", "\\n"})
_INTEGER = re.compile(r"([+-]?\d{1,18})(?:\.0{1,6})?", re.ASCII)
_THOUSANDS = re.compile(r"\d{1,3}(?:(?:[, \u00a0\u202f'’]\d{3}){1,5}|(?:\.\d{3}){2,5})", re.ASCII)
_SHORT = re.compile(r"(\d{1,9}(?:\.\d{1,4})?)\s*(k|m|w|万|萬|亿|億)\+?", re.IGNORECASE | re.ASCII)
_UNITS = {"k": 10**3, "m": 10**6, "w": 10**4, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_ROUNDED = re.compile(r"\d(?:[.,]\d+)?[eE]\+?\d{1,3}")
_WHOLE = re.compile(r"(\d{1,15})\.0", re.ASCII)
_TAGS = re.compile(r"</?(?:p|br|div|span|a|b|i|em|strong|img)\b[^<>]*>", re.IGNORECASE)
#: The plan of a row is cached if its column names have at most this many characters together.
_CACHED = 10_000
#: Integers up to here are exact in a spreadsheet and in JavaScript.
_EXACT = 2**53


class RowError(ValueError):
    """A row that does not become a post; `reason` is a short machine-readable word."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Rules:
    """What the file itself does not say. `given` has pairs of a field and its column; an empty column means none."""

    source: str = ""
    kind: str = ""
    zone: tzinfo = UTC
    day_first: bool | None = None
    given: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Mapped:
    """A post, whether it has a valid time, the fields left out, and the columns that match no field."""

    post: JsonObject
    timed: bool
    left_out: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def post_of(values: JsonObject, rules: Rules, surplus: tuple[str, ...] = ()) -> Mapped:
    """Maps a row to a post; raises `RowError`."""
    columns = tuple(map(str, values))
    # The file may have names of any length, so the cache is bounded.
    if sum(map(len, columns)) <= _CACHED:
        paths, unknown = _plan(columns, rules.given)
    else:
        paths, unknown = _plan.__wrapped__(columns, rules.given)
    found: dict[str, Json] = {}
    for name, candidates in paths.items():
        words = name not in {"text", "title"}
        at = next((p for p in candidates if not _missing(_at(values, p), words=words)), None)
        if at is not None:
            value = _at(values, at)
            if name == "text" and at[-1] != "text" and isinstance(value, str) and _TAGS.search(value):
                value = reader_text(value)
            found[name] = value
    extra: dict[str, Json] = (
        dict(e) if isinstance(e := found.pop("extra", None), dict) else {} if e is None else {"extra": e}
    )
    post: dict[str, Json] = {k: values[k] for k in unknown if not _missing(values[k])}
    left_out: list[str] = []
    for name, value in found.items():
        read = _read(name, value)
        if read is not None:
            post[name] = read
        elif name != "published_at":
            extra[name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            left_out.append(name)
    post["id"] = _identity(found.get("id"), has_url=bool(post.get("url")))
    timed = _put_time(post, found, values, rules)
    if surplus:
        if left_out or ("published_at" in found and not timed):
            raise RowError(
                "shifted", "the row has more values than columns, and they are shifted: quote the commas in the text"
            )
        extra["surplus"] = " ".join(surplus)
    post.setdefault("source", rules.source)
    if rules.kind:
        post.setdefault("kind", rules.kind)
    if extra:
        post["extra"] = extra
    return Mapped({k: v for k, v in post.items() if v not in (None, "")}, timed, tuple(left_out), unknown)


def as_bytes(post: JsonObject) -> bytes:
    """Encodes a post as the value of a record."""
    try:
        return json.dumps(post, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        # A number that JSON cannot express or a lone surrogate: it is escaped, so that decoding reports it.
        return json.dumps(_finite(post)).encode()


def missing_columns(values: JsonObject, rules: Rules) -> list[str]:
    """Returns the columns that `--map` names and the row does not have."""
    names = {plain(k) for k in values}
    return [column for _, column in rules.given if column and plain(column.partition(".")[0]) not in names]


@lru_cache(maxsize=256)
def _plan(
    columns: tuple[str, ...], given: tuple[tuple[str, str], ...]
) -> tuple[dict[str, tuple[tuple[str, ...], ...]], tuple[str, ...]]:
    """Returns the paths to try for each field, and the columns that no field uses."""
    names = {plain(c): c for c in reversed(columns)}
    chosen = dict(given)
    taken = {plain(c) for c in chosen.values()}
    paths: dict[str, tuple[tuple[str, ...], ...]] = {}
    for name, aliases in ALIASES.items():
        wanted = (chosen[name],) if name in chosen else (a for a in aliases if plain(a) not in taken)
        paths[name] = tuple(dict.fromkeys(filter(None, (_path(alias, names) for alias in wanted))))
    used = {candidates[0][0] for candidates in paths.values() if candidates and len(candidates[0]) == 1}
    return paths, tuple(c for c in columns if c not in used and c not in ALIASES)


def _path(alias: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the path of a name among the columns; empty if there is none."""
    if (column := names.get(plain(alias))) is not None:
        return (column,)
    top, *rest = alias.split(".")
    return (names[plain(top)], *rest) if rest and plain(top) in names else ()


def _at(values: Json, path: tuple[str, ...]) -> Json:
    for name in path:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def _missing(value: Json, *, words: bool = True) -> bool:
    """Whether a value is missing; with `words`, words such as "null" count as missing too."""
    if isinstance(value, str):
        return value.strip().casefold() in (_NOTHING if words else {""})
    return value is None or value in ([], {}) or (isinstance(value, float) and math.isnan(value))


def _read(name: str, value: Json) -> Json:
    """Returns the value in the contract's form; None if it is invalid, or is read elsewhere."""
    if name in _COUNTS:
        return read_count(value)
    if name == "v":
        return 1 if value in (1, "1", "1.0") and value is not True else value
    if name == "kind":
        kind = str(value).strip().casefold()
        return kind if kind in KINDS else None
    if name == "author":
        return _name(value)
    if name == "url" and isinstance(value, list):
        value = next((x for x in value if isinstance(x, str)), None)
    if name in {"title", "text"} and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if name == "source":
        # X puts a link to the app that wrote the post into this field.
        return None if isinstance(value, str) and _TAGS.search(value) else value
    if name in {"text", "title"}:
        return value
    return "" if name in {"id", "published_at"} else value if isinstance(value, str) else None


def read_count(value: Json) -> int | None:
    """Returns a count that a person or a program wrote; None if the value is not one.

    >>> [read_count(x) for x in (3.0, "12.0", "1,204", "1.2万", "3k", "②", -1, True)]
    [3, 12, 1204, 12000, 3000, None, None, None]
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        value = int(value) if math.isfinite(value) and value.is_integer() else None
    if isinstance(value, str):
        text = value.strip()
        if whole := _INTEGER.fullmatch(text):
            value = int(whole[1])
        elif _THOUSANDS.fullmatch(text):
            value = int(re.sub(r"\D", "", text))
        elif short := _SHORT.fullmatch(text):
            value = round(float(short[1]) * _UNITS[short[2].lower()])
    return value if isinstance(value, int) and 0 <= value <= _EXACT else None


def _name(value: Json) -> str | None:
    if isinstance(value, list):
        value = next(iter(value), None)
    if isinstance(value, Mapping):
        value = next((value[k] for k in ("name", "username", "screen_name", "nickname", "id") if value.get(k)), None)
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT else None


def _identity(value: Json, *, has_url: bool) -> str:
    """Returns an id as text; "" if a spreadsheet rounded it and the post has a URL."""
    rounded = isinstance(value, str) and _ROUNDED.fullmatch(value.strip()) is not None
    if isinstance(value, float):
        if value.is_integer() and abs(value) < _EXACT:
            return str(int(value))
        rounded = True
    if rounded:
        if has_url:
            return ""
        raise RowError(
            "rounded_id", f"a spreadsheet rounded the id {value}: format its column as text and export again"
        )
    if value is None or (isinstance(value, (str, int)) and not isinstance(value, bool)):
        text = "" if value is None else str(value).strip()
        return whole[1] if (whole := _WHOLE.fullmatch(text)) else text
    raise RowError("wrong_type", f"the id is a {type(value).__name__}")


def _put_time(post: dict[str, Json], found: JsonObject, values: JsonObject, rules: Rules) -> bool:
    """Adds the time as ISO 8601, or as written if it is ambiguous; returns whether it could be read."""
    post.pop("published_at", None)
    if "published_at" not in found:
        return False
    written = found["published_at"]
    at = None
    if isinstance(values.get("date"), str) and isinstance(values.get("time"), str) and written == values["date"]:
        at = read_time(f"{values['date']} {values['time']}", rules.zone, day_first=rules.day_first)
    at = at or read_time(written, rules.zone, day_first=rules.day_first)
    post["published_at"] = at.isoformat() if isinstance(at, datetime) else str(written)[:100]
    return at is not None


def _finite(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
