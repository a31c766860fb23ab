"""What each channel was told of one alert, and what it has still to hear: part of the alert's document. Pure.

A channel is told how the alert stands, not what happened meanwhile: it hears of an alert where that stands otherwise
than the channel knows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from pipeline.alerting.notify.log import LOG
from pipeline.domain.alert import CRITICAL, WARNING

#: Of a delivery that is due as soon as its channel can take it, whatever the wall clock says.
AT_ONCE = "1970-01-01T00:00:00+00:00"
RESOLVED = "resolved"
#: Characters of why nobody was notified; the index keeps no longer ones.
MAX_WHY = 1000


class State(StrEnum):
    """What became of the newest transition at one channel."""

    PENDING = "pending"
    DELIVERED = "delivered"
    RETRYING = "retrying"
    REFUSED = "refused"
    HELD = "held"
    SUPPRESSED = "suppressed"
    NO_ROUTE = "no route"


@dataclass(frozen=True, slots=True)
class Delivery:
    """`state` since `at` (ISO 8601), after `attempts`, with the receiver's words or the reason in `detail`.

    `sequence` is the last transition that is settled (-1: none), `told` what the receiver takes the alert for
    (warning, critical, resolved; empty: it never heard of it), `due_at` when to look at it next (null: nothing to do).
    """

    channel: str
    state: State = State.PENDING
    at: str = ""
    attempts: int = 0
    detail: str = ""
    sequence: int = -1
    told: str = ""
    due_at: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the alert's document; `of` reads it back."""
        return {
            "channel": self.channel,
            "state": self.state.value,
            "at": self.at or None,
            "attempts": self.attempts,
            "detail": self.detail,
            "sequence": self.sequence,
            "told": self.told,
            "due_at": self.due_at,
        }


def of(alert: Mapping[str, Any] | None) -> dict[str, Delivery]:
    """The deliveries of an alert document by channel; fields and states of a newer release are passed over."""
    names, states = Delivery.__dataclass_fields__, {state.value for state in State}
    found = {}
    for item in (alert or {}).get("notifications") or ():
        known = {k: v for k, v in item.items() if k in names}
        state = State(item["state"]) if item["state"] in states else State.PENDING
        found[item["channel"]] = Delivery(**{**known, "state": state, "at": item.get("at") or ""})
    return found


def standing(alert: Mapping[str, Any]) -> str:
    """How the alert stands: resolved, or open with its severity."""
    return RESOLVED if alert["state"] == RESOLVED else str(alert["severity"])


def is_news(alert: Mapping[str, Any], delivery: Delivery) -> bool:
    """Whether the alert stands otherwise than the channel knows.

    >>> is_news({"state": "open", "severity": "warning", "sequence": 0}, Delivery("c"))
    True
    >>> is_news({"state": "resolved", "severity": "warning", "sequence": 3}, Delivery("c", sequence=2, told="resolved"))
    False
    """
    now = standing(alert)
    if delivery.told == now == RESOLVED:
        return False
    return bool(alert["sequence"] > delivery.sequence or (delivery.told and delivery.told != now))


def transition_for(alert: Mapping[str, Any], delivery: Delivery) -> str:
    """What the news is to this channel.

    >>> transition_for({"state": "open", "severity": "critical"}, Delivery("c", told="warning"))
    'escalated'
    """
    now = standing(alert)
    if now == RESOLVED:
        return RESOLVED
    if not delivery.told:
        return "opened"
    return "escalated" if (delivery.told, now) == (WARNING, CRITICAL) else "reminder"


def key_of(alert: Mapping[str, Any], transition: str) -> str:
    """The idempotency key of a message: the same for each try of the same news."""
    return f"{alert['id']}#{alert['sequence']}-{transition}"


def queued(
    alert: dict[str, Any],
    takes: Mapping[str, Callable[[Mapping[str, Any]], bool]],
    now: datetime,
    gone: Collection[str] = (),
) -> dict[str, Any]:
    """The alert with a delivery for every channel; `takes` says by name whether a channel's route lets it through.

    `gone` names channels that are not in the settings any more.
    """
    found = of(alert)
    for name, route in takes.items():
        delivery = found.get(name, Delivery(name))
        if not is_news(alert, delivery):
            found[name] = delivery
        elif route(alert):
            found[name] = replace(delivery, state=State.PENDING, at=_iso(now), attempts=0, detail="", due_at=AT_ONCE)
        else:
            detail = "the route of the channel takes other alerts (severities, keys, lanes)"
            found[name] = replace(delivery, state=State.NO_ROUTE, at=_iso(now), detail=detail, due_at=None)
    for name in gone:
        found[name] = _gone(found[name], now)
    return with_deliveries(alert, found)


def with_deliveries(alert: dict[str, Any], deliveries: Mapping[str, Delivery]) -> dict[str, Any]:
    """The alert's document with these deliveries and what follows from them.

    `pending` names the channels that have still to hear; `held` is why they wait or heard nothing; `unnotified` is
    why nobody was told of an open alert and nobody will be.
    """
    waits = [d.detail for d in deliveries.values() if d.state is State.HELD]
    dropped = [d.detail for d in deliveries.values() if d.state is State.SUPPRESSED and not d.told]
    silent = dropped if not alert.get("first_notified_at") else []
    return {
        **alert,
        "notifications": [d.to_json() for d in deliveries.values()],
        "pending": [d.channel for d in deliveries.values() if d.due_at is not None],
        "held": next(iter([*waits, *silent]), ""),
        "unnotified": unnotified(alert, list(deliveries.values())),
    }


