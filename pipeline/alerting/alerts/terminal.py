"""An alert in a few lines for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from pipeline.alerting.alerts.caveats import caveats
from pipeline.alerting.alerts.headline import counts_line, last_hour_line
from pipeline.alerting.alerts.origin import origin
from pipeline.domain.alert import CRITICAL, Alert


def alert_text(alert: Alert) -> RenderableType:
    """Observed against expected, what the posts have in common, and the first three of them."""
    colour = "red" if alert.severity == CRITICAL else "yellow"
    inhibited = f"; also inhibits {', '.join(alert.related)}" if alert.related else ""
    lines = [
        Text.assemble(
            (f"● {alert.severity} ", f"bold {colour}"),
            (alert.key, "bold"),
            f"  {counts_line(alert)}",
        ),
        Text(f"  since {alert.started_at:%a %d %b %H:%M}, {alert.state}{inhibited}", style="dim"),
    ]
    if alert.is_open and (now := last_hour_line(alert)):
        lines.append(Text(f"  {now}"))
    lines += [Text(f"  {caveat}") for caveat in caveats(alert, "en")]
    if facts := [*filter(None, [", ".join(alert.terms)]), *origin(alert, "en")]:
        lines.append(Text(f"  {'; '.join(facts)}"))
    for post in alert.evidence[:3]:
        text = " ".join(post.text.split())
        lines.append(Text(f"  {post.shown_score:.2f} +{post.reposts} {text[:90]}  {post.url}", style="italic"))
    return Group(*lines)
