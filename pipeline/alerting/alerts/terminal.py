"""An alert as a terminal shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from pipeline.alerting.alerts.document import counts, now_line
from pipeline.alerting.notify.message import origin


def alert_text(alert: dict[str, Any]) -> RenderableType:
    """An alert as the terminal shows it: observed against expected, and the evidence."""
    since = datetime.fromisoformat(alert["started_at"])
    colour = "red" if alert["severity"] == "critical" else "yellow"
    lines = [
        Text.assemble(
            (f"● {alert['severity']} ", f"bold {colour}"),
            (alert["key"], "bold"),
            f"  {counts(alert)}",
        ),
        Text(f"  since {since:%a %d %b %H:%M}, {alert['state']}" + _also(alert), style="dim"),
    ]
    if alert["state"] == "open" and (now := now_line(alert)):
        lines.append(Text(f"  {now}"))
    if facts := [*filter(None, [", ".join(alert.get("terms") or ()), *origin(alert, "en")])]:
        lines.append(Text(f"  {'; '.join(facts)}"))
    for post in alert["evidence"][:3]:
        text = " ".join(post["text"].split())
        lines.append(
            Text(f"  {post['negative_score']:.2f} +{post['reposts']} {text[:90]}  {post['url']}", style="italic")
        )
    return Group(*lines)


def _also(alert: dict[str, Any]) -> str:
    return f"; explains {', '.join(alert['related'])} too" if alert["related"] else ""
