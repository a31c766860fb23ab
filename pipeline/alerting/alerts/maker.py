"""Makes the alert of an episode; no other module makes one. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from pipeline.alerting.alerts.evidence import Evidence
from pipeline.alerting.alerts.loudest import is_disputed
from pipeline.alerting.evaluation.episodes import Episode
from pipeline.alerting.evaluation.events import Event
from pipeline.domain.alert import NEGATIVE, OPEN, RESOLVED, VOLUME, Alert
from pipeline.domain.alert_evidence import AppliedThreshold, LastHour, PeakCounts, Series
from pipeline.domain.delivery import NotificationStatus


def make_alert(event: Event, evidence: Evidence, before: Alert | None, min_lift: float = 1.5) -> Alert:
    """The alert after an event of its episode.

    A rise is a share of `min_lift` times the usual one. `before` is the alert as the store has it. Its notification
    times stay, and so do its posts if there are no new ones.
    """
    episode, threshold = event.episode, event.threshold
    status = before.notifications.times_only() if before else NotificationStatus()
    return Alert(
        id=episode.id,
        lane=episode.lane,
        key=episode.key,
        scope=episode.scope,
        severity=episode.severity,
        state=RESOLVED if episode.resolved_at else OPEN,
        started_at=episode.started_at,
        updated_at=episode.updated_at,
        resolved_at=episode.resolved_at,
        notifications=status,
        peak=_peak_counts(episode),
        threshold=AppliedThreshold(
            tier=event.tier,
            fire=threshold.fire,
            false_alerts_per_key_week=round(threshold.per_key_week, 3) if threshold.key_weeks else None,
            false_alerts_low=None if threshold.low is None else round(threshold.low, 3),
            false_alerts_high=None if threshold.high is None else round(threshold.high, 3),
        ),
        sequence=episode.sequence,
        related=tuple(sorted({*event.inhibited, *(before.related if before else ())})),
        model=evidence.model,
        query=evidence.query,
        evidence=evidence.posts or (before.evidence if before else ()),
        terms=evidence.terms,
        source_profile=evidence.source_profile,
        series=event.series,
        last_hour=last_hour(event.series, episode),
        loudest_voices=evidence.loudest_voices,
        disputed=is_disputed(episode.lane, episode.peak, evidence.loudest_voices, min_lift),
    )


def _peak_counts(episode: Episode) -> PeakCounts:
    """The counts of the peak: negatives in the negative lane; posts in the volume lane, which has no share."""
    peak, by_share = episode.peak, episode.lane == NEGATIVE
    expected = peak.baseline * peak.posts if by_share else peak.expected
    share = peak.observed / peak.posts if peak.posts else 0.0
    return PeakCounts(
        observed=peak.observed,
        expected=peak.expected,
        posts=peak.posts,
        share=round(share, 4) if by_share else None,
        expected_share=peak.baseline if by_share else None,
        lift=round(peak.observed / expected, 2) if expected else 0.0,
        score=peak.score,
        window_s=peak.window_s,
        cold=peak.cold,
        counted=peak.counted,
        share_low=peak.share_low,
        share_high=peak.share_high,
        negative_mean=peak.negative_mean,
        other_mean=peak.other_mean,
    )


def last_hour(series: Series, episode: Episode) -> LastHour:
    """The last hour of the series against what the peak was measured against."""
    steps = max(1, 3600 // series.step_s)
    posts, negatives = sum(series.posts[-steps:]), sum(series.negatives[-steps:])
    peak, volume = episode.peak, episode.lane == VOLUME
    expected = peak.expected * steps * series.step_s / peak.window_s if volume else peak.baseline * posts
    return LastHour(
        at=datetime.fromtimestamp(series.end, UTC),
        observed=posts if volume else round(negatives),
        posts=posts,
        expected=round(expected, 2),
    )


def closed_as_orphan(alert: Alert, at: datetime) -> Alert:
    """An open alert whose episode is lost, ended at event time `at` with a note that says so."""
    return replace(
        alert,
        state=RESOLVED,
        resolved_at=at,
        updated_at=at,
        sequence=alert.sequence + 1,
        note="closed without an end: the evaluation lost its episode",
    )
