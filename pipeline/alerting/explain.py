"""An alert as analysts and channels read it: observed against expected, evidence, the query. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from models.text import MAX_NAME, clean, clean_line, clean_url
from pipeline.alerting.episodes import NEGATIVE, VOLUME, Episode
from pipeline.alerting.events import Series
from pipeline.alerting.tiers import Threshold

EXCERPT = 280


def alert_document(
    episode: Episode,
    evidence: Sequence[Mapping[str, Any]],
    query: str,
    model: str,
    muted: Sequence[str],
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
        "related": sorted({*muted, *old.get("related", ())}),
        "model": model,
        "query": query,
        "evidence": [_evidence(post) for post in evidence] or list(old.get("evidence", ())),
        "pending": [],
        "held": old.get("held", ""),
        "terms": list(old.get("terms", ())),
        "spread": dict(old.get("spread", {})),
        "series": asdict(series),
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
    return f"{alert['severity']} {transition}: {alert['key']}, {counts(alert)}"


def counts(alert: Mapping[str, Any]) -> str:
    """What was observed against what was expected, by the alert's lane."""
    counted = f"{alert['observed']} posts"
    if alert.get("lane") != VOLUME:
        counted = f"{alert['observed']} of {alert['posts']} posts negative"
    return f"{counted} in {alert['window_s'] // 3600} h, {alert['expected']:.1f} expected (x{alert['lift']})"
