"""The live view of the demo in a terminal: rates, topics and subjects with their negative share, and alerts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipeline.alerting.alerts.terminal import alert_text
from pipeline.alerting.counting.shares import key_shares
from pipeline.demo.play import Session, Summary, total
from pipeline.domain.alert import Alert
from pipeline.domain.counting import BUCKET_S

_BARS = "▁▂▃▄▅▆▇█"
_STEPS = 24
_STEP = timedelta(hours=14)


class View:
    """Draws a session; it reads the counts from the store at most once a second."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._shares: list[tuple[str, int, list[float | None]]] = []
        self._alerts: list[Alert] = []
        self._read_at = 0.0

    def __rich__(self) -> RenderableType:
        if time.monotonic() - self._read_at > 1.0:
            self._read()
            self._read_at = time.monotonic()
        return Group(self._head(), self._keys(), self._alert_panel())

    def _read(self) -> None:
        session = self._session
        self._alerts = session.store.alerts(limit=20)
        if session.at is None:
            return
        rule = session.settings.alerts.counting
        found = key_shares(session.store, rule, session.at + timedelta(seconds=BUCKET_S), _STEP, _STEPS)
        self._shares = [
            (key, sum(n), [k / m if m else None for k, m in zip(negatives, n, strict=True)])
            for key, (n, negatives) in sorted(
                found.items(), key=lambda item: (item[0].startswith("topic"), -sum(item[1][0]))
            )
        ]

    def _head(self) -> RenderableType:
        session, metrics = self._session, self._session.workers.metrics
        elapsed = max(0.1, (session.finished or time.monotonic()) - session.started)
        moment = f"{session.at:%a %d %b %H:%M}" if session.at else "–"
        line = Text.assemble(
            ("opinionwatch demo  ", "bold"),
            f"event time {moment}   ",
            (f"{session.done / elapsed:.0f} posts/s   ", "cyan"),
            f"lag {session.sent - session.done}   ",
            f"indexed {total(metrics, 'indexed')}  duplicate {total(metrics, 'duplicate')}  "
            f"dead {total(metrics, 'dead')}",
        )
        share = session.sent / max(1, len(session.items))
        width = 40
        return Group(line, Text("━" * round(share * width) + "╌" * (width - round(share * width)), style="green"))

    def _keys(self) -> RenderableType:
        table = Table(expand=True, box=None, padding=(0, 1))
        table.add_column("key")
        table.add_column("posts", justify="right")
        table.add_column("negative share, two weeks")
        table.add_column("now", justify="right")
        if not self._shares:
            table.add_row("waiting for the first posts …", "", "", "")
        for key, posts, shares in self._shares[:12]:
            now = next((s for s in reversed(shares) if s is not None), 0.0)
            table.add_row(key, str(posts), sparkline(shares), f"{now:.0%}", style="red" if now > 0.5 else "")
        return Panel(table, title="topics and subjects", border_style="dim")

    def _alert_panel(self) -> RenderableType:
        if not self._alerts:
            return Panel("no alert", title="alerts", border_style="green")
        return Panel(Group(*(alert_text(a) for a in self._alerts[:3])), title="alerts", border_style="red")


def sparkline(shares: list[float | None]) -> str:
    """One bar per step, at full height for a share of 1; a dot marks a step without posts.

    >>> sparkline([0.0, 0.5, 1.0, None])
    '▁▅█·'
    """
    return "".join("·" if s is None else _BARS[min(7, int(s * 8))] for s in shares)


def summary_lines(summary: Summary) -> Iterator[RenderableType]:
    """The summary of a demo for people."""
    yield (
        f"consumed {summary.consumed} = indexed {summary.indexed} + duplicate {summary.duplicate} + dead "
        f"{summary.dead} + in flight {summary.in_flight}   ({summary.posts_per_s} posts/s, {summary.model})"
    )
    yield from map(alert_text, reversed(summary.alerts))
    if not summary.alerts:
        yield "no alert"
