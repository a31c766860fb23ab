"""`opinionwatch alerts list|show|ack|snooze|test-channel`."""

from __future__ import annotations

import asyncio
import getpass
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from pipeline.alerting.decide import operator_state
from pipeline.alerting.notify.base import Notice
from pipeline.alerting.notify.open import make_channels
from pipeline.alerting.text import alert_text
from pipeline.alerting.told import told, with_operator
from pipeline.commands.common import AsJson, Config, out, print_json, settings_of
from pipeline.commands.why import why
from pipeline.errors import EXIT_UNAVAILABLE, EXIT_USAGE, Fatal, Transient
from pipeline.store.base import Store
from pipeline.store.open import open_store

app = typer.Typer(help="The alerts.", no_args_is_help=True)
AlertId = Annotated[str, typer.Argument(help="An id of 'alerts list'.")]
By = Annotated[str | None, typer.Option("--by", help="Who says so (default: the user).")]
app.command()(why)
_UNITS = {"m": 60, "h": 3600, "d": 86_400}


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
    found = [with_operator(store, a) for a in store.alerts(open_only=open_only, limit=limit)]
    if as_json:
        print_json(found)
        return
    for alert in found:
        out.print(alert["id"], markup=False)
        out.print(alert_text(alert))
        out.print(f"  {told(alert, _now())}", markup=False)
    if not found:
        out.print("no open alert" if open_only else "no alert yet")


@app.command()
def show(alert_id: AlertId, as_json: AsJson = False, config: Config = None) -> None:
    """One alert with the query that re-derives it.

    Example: opinionwatch alerts show 'subject:Nova@20260315T0930Z'
    """
    store = open_store(settings_of(config).store)
    alert = with_operator(store, _alert(store, alert_id))
    if as_json:
        print_json(alert)
        return
    out.print(alert_text(alert))
    out.print(f"  {told(alert, _now())}", markup=False)
    rate = alert.get("false_alerts_per_key_week")
    usual = f"; keys of this volume alert {rate:.2f} times a week, back-tested" if rate is not None else ""
    out.print(f"model {alert['model']}, score {alert['score']}, threshold {alert['fire']:.1f}{usual}", markup=False)
    out.print(alert["query"], markup=False)


@app.command()
def ack(alert_id: AlertId, by: By = None, as_json: AsJson = False, config: Config = None) -> None:
    """Somebody is on it: no more reminders. An escalation and the end are still told.

    Example: opinionwatch alerts ack 'subject:Nova@20260315T0930Z' --by ann
    """
    store = open_store(settings_of(config).store)
    said = {"acknowledged_at": _now().isoformat(), "acknowledged_by": by or getpass.getuser()}
    _say(store, alert_id, said, as_json, f"{alert_id} acknowledged by {said['acknowledged_by']}")


@app.command()
def snooze(
    alert_id: AlertId,
    for_: Annotated[str, typer.Option("--for", help="How long: 30m, 4h, 2d; 0m ends a snooze.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; stands in the alert.")],
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Nothing is told of this alert until the time is over; then what is still true is.

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


@app.command("test-channel")
def test_channel(
    name: Annotated[str, typer.Argument(help="A name in alerts.channels or alerts.webhooks.")],
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
        asyncio.run(channels[name].send(Notice(f"{alert['id']}#0-test", "test", alert)))
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
    match = re.fullmatch(r"(\d+)([mhd])", text)
    if match is None:
        raise Fatal(f"--for {text!r} is no duration", "write e.g. 30m, 4h or 2d", EXIT_USAGE)
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _alert(store: Store, alert_id: str) -> dict[str, Any]:
    alert = store.alert(alert_id)
    if alert is None:
        raise Fatal(f"no alert {alert_id}", "see 'opinionwatch alerts list'", EXIT_USAGE)
    return alert


def _say(store: Store, alert_id: str, said: dict[str, Any], as_json: bool, line: str) -> None:
    _alert(store, alert_id)
    while True:  # two people may say something of one alert at once: neither's word is lost
        before = store.state(operator_state(alert_id))
        merged = {**(before or {}), **said}
        if store.swap_state(operator_state(alert_id), before, merged):
            break
    if as_json:
        print_json({"id": alert_id, **merged})
    else:
        out.print(line, markup=False)


def _example() -> dict[str, Any]:
    now = _now().isoformat(timespec="seconds")
    half_hours = {
        "posts": (*[26, 31, 24, 29, 33, 27] * 7, *[28] * 4, 30, 30),
        "negatives": (*[3, 5, 4] * 15, 4, 15, 16),
    }
    return {
        "lane": "negative",
        "id": f"subject:Example@{_now():%Y%m%dT%H%MZ}",
        "key": "subject:Example",
        "topic": "",
        "subject": "Example",
        "source": "",
        "severity": "warning",
        "state": "open",
        "started_at": (_now() - timedelta(hours=1)).isoformat(timespec="seconds"),
        "updated_at": now,
        "resolved_at": None,
        "observed": 31,
        "expected": 8.2,
        "posts": 60,
        "share": 0.5167,
        "expected_share": 0.1367,
        "lift": 3.78,
        "score": 5.1,
        "window_s": 3600,
        "cold": False,
        "sequence": 0,
        "related": [],
        "model": "",
        "query": "",
        "terms": [],
        "spread": {},
        "series": {"end": int(_now().timestamp()), "step_s": 1800, **half_hours},
        "evidence": [
            {"id": "0", "source": "opinionwatch", "url": "", "published_at": now, "negative_score": 0.9, "reposts": 2,
             "text": "This is a test of the channel. 这是一条测试消息。"}
        ],
    }  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)
