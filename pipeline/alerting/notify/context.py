"""What the queues of all channels share."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from pipeline.alerting.notify.outbox import Outbox
from pipeline.alerting.notify.policy import NotificationPolicy
from pipeline.domain.alert import Alert
from pipeline.domain.metrics import Metrics


@dataclass(frozen=True, slots=True)
class QueueContext:
    """`holds` says whether this process is the one that notifies; `reread` counts again who wrote an alert's posts.

    `now` is of the wall clock, `monotonic` in seconds. More than `group_above` alerts that begin or end at once are one
    message.
    """

    outbox: Outbox
    policy: NotificationPolicy
    reread: Callable[[Alert], Awaitable[Alert]]
    holds: Callable[[], bool]
    metrics: Metrics
    group_above: int
    now: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic
