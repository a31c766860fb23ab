"""Many alerts that begin or end at once as one message. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from pipeline.domain.alert import CRITICAL, VOLUME, Alert
from pipeline.domain.counting import EVERYTHING

#: Posts that a group shows, each of another alert.
SHOWN = 5


def group_alert(alerts: Sequence[Alert]) -> Alert:
    """One alert in place of several, which it names in `related`, the worst of them first.

    Counts are sums over the keys. A post of two keys counts twice, which a reader can tell from the keys.
    """
    ranked = sorted(alerts, key=lambda alert: (alert.severity != CRITICAL, -alert.peak.score, alert.key))
    worst, peaks = ranked[0], [alert.peak for alert in ranked]
    posts, observed = sum(peak.posts for peak in peaks), sum(peak.observed for peak in peaks)
    expected = round(sum(peak.expected for peak in peaks), 2)
    digest = hashlib.sha256("\x00".join(sorted(alert.id for alert in alerts)).encode()).hexdigest()[:16]
    return replace(
        worst,
        id=f"group-{digest}",
        key=f"{len(ranked)} keys",
        scope=EVERYTHING,
        peak=replace(
            worst.peak,
            observed=observed,
            expected=expected,
            posts=posts,
            share=round(observed / posts, 4) if posts and worst.lane != VOLUME else None,
            lift=round(observed / expected, 2) if expected else 0.0,
            window_s=max(peak.window_s for peak in peaks),
            counted=None,
            share_low=None,
            share_high=None,
            negative_mean=None,
            other_mean=None,
        ),
        started_at=min(alert.started_at for alert in ranked),
        related=tuple(alert.key for alert in ranked),
        evidence=tuple(alert.evidence[0] for alert in ranked if alert.evidence)[:SHOWN],
        terms=tuple(dict.fromkeys(term for alert in ranked for term in alert.terms[:2]))[:6],
        source_profile=None,
        series=None,
        last_hour=None,
        loudest_voices=None,
        disputed=False,
    )
