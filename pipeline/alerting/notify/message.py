"""An alert as a chat or a mail shows it, in English or Chinese, cut to a channel's size. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from models.text import clean
from pipeline.alerting.alerts.terms import MOST_OF_A_SOURCE, MOST_OF_AN_AUTHOR
from pipeline.domain.alert import VOLUME

Language = Literal["en", "zh"]

_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "opened": "opened", "escalated": "escalated", "reminder": "still open", "resolved": "resolved",
        "test": "test", "warning": "warning", "critical": "critical",
        "counts": "{observed} of {posts} posts negative in {hours} h, {expected:.1f} expected (x{lift})",
        "volume": "{observed} posts in {hours} h, {expected:.1f} expected at this time of day (x{lift})",
        "now": "now: {observed} of {posts} posts negative in the hour to {at} UTC, {expected:.1f} expected",
        "now_volume": "now: {observed} posts in the hour to {at} UTC, {expected:.1f} expected",
        "peak": "at its peak: {counts}", "false": "closed as a false alarm by {by}",
        "since": "since {since}", "evidence": "Evidence", "reposts": "+{n} reposts", "also": "explains {related} too",
        "cold": "little history: judged by fixed limits", "query": "Query", "model": "Model", "console": "Console",
        "spread": "{sources} sources, {authors} authors", "terms": "Terms",
        "from": "{share:.0%} from {source}", "by": "{share:.0%} by one author",
        "rate": "keys of this volume ({tier}) alert {rate:.2f} times a week, back-tested",
    },
    "zh": {
        "opened": "触发", "escalated": "升级", "reminder": "仍未恢复", "resolved": "已恢复", "test": "测试",
        "warning": "警告", "critical": "严重",
        "counts": "{hours} 小时内 {posts} 条中有 {observed} 条负面，预期 {expected:.1f} 条（{lift} 倍）",
        "volume": "{hours} 小时内共 {observed} 条，同一时段预期 {expected:.1f} 条（{lift} 倍）",
        "now": "目前：截至 {at} UTC 的一小时内 {posts} 条中有 {observed} 条负面，预期 {expected:.1f} 条",
        "now_volume": "目前：截至 {at} UTC 的一小时内共 {observed} 条，预期 {expected:.1f} 条",
        "peak": "峰值：{counts}", "false": "{by} 标记为误报并关闭",
        "since": "始于 {since}", "evidence": "证据", "reposts": "转发 {n}", "also": "同时解释 {related}",
        "cold": "历史不足，按固定阈值判断", "query": "查询", "model": "模型", "console": "控制台",
        "spread": "{sources} 个来源，{authors} 位作者", "terms": "关键词",
        "from": "{share:.0%} 来自 {source}", "by": "{share:.0%} 出自同一作者",
        "rate": "同量级（{tier}）的关键词回测每周触发 {rate:.2f} 次",
    },
}  # fmt: skip


_HARMLESS = {ord(c): ord(c) + 0xFEE0 for c in "\\`*_[]<>#@~|!"}


@dataclass(frozen=True, slots=True)
class Message:
    """`title` in one line; `facts` in order of weight; `evidence` as (text, URL, reposts)."""

    title: str
    facts: list[str]
    evidence_heading: str
    evidence: list[tuple[str, str, str]]


def message(alert: Mapping[str, Any], transition: str, language: Language) -> Message:
    """What is said of one transition; `alert` is an alert document."""
    words = _WORDS[language]
    since = datetime.fromisoformat(alert["started_at"]).strftime("%Y-%m-%d %H:%M UTC")
    counts = words["volume" if alert.get("lane") == VOLUME else "counts"].format(
        observed=alert["observed"],
        posts=alert["posts"],
        hours=alert["window_s"] // 3600,
        expected=alert["expected"],
        lift=alert["lift"],
    )
    facts = [*_how_it_stands(alert, transition, counts, words), words["since"].format(since=since)]
    if alert.get("terms"):
        facts.append(f"{words['terms']}: {', '.join(alert['terms'])}")
    facts += origin(alert, language)
    if alert["related"]:
        facts.append(words["also"].format(related=", ".join(alert["related"])))
    if (rate := alert.get("false_alerts_per_key_week")) is not None:
        facts.append(words["rate"].format(tier=alert["tier"], rate=rate))
    if alert["cold"]:
        facts.append(words["cold"])
    if alert["model"]:
        facts.append(f"{words['model']}: {alert['model']}")
    evidence = [
        (
            _line(post["text"]),
            _line(post["url"]),
            words["reposts"].format(n=post["reposts"]) if post["reposts"] else "",
        )
        for post in alert["evidence"]
    ]
    title = f"[{words[alert['severity']]}] {alert['key']} {words[transition]}"
    return Message(_line(title), [_line(fact) for fact in facts], words["evidence"], evidence)


def _line(text: str) -> str:
    """One line without control and format characters, whatever a producer wrote: no header, no paragraph of its own.

    >>> _line("a\\r\\nBcc: b\\x1b[2J\\u202ec")
    'a Bcc: bc'
    """
    return " ".join("".join(c if c.isprintable() else " " if c.isspace() else "" for c in clean(text)).split())


def _how_it_stands(alert: Mapping[str, Any], transition: str, counts: str, words: Mapping[str, str]) -> list[str]:
    """The counts that opened the alert; later on its last hour, and these as its peak."""
    facts = []
    if false_alarm := alert.get("false_alarm"):
        facts = [words["false"].format(by=false_alarm["by"]), *filter(None, [false_alarm.get("note")])]
    last = alert.get("last_hour")
    if not last or transition not in {"reminder", "resolved"}:
        return [*facts, counts]
    at = datetime.fromisoformat(last["at"]).strftime("%H:%M")
    now = words["now_volume" if alert.get("lane") == VOLUME else "now"]
    return [*facts, now.format(**{**last, "at": at}), words["peak"].format(counts=counts)]


def origin(alert: Mapping[str, Any], language: Language) -> list[str]:
    """Who wrote the posts of an alert, and whether one source of several, or one author, has most of them.

    >>> spread = {"sources": 3, "authors": 9, "top_source": "weibo", "top_source_share": .85, "top_author_share": .1}
    >>> origin({"spread": spread}, "en"), origin({"spread": {}}, "en")
    (['3 sources, 9 authors', '85% from weibo'], [])
    """
    words, spread = _WORDS[language], alert.get("spread")
    if not spread:
        return []
    facts = [words["spread"].format(sources=spread["sources"], authors=spread["authors"])]
    if spread["sources"] > 1 and spread.get("top_source_share", 0.0) > MOST_OF_A_SOURCE:
        facts.append(words["from"].format(share=spread["top_source_share"], source=spread["top_source"]))
    if spread.get("top_author_share", 0.0) > MOST_OF_AN_AUTHOR:
        facts.append(words["by"].format(share=spread["top_author_share"]))
    return facts


def fitted(value: Message, render: Callable[[Message], str], max_bytes: int) -> str:
    """The rendered message within `max_bytes` of UTF-8: evidence is shortened, then left out, before facts are cut."""
    for length in (280, 140, 70):
        short = [(cut(text, length * 3), url, heat) for text, url, heat in value.evidence]
        for n in range(len(short), -1, -1):
            text = render(Message(value.title, value.facts, value.evidence_heading, short[:n]))
            if len(text.encode()) <= max_bytes and (n == len(short) or length == 70):
                return text
    return cut(render(Message(value.title, value.facts, value.evidence_heading, [])), max_bytes)


def cut(text: str, max_bytes: int) -> str:
    """At most `max_bytes` of UTF-8, no character split, with an ellipsis where something is gone.

    >>> cut("手机爆炸", 9), cut("short", 9)
    ('手机…', 'short')
    """
    raw = text.encode()
    if len(raw) <= max_bytes:
        return text
    return raw[: max(0, max_bytes - 3)].decode("utf-8", "ignore") + "…"


def markdown(value: Message) -> str:
    """Headings, a list of facts, quoted evidence with links; what a post says cannot make markup."""
    lines = [f"**{_plain(value.title)}**", *(f"- {_plain(fact)}" for fact in value.facts)]
    if value.evidence:
        lines.append(f"**{value.evidence_heading}**")
        for text, url, heat in value.evidence:
            link = f" [link]({_url(url)})" if _url(url) else ""
            lines.append(f"> {_plain(text)}{f' ({heat})' if heat else ''}{link}")
    return "\n\n".join(lines)


def plain_text(value: Message) -> str:
    """For a mail's text part."""
    lines = [value.title, "", *value.facts]
    if value.evidence:
        lines += ["", value.evidence_heading]
        lines += [f"- {text}{f' ({heat})' if heat else ''} {url}".rstrip() for text, url, heat in value.evidence]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Characters with which a post could make markup, mentions or links become their full-width forms.

    The vendors do not agree on an escape, and some know none.
    """
    return text.translate(_HARMLESS)


def _url(url: str) -> str:
    safe = url.startswith(("http://", "https://")) and not any(c in url for c in " ()<>\"'\n")
    return url if safe else ""
