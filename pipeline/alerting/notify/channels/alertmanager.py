"""Alertmanager's own API: POST /api/v2/alerts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from models.json_types import JsonObject
from pipeline.alerting.alerts.headline import headline
from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.channels.answers import judge
from pipeline.alerting.notify.channels.http import Poster
from pipeline.domain.alert import VOLUME, WARNING, Alert

#: Seconds between two refreshes of the open alerts.
REFRESH_S = 60.0
#: How long Alertmanager keeps an alert open without a refresh: longer than any restart on either side takes.
OPEN_FOR = timedelta(minutes=30)
_BATCH = 100


@dataclass(frozen=True, slots=True)
class AlertmanagerAlert:
    """An alert as Alertmanager knows it, with times as text; it may end in the future."""

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    ends_at: str

    def to_json(self) -> JsonObject:
        return {
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": self.starts_at,
            "endsAt": self.ends_at,
            "generatorURL": "",
        }


class AlertmanagerChannel:
    """Implements `StatefulChannel`; `poster` posts to `alerts_url`."""

    refresh_s = REFRESH_S

    def __init__(self, name: str, poster: Poster, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.name, self._poster, self._now = name, poster, now

    async def send(self, notice: Notice) -> None:
        resolved = notice.transition == "resolved"
        alerts = [self._timed(notice, resolved=resolved)]
        if notice.transition == "escalated":
            # Another severity is another alert there: the one with the former severity has ended.
            before = replace(notice, alert=replace(notice.alert, severity=WARNING))
            alerts.append(self._timed(before, resolved=True))
        await self._post(alerts)

    async def refresh(self, alerts: Sequence[Alert]) -> None:
        for at in range(0, len(alerts), _BATCH):
            batch = alerts[at : at + _BATCH]
            await self._post([self._timed(Notice(a.id, "reminder", a), resolved=False) for a in batch])

    async def check(self) -> None:
        await self._poster.check()

    def _timed(self, notice: Notice, *, resolved: bool) -> AlertmanagerAlert:
        now = self._now()
        start, end = min(notice.alert.started_at, now), now if resolved else now + OPEN_FOR
        return replace(alertmanager_alert(notice), starts_at=start.isoformat(), ends_at=end.isoformat())

    async def _post(self, alerts: list[AlertmanagerAlert]) -> None:
        body = json.dumps([each.to_json() for each in alerts], ensure_ascii=False)
        judge(self.name, await self._poster.post(body.encode()))


def alerts_url(url: str) -> str:
    """The address of alerts at an Alertmanager whose own address is `url`, e.g. http://alertmanager:9093."""
    return f"{url.rstrip('/')}/api/v2/alerts"


def alert_name(alert: Alert) -> str:
    """The label `alertname`."""
    return "OpinionVolume" if alert.lane == VOLUME else "OpinionNegativeShare"


def alertmanager_alert(notice: Notice) -> AlertmanagerAlert:
    """The alert with its event times, and with what Alertmanager's routes and templates read."""
    alert, scope = notice.alert, notice.alert.scope
    named = {"topic": scope.topic, "subject": scope.subject, "source": scope.source}
    labels = {"alertname": alert_name(alert), "key": alert.key, "severity": alert.severity}
    labels |= {label: value for label, value in named.items() if value}
    evidence = "\n".join(f"{post.text} {post.url}".strip() for post in alert.evidence[:5])
    return AlertmanagerAlert(
        labels=labels,
        annotations={
            "summary": headline(alert, notice.transition),
            "evidence": evidence,
            "query": alert.query,
            "transition": notice.transition,
        },
        starts_at=alert.started_at.isoformat(),
        ends_at=alert.resolved_at.isoformat() if alert.resolved_at else "0001-01-01T00:00:00Z",
    )
