"""What a reader must know before believing an alert: loud voices, and how negative a surge of posts is. Pure."""

from __future__ import annotations

from pipeline.alerting.alerts.origin import Language
from pipeline.domain.alert import VOLUME, Alert
from pipeline.domain.alert_voices import LoudestVoices

#: A share within this factor of the usual one is as negative as usual.
_AS_USUAL = 1.25
_WORDS = {
    "en": {
        "disputed": "disputed: {negatives} of {posts} posts negative if every post counts, {negatives_without} of "
        "{posts_without} without {voices}",
        "disputed_volume": "disputed: {posts} posts if every post counts, {posts_without} without {voices}",
        "author": "the loudest author", "authors": "the {n} loudest authors",
        "family": "one family of near-copies", "families": "{n} families of near-copies", "and": " and ",
        "same": "as negative as usual", "more": "more negative than usual", "less": "less negative than usual",
        "tone": "{tone} ({share:.0%}, usually {usual:.0%}), {times:.1f} times the negatives: {observed:.0f} in the "
        "last hour, {expected:.1f} expected",
    },
    "zh": {
        "disputed": "存疑：计入所有帖文时，{posts} 条中有 {negatives} 条负面；去掉{voices}后，"
        "{posts_without} 条中有 {negatives_without} 条负面",
        "disputed_volume": "存疑：计入所有帖文时共 {posts} 条，去掉{voices}后共 {posts_without} 条",
        "author": "发帖最多的 1 个账号", "authors": "发帖最多的 {n} 个账号",
        "family": " 1 组雷同帖文", "families": " {n} 组雷同帖文", "and": "和",
        "same": "负面占比与平时相当", "more": "负面占比高于平时", "less": "负面占比低于平时",
        "tone": "{tone}（{share:.0%}，平时 {usual:.0%}），负面数量为平时的 {times:.1f} 倍：最近一小时 "
        "{observed:.0f} 条，预期 {expected:.1f} 条",
    },
}  # fmt: skip


def caveats(alert: Alert, language: Language) -> list[str]:
    """Whether the alert is disputed, with both counts, and for a surge of posts how its negatives stand."""
    words, facts = _WORDS[language], []
    if alert.disputed and (voices := alert.loudest_voices):
        form = words["disputed_volume" if alert.lane == VOLUME else "disputed"]
        facts.append(form.format(voices=_names(voices, language), **voices.to_json()))
    if alert.lane == VOLUME and (tone := _tone(alert, language)):
        facts.append(tone)
    return facts


def _names(voices: LoudestVoices, language: Language) -> str:
    words = _WORDS[language]
    named = []
    for count, one, many in ((voices.authors, "author", "authors"), (voices.families, "family", "families")):
        if count:
            named.append(words[one if count == 1 else many].format(n=count))
    return words["and"].join(named)


def _tone(alert: Alert, language: Language) -> str:
    """The negatives of the last hour, against the share of the day before the surge.

    Empty without such a day, or if no posts were expected.
    """
    series, last, words = alert.series, alert.last_hour, _WORDS[language]
    if series is None or last is None or not last.posts or not last.expected:
        return ""
    ends = [series.end - (len(series.posts) - 1 - i) * series.step_s for i in range(len(series.posts))]
    before = [i for i, end in enumerate(ends) if end <= alert.started_at.timestamp()]
    recent = max(1, 3600 // series.step_s)
    posts, negatives = (sum(counts[i] for i in before) for counts in (series.posts, series.negatives))
    if not posts or not negatives:
        return ""
    observed, usual = sum(series.negatives[-recent:]), negatives / posts
    share, expected = observed / last.posts, usual * last.expected
    tone = "more" if share > usual * _AS_USUAL else "less" if share * _AS_USUAL < usual else "same"
    return words["tone"].format(
        tone=words[tone],
        share=share,
        usual=usual,
        times=observed / expected,
        observed=observed,
        expected=expected,
    )