def unnotified(alert: Mapping[str, Any], deliveries: Sequence[Delivery]) -> str:
    """Why no channel that people read has taken the alert, or will; empty where one has, or may."""
    people = [d for d in deliveries if d.channel != LOG]
    if alert.get("first_notified_at") or any(d.state not in {State.REFUSED, State.NO_ROUTE} for d in people):
        return ""
    if not people:
        return "no channel is configured (alerts.channels)"
    return "; ".join(f"{d.channel}: {d.state.value}, {d.detail}".rstrip(", ") for d in people)[:MAX_WHY]


def delivered(alert: dict[str, Any], sent: Mapping[str, Any], channel: str, now: datetime) -> dict[str, Any]:
    """The alert after the channel took what `sent` says; the alert may have gone on meanwhile."""
    found = of(alert)
    before = found.get(channel, Delivery(channel))
    if before.sequence > sent["sequence"]:
        return alert  # another process has told it more by now
    after = replace(
        before,
        state=State.DELIVERED,
        at=_iso(now),
        attempts=before.attempts + 1,
        detail="",
        sequence=sent["sequence"],
        told=standing(sent),
        due_at=None,
    )
    if is_news(alert, after):
        after = replace(after, state=State.PENDING, attempts=0, due_at=AT_ONCE)
    found[channel] = after
    if channel != LOG:
        told = _iso(now)
        alert = {**alert, "last_notified_at": told, "first_notified_at": alert.get("first_notified_at") or told}
    return with_deliveries(alert, found)


def failed(
    alert: dict[str, Any],
    channel: str,
    state: State,
    detail: str,
    due: datetime | None,
    now: datetime,
    *,
    tried: bool = True,
) -> dict[str, Any]:
    """The alert that the channel did not take; without `due` the next try is as soon as it can.

    Not `tried`: the channel refused others just before. What another process delivered meanwhile stands.
    """
    found = of(alert)
    before = found.get(channel, Delivery(channel))
    if not is_news(alert, before):
        return alert
    found[channel] = replace(
        before,
        state=state,
        at=_iso(now),
        attempts=before.attempts + tried,
        detail=detail,
        due_at=AT_ONCE if due is None else _iso(due),
    )
    return with_deliveries(alert, found)


def held(alert: dict[str, Any], channel: str, reason: str, until: datetime, now: datetime) -> dict[str, Any]:
    """The alert that waits for `until`, at this channel."""
    found = of(alert)
    before = found.get(channel, Delivery(channel))
    since = before.at if before.state is State.HELD and before.detail == reason else _iso(now)
    found[channel] = replace(before, state=State.HELD, at=since, detail=reason, due_at=_iso(until))
    return with_deliveries(alert, found)


def suppressed(
    alert: dict[str, Any], seen: Mapping[str, Any], channel: str, reason: str, now: datetime
) -> dict[str, Any]:
    """The alert of which the channel does not hear what `seen` says, now or later."""
    found = of(alert)
    before = found.get(channel, Delivery(channel))
    state = State.DELIVERED if before.told and not reason else State.SUPPRESSED
    after = replace(before, state=state, at=_iso(now), detail=reason, sequence=seen["sequence"], due_at=None)
    if alert["sequence"] > after.sequence:
        after = replace(after, state=State.PENDING, due_at=AT_ONCE)
    found[channel] = after
    return with_deliveries(alert, found)


def looked_at_again(alert: dict[str, Any]) -> dict[str, Any]:
    """The alert with what waits due at once: somebody changed what it waits for."""
    found = of(alert)
    if not any(d.state is State.HELD for d in found.values()):
        return alert
    return with_deliveries(
        alert, {n: replace(d, due_at=AT_ONCE) if d.state is State.HELD else d for n, d in found.items()}
    )


def closed_by_hand(alert: dict[str, Any], by: str, note: str, now: datetime) -> dict[str, Any]:
    """The alert closed as a false alarm; its episode may go on behind that."""
    mark = {"at": _iso(now), "by": by, "note": note}
    if before := alert.get("false_alarm"):
        return {**alert, "false_alarm": {**before, **mark}}
    ended = alert["resolved_at"]
    closed = {**alert, "false_alarm": {**mark, "ended_at": ended}, "state": RESOLVED, "resolved_at": ended or _iso(now)}
    return _due_where_news(closed, now)


def reopened(alert: dict[str, Any]) -> dict[str, Any]:
    """The alert as it is without the word that it was false: open, unless its episode has ended meanwhile.

    A channel that heard nothing because of that word hears of the alert now.
    """
    ended, at = alert["false_alarm"]["ended_at"], datetime.fromisoformat(alert["false_alarm"]["at"])
    going = {**alert, "false_alarm": None, "state": RESOLVED if ended else "open", "resolved_at": ended}
    found = of(going)
    for name, d in found.items():
        if d.state is State.SUPPRESSED and not d.told and not ended and datetime.fromisoformat(d.at) >= at:
            found[name] = replace(d, state=State.PENDING, detail="", sequence=-1, due_at=AT_ONCE)
    return _due_where_news(with_deliveries(going, found), at)


def _due_where_news(alert: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The alert with what changed due at the channels that had heard of it; what waits elsewhere is looked at again."""
    found = of(alert)
    for name, d in found.items():
        if d.told and is_news(alert, d):
            found[name] = replace(d, state=State.PENDING, at=_iso(now), attempts=0, detail="", due_at=AT_ONCE)
        elif d.due_at is not None:
            found[name] = replace(d, due_at=AT_ONCE)
    return with_deliveries(alert, found)


def _gone(delivery: Delivery, now: datetime) -> Delivery:
    if delivery.due_at is None:
        return delivery
    detail = "the channel is not in the settings any more"
    return replace(delivery, state=State.SUPPRESSED, at=_iso(now), detail=detail, due_at=None)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
