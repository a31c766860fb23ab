"""`opinionwatch alerts list|show|ack|unack|snooze|unsnooze|false|test-channel`."""

from __future__ import annotations

import asyncio
import getpass
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from pipeline.alerting.alerts.terminal import alert_text
from pipeline.alerting.notify.changes import due_now
from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.factory import make_channels
from pipeline.alerting.notify.false_alarms import closed_as_false_alarm, reopened
from pipeline.alerting.notify.status import by_channel, notification_status, operators
from pipeline.cli.common import AsJson, Config, out, print_json, settings_of
from pipeline.cli.why import why
from pipeline.domain.alert import Alert
from pipeline.domain.alert_evidence import EvidencePost, PeakCounts, Series
from pipeline.domain.counting import Scope
from pipeline.domain.errors import EXIT_UNAVAILABLE, EXIT_USAGE, Fatal, Transient
from pipeline.domain.operator_state import OperatorState, operator_key
from pipeline.store.factory import open_store
from pipeline.store.protocol import Store

app = typer.Typer(help="The alerts.", no_args_is_help=True)
AlertId = Annotated[str, typer.Argument(help="An id of 'alerts list'.")]
By = Annotated[str | None, typer.Option("--by", help="Who says so (default: the user).")]
app.command()(why)
_UNITS = {"m": 60, "h": 3600, "d": 86_400}
MAX_SNOOZE_S = 365 * 86_400


