"""`opinionwatch alerts snooze` and `unsnooze`."""

from __future__ import annotations

import getpass
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from pipeline.cli.alerts.options import AlertId, By
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter
from pipeline.domain.errors import EXIT_USAGE, Fatal

_UNITS = {"m": 60, "h": 3600, "d": 86_400}
MAX_SNOOZE_S = 365 * 86_400


def snooze(
    alert_id: AlertId,
    for_: Annotated[str, typer.Option("--for", help="Mute it for this long: 30m, 4h, 2d; 0m ends a snooze.")],
    reason: Annotated[str, typer.Option("--reason", help="Store this reason in the alert.")],
    by: By = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Mute an alert for some time; afterwards people are notified if it is still open.

    Example: opinionwatch alerts snooze 'subject:Nova@20260315T0930Z' --for 4h --reason "press office is on it"
    """
    from pipeline.cli.alerts.operators import record
    from pipeline.store.factory import open_store

    store = open_store(settings_of(config).store)
    until = (datetime.now(UTC) + duration(for_)).isoformat(timespec="seconds")
    entries = {"snoozed_until": until, "snooze_reason": reason, "snoozed_by": by or getpass.getuser()}
    Presenter(as_json).show(record(store, alert_id, entries), [f"{alert_id} snoozed until {until}"])


def unsnooze(alert_id: AlertId, as_json: AsJson = False, config: Config = None) -> None:
    """End a snooze now; people are notified within half a minute if the alert is still open.

    Example: opinionwatch alerts unsnooze 'subject:Nova@20260315T0930Z'
    """
    from pipeline.cli.alerts.operators import record
    from pipeline.store.factory import open_store

    store = open_store(settings_of(config).store)
    found = record(store, alert_id, {"snoozed_until": None, "snooze_reason": None, "snoozed_by": None})
    Presenter(as_json).show(found, [f"{alert_id} is not snoozed any more"])


def duration(text: str) -> timedelta:
    """Raises `Fatal` for a text that is not a duration.

    >>> duration("90m")
    datetime.timedelta(seconds=5400)
    """
    match = re.fullmatch(r"(\d{1,9})([mhd])", text, re.ASCII)
    if match is None:
        raise Fatal(f"--for {text!r} is not a duration", "write e.g. 30m, 4h or 2d", EXIT_USAGE)
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > MAX_SNOOZE_S:
        raise Fatal(f"--for {text!r} is longer than a year", "write at most 365d", EXIT_USAGE)
    return timedelta(seconds=seconds)
