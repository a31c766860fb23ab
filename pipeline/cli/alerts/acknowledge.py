"""`opinionwatch alerts ack` and `unack`."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline.cli.alerts.options import AlertId, By
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter


def ack(
    alert_id: AlertId,
    by: By = None,
    undo: Annotated[bool, typer.Option("--undo", help="Withdraw it, as 'alerts unack' does.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Acknowledge an alert and stop its reminders; its escalation and its end are still reported.

    Example: opinionwatch alerts ack 'subject:Nova@20260315T0930Z' --by ann
    """
    from pipeline.cli.alerts.operators import record
    from pipeline.store.factory import open_store

    if undo:
        unack(alert_id, as_json, config)
        return
    store, who = open_store(settings_of(config).store), by or getpass.getuser()
    entries = {"acknowledged_at": datetime.now(UTC).isoformat(), "acknowledged_by": who}
    Presenter(as_json).show(record(store, alert_id, entries), [f"{alert_id} acknowledged by {who}"])


def unack(alert_id: AlertId, as_json: AsJson = False, config: Config = None) -> None:
    """Withdraw an acknowledgement, so that reminders continue.

    Example: opinionwatch alerts unack 'subject:Nova@20260315T0930Z'
    """
    from pipeline.cli.alerts.operators import record
    from pipeline.store.factory import open_store

    store = open_store(settings_of(config).store)
    found = record(store, alert_id, {"acknowledged_at": None, "acknowledged_by": None})
    Presenter(as_json).show(found, [f"{alert_id} is not acknowledged any more; reminders continue"])
