"""A generic webhook: signed JSON by POST; the body is our own, or Alertmanager's webhook body of version 4.

The receiver checks `X-Opinionwatch-Signature: t=SECONDS,v1=HEX`, HEX = HMAC-SHA256(secret, "SECONDS." + body), and
drops a repeated `Idempotency-Key`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Literal

from models.json_types import JsonObject
from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.channels.alertmanager import alert_name, alertmanager_alert
from pipeline.alerting.notify.channels.answers import judge
from pipeline.alerting.notify.channels.http import Poster


class WebhookChannel:
    """Implements `Channel`."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        secret: str = "",
        allow_private: bool = False,
        timeout_s: float = 10.0,
        body: Literal["opinionwatch", "alertmanager"] = "opinionwatch",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises `Fatal` for a URL that may not be called; the signature holds the time of `clock`."""
        self.name, self._secret, self._body, self._clock = name, secret, body, clock
        self._poster = Poster(name, url, allow_private=allow_private, timeout_s=timeout_s)

    async def send(self, notice: Notice) -> None:
        value = version_4(notice, self.name) if self._body == "alertmanager" else plain(notice)
        body = json.dumps(value, ensure_ascii=False).encode()
        headers = {"Idempotency-Key": notice.key}
        if self._secret:
            headers["X-Opinionwatch-Signature"] = signature(self._secret, body, int(self._clock()))
        judge(self.name, await self._poster.post(body, headers))

    async def check(self) -> None:
        await self._poster.check()


def plain(notice: Notice) -> JsonObject:
    """Our own body: the whole alert document."""
    return {
        "version": "1",
        "idempotency_key": notice.key,
        "transition": notice.transition,
        "alert": notice.alert.to_json_with_id(),
    }


def version_4(notice: Notice, receiver: str) -> JsonObject:
    """Alertmanager's body for webhooks (prometheus.io/docs/alerting/latest/configuration, webhook_config)."""
    alert, name = alertmanager_alert(notice), alert_name(notice.alert)
    status = "resolved" if notice.transition == "resolved" else "firing"
    fingerprint = hashlib.sha256(notice.alert.id.encode()).hexdigest()[:16]
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{name}"}}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": receiver,
        "groupLabels": {"alertname": name},
        "commonLabels": alert.labels,
        "commonAnnotations": alert.annotations,
        "externalURL": "",
        "alerts": [{**alert.to_json(), "status": status, "fingerprint": fingerprint}],
    }


def signature(secret: str, body: bytes, at_s: int) -> str:
    """The value of the signature header.

    >>> signature("s", b"{}", 1)[:8]
    't=1,v1=b'
    """
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"
