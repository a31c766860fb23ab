"""One attempt to send one message, whatever the channel raises."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pipeline.alerting.notify.channel import Channel, Notice
from pipeline.domain.delivery import DeliveryState
from pipeline.domain.errors import Fatal, Transient
from pipeline.domain.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a message; `wait_s` is what the receiver asks for before the next attempt."""

    state: DeliveryState
    detail: str = ""
    wait_s: float = 0.0


async def attempt(channel: Channel, notice: Notice, metrics: Metrics) -> Result:
    """Sends a notice and counts the outcome; an exception is a failure of this channel alone."""
    try:
        await channel.send(notice)
    except Exception as error:
        result = _result_of(channel, error)
        outcome = "retried" if result.state is DeliveryState.RETRYING else "refused"
        level = logging.WARNING if result.state is DeliveryState.RETRYING else logging.ERROR
        log.log(level, "channel %s did not send notification %s: %s", channel.name, notice.key, result.detail)
    else:
        result, outcome = Result(DeliveryState.DELIVERED), "sent"
    metrics.notifications.labels(channel.name, outcome).inc()
    return result


def reason_of(channel: Channel, error: Exception) -> str:
    """Why a channel failed: its own message, or the type and place of a bug, whose text may quote a post or a URL."""
    if isinstance(error, (Transient, Fatal)):
        return str(error).removeprefix(f"channel {channel.name}: ")
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    place = traceback.tb_frame.f_code.co_name if traceback is not None else "?"
    return f"failed with {type(error).__name__} in {place}"


def _result_of(channel: Channel, error: Exception) -> Result:
    if isinstance(error, Transient):
        return Result(DeliveryState.RETRYING, reason_of(channel, error), error.retry_after_s)
    return Result(DeliveryState.REFUSED, reason_of(channel, error))
