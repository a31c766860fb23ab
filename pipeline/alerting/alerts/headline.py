"""An alert in one line without the text of a post, fit for a log. Pure."""

from __future__ import annotations

from pipeline.alerting.alerts.estimate_note import estimate_note
from pipeline.domain.alert import VOLUME, Alert


def headline(alert: Alert, transition: str) -> str:
    """Severity, transition, key and counts; a reminder and an end say first how the key is doing now."""
    now = last_hour_line(alert) if transition in {"reminder", "resolved"} else ""
    return f"{alert.severity} {transition}: {alert.key}, {f'{now}; at its peak ' if now else ''}{counts_line(alert)}"


def last_hour_line(alert: Alert) -> str:
    """The counts of the alert's last hour; empty if the alert has none."""
    last = alert.last_hour
    if last is None:
        return ""
    counted = _counted(alert, last.observed, last.posts)
    return f"{counted} in the hour to {last.at:%H:%M} UTC, {last.expected:.1f} expected"


def counts_line(alert: Alert) -> str:
    """The counts of the alert's peak, observed against expected."""
    peak = alert.peak
    counted = _counted(alert, peak.observed, peak.posts)
    estimate = f"; {note}" if (note := estimate_note(alert, "en")) else ""
    return f"{counted} in {peak.window_s // 3600} h, {peak.expected:.1f} expected (x{peak.lift}){estimate}"


def _counted(alert: Alert, observed: int, posts: int) -> str:
    if alert.lane == VOLUME:
        return f"{observed} posts"
    if alert.toward:
        return f"negative toward {alert.toward}: {observed} of {posts} posts"
    return f"{observed} of {posts} posts negative"