@app.command("list")
def list_(
    open_only: Annotated[bool, typer.Option("--open", help="Only those that are open.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1)] = 100,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Alerts, newest first, with observed against expected and their evidence.

    Example: opinionwatch alerts list --open
    """
    store = open_store(settings_of(config).store)
    alerts = store.alerts(open_only=open_only, limit=limit)
    said = operators(store, alerts)
    if as_json:
        print_json([{**alert.to_json_with_id(), "operator": said[alert.id].to_json()} for alert in alerts])
        return
    for alert in alerts:
        out.print(alert.id, markup=False)
        out.print(alert_text(alert))
        out.print(f"  {notification_status(alert, said[alert.id], _now())}", markup=False)
    if not alerts:
        out.print("no open alert" if open_only else "no alert yet")


@app.command()
def show(alert_id: AlertId, as_json: AsJson = False, config: Config = None) -> None:
    """One alert with the query that re-derives it.

    Example: opinionwatch alerts show 'subject:Nova@20260315T0930Z'
    """
    store = open_store(settings_of(config).store)
    alert = _alert(store, alert_id)
    said = operators(store, [alert])[alert.id]
    if as_json:
        print_json({**alert.to_json_with_id(), "operator": said.to_json()})
        return
    out.print(alert_text(alert))
    out.print(f"  {notification_status(alert, said, _now())}", markup=False)
    for line in by_channel(alert):
        out.print(f"    {line}", markup=False)
    threshold = alert.threshold
    rate = threshold.false_alerts_per_key_week
    usual = f"; keys with this volume alert {rate:.2f} times a week in the back-test" if rate is not None else ""
    out.print(f"model {alert.model}, score {alert.peak.score}, threshold {threshold.fire:.1f}{usual}", markup=False)
    out.print(alert.query, markup=False)


@app.command()
def ack(
    alert_id: AlertId,
    by: By = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take it back, as 'alerts unack' does.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Acknowledge an alert and stop its reminders; an escalation and the end are still told.

    Example: opinionwatch alerts ack 'subject:Nova@20260315T0930Z' --by ann
    """
    if undo:
        unack(alert_id, as_json, config)
        return
    store = open_store(settings_of(config).store)
    said = {"acknowledged_at": _now().isoformat(), "acknowledged_by": by or getpass.getuser()}
    _say(store, alert_id, said, as_json, f"{alert_id} acknowledged by {said['acknowledged_by']}")


@app.command()
def unack(alert_id: AlertId, as_json: AsJson = False, config: Config = None) -> None:
    """Take an acknowledgement back: reminders go on.

    Example: opinionwatch alerts unack 'subject:Nova@20260315T0930Z'
    """
    store = open_store(settings_of(config).store)
    said = {"acknowledged_at": None, "acknowledged_by": None}
    _say(store, alert_id, said, as_json, f"{alert_id} is not acknowledged any more; reminders go on")


@app.command()
def snooze(
    alert_id: AlertId,
    for_: Annotated[str, typer.Option("--for", help="How long: 30m, 4h, 2d; 0m ends a snooze.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; stands in the alert.")],
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Mute an alert until the time is over; then what is still true is told.

    Example: opinionwatch alerts snooze 'subject:Nova@20260315T0930Z' --for 4h --reason "press office is on it"
    """
    store = open_store(settings_of(config).store)
    until = _now() + duration(for_)
    said = {
        "snoozed_until": until.isoformat(timespec="seconds"),
        "snooze_reason": reason,
        "snoozed_by": by or getpass.getuser(),
    }
    _say(store, alert_id, said, as_json, f"{alert_id} snoozed until {said['snoozed_until']}")


@app.command()
def unsnooze(alert_id: AlertId, as_json: AsJson = False, config: Config = None) -> None:
    """End a snooze now: what is still true is told within half a minute.

    Example: opinionwatch alerts unsnooze 'subject:Nova@20260315T0930Z'
    """
    store = open_store(settings_of(config).store)
    said = {"snoozed_until": None, "snooze_reason": None, "snoozed_by": None}
    _say(store, alert_id, said, as_json, f"{alert_id} is not snoozed any more")


@app.command("false")
def false_alarm(
    alert_id: AlertId,
    note: Annotated[str, typer.Option("--note", help="Why it was one; stands in the alert.")] = "",
    by: By = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take it back: the alert goes on.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Close an alert as a false alarm: whoever was told hears that it is over, and the calibration counts it as false.

    Example: opinionwatch alerts false 'subject:Nova@20260315T0930Z' --by ann --note "a joke that went round"
    """
    store = open_store(settings_of(config).store)
    alert = _alert(store, alert_id)
    if undo:
        if alert.false_alarm is None:
            raise Fatal(
                f"alert {alert_id} is not marked as a false alarm", "see 'opinionwatch alerts show'", EXIT_USAGE
            )
        line = f"{alert_id} is not a false alarm any more"
        _say(store, alert_id, {"false_alarm_at": None, "false_alarm_by": None}, as_json, line, reopened)
        return
    who, now = by or getpass.getuser(), _now()
    said = {"false_alarm_at": now.isoformat(timespec="seconds"), "false_alarm_by": who}
    line = f"{alert_id} closed as a false alarm by {who}"
    _say(store, alert_id, said, as_json, line, lambda alert: closed_as_false_alarm(alert, who, note, now))


@app.command("test-channel")
def test_channel(
    name: Annotated[str, typer.Argument(help="A name in alerts.channels.")],
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Sends a test alert to one channel and says what the receiver answered.

    Example: opinionwatch alerts test-channel oncall
    """
    channels = {c.name: c for c in make_channels(settings_of(config).alerts)}
    if name not in channels:
        raise Fatal(f"no channel {name!r}", f"there are: {', '.join(channels)}", EXIT_USAGE)
    alert = _example()
    try:
        asyncio.run(channels[name].send(Notice(f"{alert.id}#0-test", "test", alert)))
    except Transient as error:
        raise Fatal(str(error), "is the receiver up?", EXIT_UNAVAILABLE) from None
    if as_json:
        print_json({"channel": name, "sent": True})
    else:
        out.print(f"channel {name} took the test alert", markup=False)


def duration(text: str) -> timedelta:
    """Raises `Fatal` for what is no duration.

    >>> duration("90m")
    datetime.timedelta(seconds=5400)
    """
    match = re.fullmatch(r"(\d{1,9})([mhd])", text, re.ASCII)
    if match is None:
        raise Fatal(f"--for {text!r} is no duration", "write e.g. 30m, 4h or 2d", EXIT_USAGE)
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > MAX_SNOOZE_S:
        raise Fatal(f"--for {text!r} is longer than a year", "write 365d at the most", EXIT_USAGE)
    return timedelta(seconds=seconds)


def _alert(store: Store, alert_id: str) -> Alert:
    alert = store.alert(alert_id)
    if alert is None:
        raise Fatal(f"no alert {alert_id}", "see 'opinionwatch alerts list'", EXIT_USAGE)
    return alert


def _say(
    store: Store,
    alert_id: str,
    said: dict[str, Any],
    as_json: bool,
    line: str,
    change: Callable[[Alert], Alert] = due_now,
) -> None:
    """Writes what a person says of an alert, a null taking it back, and what follows for the alert itself."""
    _alert(store, alert_id)
    while True:  # two people may say something of one alert at once: neither's word is lost
        before = store.state(operator_key(alert_id))
        merged = {k: v for k, v in {**(before.to_json() if before else {}), **said}.items() if v is not None}
        if store.swap_state(operator_key(alert_id), before, OperatorState.from_json(merged)):
            break
    while True:  # nor what the alert role writes meanwhile
        alert = _alert(store, alert_id)
        if (changed := change(alert)) == alert:
            break
        if store.put_alert(replace(changed, revision=(alert.revision or 0) + 1)):
            break
    if as_json:
        print_json({"id": alert_id, **merged})
    else:
        out.print(line, markup=False)


def _example() -> Alert:
    now = _now().replace(microsecond=0)
    post = EvidencePost("0", "opinionwatch", "", now, "This is a test of the channel. 这是一条测试消息。", 0.9, 2)
    return Alert(
        id=f"subject:Example@{now:%Y%m%dT%H%MZ}",
        key="subject:Example",
        scope=Scope(subject="Example"),
        started_at=now - timedelta(hours=1),
        updated_at=now,
        peak=PeakCounts(31, 8.2, 60, 0.5167, 0.1367, 3.78, 5.1),
        series=Series(
            end=int(now.timestamp()),
            step_s=1800,
            posts=(*[26, 31, 24, 29, 33, 27] * 7, *[28] * 4, 30, 30),
            negatives=(*[3, 5, 4] * 15, 4, 15, 16),
        ),
        evidence=(post,),
    )


def _now() -> datetime:
    return datetime.now(UTC)
