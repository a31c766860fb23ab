"""Alertmanager's own API: POST /api/v2/alerts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.alerting.episodes import VOLUME
from pipeline.alerting.explain import headline
from pipeline.alerting.notify.base import Notice
from pipeline.alerting.notify.http import Poster

#: An open alert is told again every four hours; without news it ends by itself after that and a little more.
OPEN_FOR = timedelta(hours=4, minutes=30)


class AlertmanagerChannel:
    """Implements `Channel`; `url` is Alertmanager's own, e.g. http://alertmanager:9093."""

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
        alert, now = fields(notice), self._now()
        alert["startsAt"] = min(datetime.fromisoformat(notice.alert["started_at"]), now).isoformat()
        alert["endsAt"] = (now if notice.transition == "resolved" else now + OPEN_FOR).isoformat()
        await self._poster.post(json.dumps([alert], ensure_ascii=False).encode())


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
