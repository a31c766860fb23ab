"""How far to trust the negatives of an alert that are estimated, in words. Pure."""

from __future__ import annotations

from pipeline.alerting.alerts.origin import Language
from pipeline.domain.alert import Alert

_NOTES = {
    "en": "estimated, 80 % interval of the share {low:.0%} to {high:.0%}; {counted} labelled negative",
    "zh": "估计值，负面占比的 80% 置信区间为 {low:.0%} 至 {high:.0%}；被标为负面的有 {counted} 条",
}


def estimate_note(alert: Alert, language: Language) -> str:
    """The interval of the share at the peak and the labels beside it; empty where labels are counted."""
    peak = alert.peak
    if peak.counted is None or peak.share_low is None or peak.share_high is None:
        return ""
    return _NOTES[language].format(low=peak.share_low, high=peak.share_high, counted=peak.counted)
