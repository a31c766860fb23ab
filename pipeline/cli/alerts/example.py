"""The alert that `alerts test-channel` sends."""

from __future__ import annotations

from datetime import datetime, timedelta

from pipeline.domain.alert import Alert
from pipeline.domain.alert_evidence import EvidencePost, PeakCounts, Series
from pipeline.domain.counting import Scope


def example_alert(now: datetime) -> Alert:
    """A warning about a subject that does not exist, one hour old."""
    now = now.replace(microsecond=0)
    post = EvidencePost("0", "opinionwatch", "", now, "This is a test of the channel. 这是一条测试消息。", 0.9, 2)
    return Alert(
        id=f"subject:Example@{now:%Y%m%dT%H%MZ}",
        key="subject:Example",
        scope=Scope(subject="Example"),
        started_at=now - timedelta(hours=1),
        updated_at=now,
        peak=PeakCounts(31, 8.2, 60, 0.5167, 0.1367, 3.78, 5.1),
        series=Series(
            end=int(now.timestamp()),
            step_s=1800,
            posts=(*[26, 31, 24, 29, 33, 27] * 7, *[28] * 4, 30, 30),
            negatives=(*[3, 5, 4] * 15, 4, 15, 16),
        ),
        evidence=(post,),
    )
