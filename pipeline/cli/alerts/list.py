"""`opinionwatch alerts list`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.domain.alert import Alert
    from pipeline.domain.operator_state import OperatorState


def list_(
    open_only: Annotated[bool, typer.Option("--open", help="List only open alerts.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="List at most this many alerts.")] = 100,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List alerts, newest first, with observed and expected counts and their evidence.

    Example: opinionwatch alerts list --open
    """
    from pipeline.alerting.notify.status import operators
    from pipeline.store.factory import open_store

    store = open_store(settings_of(config).store)
    alerts = store.alerts(open_only=open_only, limit=limit)
    states = operators(store, alerts)
    found = [{**alert.to_json_with_id(), "operator": states[alert.id].to_json()} for alert in alerts]
    Presenter(as_json).show(found, _lines(alerts, states, "no open alert" if open_only else "no alert yet"))


def _lines(alerts: Sequence[Alert], states: Mapping[str, OperatorState], none: str) -> Iterator[RenderableType]:
    from pipeline.alerting.alerts.terminal import alert_text
    from pipeline.alerting.notify.status import notification_status

    for alert in alerts:
        yield alert.id
        yield alert_text(alert)
        yield f"  {notification_status(alert, states[alert.id], datetime.now(UTC))}"
    if not alerts:
        yield none
