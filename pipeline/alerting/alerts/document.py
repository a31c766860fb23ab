"""An alert as analysts and channels read it: observed against expected, evidence, the query. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from models.text import MAX_NAME, clean, clean_line, clean_url
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.episodes import Episode
from pipeline.domain.alert import NEGATIVE, VOLUME
from pipeline.domain.alert_evidence import Series

EXCERPT = 280


def alert_document(
    episode: Episode,
    evidence: Sequence[Mapping[str, Any]],
    query: str,
    model: str,
    inhibited: Sequence[str],
    threshold: Threshold,
    tier: str,
    series: Series,
    old: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The document of `opinion-alerts`; `old` is the one it replaces (its notification times are kept).

    `observed` and `expected` are negatives in the negative lane, posts in the volume lane, where there is no share.
    `tier` of volume with its `threshold`: how often keys like this one alert without cause, null before a calibration.
    """
    peak, old = episode.peak, old or {}
    share = peak.observed / peak.posts if peak.posts else 0.0
    usual = peak.baseline * peak.posts if episode.lane == NEGATIVE else peak.expected
    return {
        "lane": episode.lane,
        "key": episode.key,
        **asdict(episode.scope),
        "severity": episode.severity,
        "state": "resolved" if episode.resolved_at else "open",
        "started_at": episode.started_at.isoformat(),
        "updated_at": episode.updated_at.isoformat(),
        "resolved_at": episode.resolved_at.isoformat() if episode.resolved_at else None,
        "first_notified_at": old.get("first_notified_at"),
        "last_notified_at": old.get("last_notified_at"),
        "observed": peak.observed,
        "expected": peak.expected,
        "posts": peak.posts,
        "share": round(share, 4) if episode.lane == NEGATIVE else None,
        "expected_share": peak.baseline if episode.lane == NEGATIVE else None,
        "lift": round(peak.observed / usual, 2) if usual else 0.0,
        "score": peak.score,
        "tier": tier,
        "fire": threshold.fire,
        "false_alerts_per_key_week": round(threshold.per_key_week, 3) if threshold.key_weeks else None,
        "window_s": peak.window_s,
        "cold": peak.cold,
        "sequence": episode.sequence,
        "related": sorted({*inhibited, *old.get("related", ())}),
        "model": model,
        "query": query,
        "evidence": [_evidence(post) for post in evidence] or list(old.get("evidence", ())),
        "terms": list(old.get("terms", ())),
        "spread": dict(old.get("spread", {})),
        "series": asdict(series),
        "last_hour": last_hour(series, episode),
        "note": "",
    }


def last_hour(series: Series, episode: Episode) -> dict[str, Any]:
    """How the key stands at the end of the series: the last hour, observed against expected, as at the peak."""
    steps = max(1, 3600 // series.step_s)
    posts, negatives = sum(series.posts[-steps:]), sum(series.negatives[-steps:])
    peak, volume = episode.peak, episode.lane == VOLUME
    expected = peak.expected * steps * series.step_s / peak.window_s if volume else peak.baseline * posts
    return {
        "at": datetime.fromtimestamp(series.end, UTC).isoformat(),
        "observed": posts if volume else negatives,
        "posts": posts,
        "expected": round(expected, 2),
    }


def closed_as_orphan(alert: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """An open alert without an episode, ended at event time `at` with a note."""
    moment = at.isoformat()
    return {
        **{k: v for k, v in alert.items() if k != "id"},
        "state": "resolved",
        "resolved_at": moment,
        "updated_at": moment,
        "sequence": alert["sequence"] + 1,
        "note": "closed without an end: the evaluation lost its episode",
    }


def _evidence(post: Mapping[str, Any]) -> dict[str, Any]:
    # A post may have been indexed by a release that cleaned less.
    text = clean(post["title"] or post["text"])
    return {
        "id": post["_id"],
        "source": clean_line(post["source"], MAX_NAME),
        "url": clean_url(post["url"]),
        "published_at": post["@timestamp"],
        "text": text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…",
        "negative_score": post["negative_score"],
        "reposts": post["heat"],
    }


def headline(alert: Mapping[str, Any], transition: str) -> str:
    """One line without post text, fit for a log.

    >>> headline({"key": "subject:Nova", "severity": "critical", "observed": 80, "posts": 100, "expected": 21.4,
    ...           "window_s": 3600, "lift": 3.74}, "opened")
    'critical opened: subject:Nova, 80 of 100 posts negative in 1 h, 21.4 expected (x3.74)'
    """
    now = now_line(alert) if transition in {"reminder", "resolved"} else ""
    return f"{alert['severity']} {transition}: {alert['key']}, {f'{now}; at its peak ' if now else ''}{counts(alert)}"


def now_line(alert: Mapping[str, Any]) -> str:
    """How the alert stands now, by its last hour; empty where the alert does not say.

    >>> now_line({"last_hour": {"at": "2026-11-24T09:30:00+00:00", "observed": 4, "posts": 30, "expected": 3.2}})
    '4 of 30 posts negative in the hour to 09:30 UTC, 3.2 expected'
    """
    last = alert.get("last_hour")
    if not last:
        return ""
    counted = f"{last['observed']} posts"
    if alert.get("lane") != VOLUME:
        counted = f"{last['observed']} of {last['posts']} posts negative"
    at = datetime.fromisoformat(last["at"])
    return f"{counted} in the hour to {at:%H:%M} UTC, {last['expected']:.1f} expected"


def counts(alert: Mapping[str, Any]) -> str:
    """What was observed against what was expected, by the alert's lane."""
    counted = f"{alert['observed']} posts"
    if alert.get("lane") != VOLUME:
        counted = f"{alert['observed']} of {alert['posts']} posts negative"
    return f"{counted} in {alert['window_s'] // 3600} h, {alert['expected']:.1f} expected (x{alert['lift']})"
