"""`opinionwatch alerts false`."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline.cli.alerts.options import AlertId, By
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter
from pipeline.domain.errors import EXIT_USAGE, Fatal


def false_alarm(
    alert_id: AlertId,
    note: Annotated[str, typer.Option("--note", help="Store in the alert why it was a false alarm.")] = "",
    by: By = None,
    undo: Annotated[bool, typer.Option("--undo", help="Withdraw it, so that the alert continues.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Close an alert as a false alarm: notified channels hear that it is over, and the calibration counts it as false.

    Example: opinionwatch alerts false 'subject:Nova@20260315T0930Z' --by ann --note "a joke that went round"
    """
    from pipeline.alerting.notify.false_alarms import closed_as_false_alarm, reopened
    from pipeline.cli.alerts.operators import alert_with, record
    from pipeline.store.factory import open_store

    store = open_store(settings_of(config).store)
    alert = alert_with(store, alert_id)
    if undo:
        if alert.false_alarm is None:
            raise Fatal(
                f"alert {alert_id} is not marked as a false alarm", "see 'opinionwatch alerts show'", EXIT_USAGE
            )
        found = record(store, alert_id, {"false_alarm_at": None, "false_alarm_by": None}, reopened)
        line = f"{alert_id} is not a false alarm any more"
    else:
        who, now = by or getpass.getuser(), datetime.now(UTC)
        entries = {"false_alarm_at": now.isoformat(timespec="seconds"), "false_alarm_by": who}
        found = record(store, alert_id, entries, lambda alert: closed_as_false_alarm(alert, who, note, now))
        line = f"{alert_id} closed as a false alarm by {who}"
    Presenter(as_json).show(found, [line])
