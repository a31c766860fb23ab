"""An alert as a chat or a mail shows it, in English or Chinese, cut to a channel's size. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from models.text import clean
from pipeline.alerting.alerts.caveats import caveats
from pipeline.alerting.alerts.estimate_note import estimate_note
from pipeline.alerting.alerts.origin import Language, origin
from pipeline.domain.alert import VOLUME, Alert

_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "opened": "opened", "escalated": "escalated", "reminder": "still open", "resolved": "resolved",
        "test": "test", "warning": "warning", "critical": "critical",
        "counts": "{observed} of {posts} posts negative in {hours} h, {expected:.1f} expected (x{lift})",
        "toward": "negative toward {toward}: {observed} of {posts} posts in {hours} h, "
        "{expected:.1f} expected (x{lift})",
        "volume": "{observed} posts in {hours} h, {expected:.1f} expected at this time of day (x{lift})",
        "now": "now: {observed} of {posts} posts negative in the hour to {at} UTC, {expected:.1f} expected",
        "now_toward": "now: negative toward {toward}: {observed} of {posts} posts in the hour to {at} UTC, "
        "{expected:.1f} expected",
        "now_volume": "now: {observed} posts in the hour to {at} UTC, {expected:.1f} expected",
        "peak": "at its peak: {counts}", "false": "closed as a false alarm by {by}",
        "since": "since {since}", "evidence": "Evidence", "reposts": "+{n} reposts", "also": "also inhibits {related}",
        "cold": "the key has little history, so fixed limits apply", "model": "Model", "terms": "Terms",
        "rate": "keys with this volume ({tier}) alert {rate:.2f} times a week in the back-test",
        "rate_interval": " (80 % interval {low:.2f} to {high:.2f})",
    },
    "zh": {
        "opened": "触发", "escalated": "升级", "reminder": "仍未恢复", "resolved": "已恢复", "test": "测试",
        "warning": "警告", "critical": "严重",
        "counts": "{hours} 小时内 {posts} 条中有 {observed} 条负面，预期 {expected:.1f} 条（{lift} 倍）",
        "toward": "{hours} 小时内 {posts} 条中有 {observed} 条对“{toward}”持负面态度，"
        "预期 {expected:.1f} 条（{lift} 倍）",
        "volume": "{hours} 小时内共 {observed} 条，同一时段预期 {expected:.1f} 条（{lift} 倍）",
        "now": "目前：截至 {at} UTC 的一小时内 {posts} 条中有 {observed} 条负面，预期 {expected:.1f} 条",
        "now_toward": "目前：截至 {at} UTC 的一小时内 {posts} 条中有 {observed} 条对“{toward}”持负面态度，"
        "预期 {expected:.1f} 条",
        "now_volume": "目前：截至 {at} UTC 的一小时内共 {observed} 条，预期 {expected:.1f} 条",
        "peak": "峰值：{counts}", "false": "{by} 已将其标记为误报并关闭",
        "since": "开始时间：{since}", "evidence": "代表性帖文", "reposts": "转发 {n} 次", "also": "同时抑制：{related}",
        "cold": "历史数据不足，按固定阈值判定", "model": "模型", "terms": "关键词",
        "rate": "回测中，同量级（{tier}）的监测对象平均每周触发 {rate:.2f} 次",
        "rate_interval": "（80% 置信区间：{low:.2f} 至 {high:.2f}）",
    },
}  # fmt: skip


_HARMLESS = {ord(c): ord(c) + 0xFEE0 for c in "\\`*_[]<>#@~|!"}


class Quote(NamedTuple):
    """A post as a message quotes it; `reposts` is in words, empty if there are none."""

    text: str
    url: str
    reposts: str

    @property
    def is_linkable(self) -> bool:
        """Whether a reader may open the URL in a browser."""
        return self.url.startswith(("http://", "https://")) and not any(c in self.url for c in " ()<>\"'\n")


@dataclass(frozen=True, slots=True)
class Message:
    """The `title` in one line, the `facts` in order of weight, and the posts quoted as evidence."""

    title: str
    facts: list[str]
    evidence_heading: str
    evidence: list[Quote]


def message(alert: Alert, transition: str, language: Language) -> Message:
    """The message on one transition of an alert."""
    words = _WORDS[language]
    facts = [
        *_counts(alert, transition, words),
        *filter(None, [estimate_note(alert, language)]),
        *caveats(alert, language),
        words["since"].format(since=alert.started_at.strftime("%Y-%m-%d %H:%M UTC")),
    ]
    if alert.terms:
        facts.append(f"{words['terms']}: {', '.join(alert.terms)}")
    facts += origin(alert, language)
    if alert.related:
        facts.append(words["also"].format(related=", ".join(alert.related)))
    if (rate := alert.threshold.false_alerts_per_key_week) is not None:
        fact = words["rate"].format(tier=alert.threshold.tier, rate=rate)
        low, high = alert.threshold.false_alerts_low, alert.threshold.false_alerts_high
        facts.append(fact if low is None else fact + words["rate_interval"].format(low=low, high=high))
    if alert.peak.cold:
        facts.append(words["cold"])
    if alert.model:
        facts.append(f"{words['model']}: {alert.model}")
    evidence = [
        Quote(_line(post.text), _line(post.url), words["reposts"].format(n=post.reposts) if post.reposts else "")
        for post in alert.evidence
    ]
    title = f"[{words[alert.severity]}] {alert.key} {words[transition]}"
    return Message(_line(title), [_line(fact) for fact in facts], words["evidence"], evidence)


def _counts(alert: Alert, transition: str, words: Mapping[str, str]) -> list[str]:
    """The counts of the peak; a reminder and an end have those of the last hour before them."""
    peak = alert.peak
    kind = "volume" if alert.lane == VOLUME else "toward" if alert.toward else "counts"
    counts = words[kind].format(
        toward=alert.toward,
        observed=peak.observed,
        posts=peak.posts,
        hours=peak.window_s // 3600,
        expected=peak.expected,
        lift=peak.lift,
    )
    facts = []
    if word := alert.false_alarm:
        facts = [words["false"].format(by=word.by), *filter(None, [word.note])]
    last = alert.last_hour
    if last is None or transition not in {"reminder", "resolved"}:
        return [*facts, counts]
    now = words["now" if kind == "counts" else f"now_{kind}"].format(
        toward=alert.toward, observed=last.observed, posts=last.posts, expected=last.expected, at=f"{last.at:%H:%M}"
    )
    return [*facts, now, words["peak"].format(counts=counts)]


def _line(text: str) -> str:
    """One line without control and format characters, so that a post makes no header and no paragraph of its own.

    >>> _line("a\\r\\nBcc: b\\x1b[2J\\u202ec")
    'a Bcc: bc'
    """
    return " ".join("".join(c if c.isprintable() else " " if c.isspace() else "" for c in clean(text)).split())


def fitted(value: Message, render: Callable[[Message], str], max_bytes: int) -> str:
    """The rendered message within `max_bytes` of UTF-8: evidence is shortened, then left out, before facts are cut."""
    for length in (280, 140, 70):
        short = [quote._replace(text=cut(quote.text, length * 3)) for quote in value.evidence]
        for n in range(len(short), -1, -1):
            text = render(replace(value, evidence=short[:n]))
            if len(text.encode()) <= max_bytes and (n == len(short) or length == 70):
                return text
    return cut(render(replace(value, evidence=[])), max_bytes)


def cut(text: str, max_bytes: int) -> str:
    """At most `max_bytes` of UTF-8, no character split, with an ellipsis if the text was longer.

    >>> cut("手机爆炸", 9), cut("short", 9)
    ('手机…', 'short')
    """
    raw = text.encode()
    if len(raw) <= max_bytes:
        return text
    return raw[: max(0, max_bytes - 3)].decode("utf-8", "ignore") + "…"


def markdown(value: Message) -> str:
    """Headings, a list of facts, quoted evidence with links; the text of a post cannot make markup."""
    lines = [f"**{_harmless(value.title)}**", *(f"- {_harmless(fact)}" for fact in value.facts)]
    if value.evidence:
        lines.append(f"**{value.evidence_heading}**")
        for quote in value.evidence:
            link = f" [link]({quote.url})" if quote.is_linkable else ""
            lines.append(f"> {_harmless(quote.text)}{f' ({quote.reposts})' if quote.reposts else ''}{link}")
    return "\n\n".join(lines)


def _harmless(text: str) -> str:
    """Replaces characters that could make markup, mentions or links with their full-width forms.

    The vendors do not agree on an escape, and some have none.
    """
    return text.translate(_HARMLESS)
