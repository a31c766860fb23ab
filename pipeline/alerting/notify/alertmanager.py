"""Alertmanager's own API: POST /api/v2/alerts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.alerting.alerts.document import headline
from pipeline.alerting.notify.answers import judge
from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.http import Poster
from pipeline.domain.alert import VOLUME, WARNING

#: How often what is open is said again, and for how long Alertmanager takes it for open: ten missed times and more,
#: so that a restart on either side resolves nothing.
REFRESH_S = 60.0
OPEN_FOR = timedelta(minutes=30)
_AT_ONCE = 100


class AlertmanagerChannel:
    """Implements `StatefulChannel`; `url` is Alertmanager's own, e.g. http://alertmanager:9093."""

    refresh_s = REFRESH_S

    def __init__(
        self,
        name: str,
        url: str,
        *,
        allow_private: bool = False,
        timeout_s: float = 10.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name, self._now = name, now
        address = f"{url.rstrip('/')}/api/v2/alerts"
        self._poster = Poster(name, address, allow_private=allow_private, timeout_s=timeout_s)

    async def send(self, notice: Notice) -> None:
        resolved = notice.transition == "resolved"
        alerts = [self._timed(notice, resolved=resolved)]
        if notice.transition == "escalated":
            # Another severity is another alert there: the one of before has ended.
            before = Notice(notice.key, notice.transition, {**notice.alert, "severity": WARNING})
            alerts.append(self._timed(before, resolved=True))
        await self._post(alerts)

    async def refresh(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        for at in range(0, len(alerts), _AT_ONCE):
            some = alerts[at : at + _AT_ONCE]
            await self._post([self._timed(Notice(a["id"], "reminder", a), resolved=False) for a in some])

    async def check(self) -> None:
        await self._poster.check()

    def _timed(self, notice: Notice, *, resolved: bool) -> dict[str, Any]:
        now = self._now()
        start = min(datetime.fromisoformat(notice.alert["started_at"]), now)
        return fields(notice) | {
            "startsAt": start.isoformat(),
            "endsAt": (now if resolved else now + OPEN_FOR).isoformat(),
        }

    async def _post(self, alerts: list[dict[str, Any]]) -> None:
        judge(self.name, await self._poster.post(json.dumps(alerts, ensure_ascii=False).encode()))


def fields(notice: Notice) -> dict[str, Any]:
    """Labels and annotations as Alertmanager's routes and templates read them."""
    alert = notice.alert
    name = "OpinionVolume" if alert.get("lane") == VOLUME else "OpinionNegativeShare"
    labels = {"alertname": name, "key": alert["key"], "severity": alert["severity"]}
    labels |= {name: alert[name] for name in ("topic", "subject", "source") if alert.get(name)}
    evidence = "\n".join(f"{post['text']} {post['url']}".strip() for post in alert["evidence"][:5])
    ends = alert.get("resolved_at") or "0001-01-01T00:00:00Z"
    return {
        "labels": labels,
        "annotations": {
            "summary": headline(alert, notice.transition),
            "evidence": evidence,
            "query": alert["query"],
            "transition": notice.transition,
        },
        "startsAt": alert["started_at"],
        "endsAt": ends,
        "generatorURL": alert.get("console_url", ""),
    }
