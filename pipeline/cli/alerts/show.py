"""`opinionwatch alerts show`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.cli.alerts.options import AlertId
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.domain.alert import Alert
    from pipeline.domain.operator_state import OperatorState


def show(alert_id: AlertId, as_json: AsJson = False, config: Config = None) -> None:
    """Show one alert with its notifications and the query that derives it again.

    Example: opinionwatch alerts show 'subject:Nova@20260315T0930Z'
    """
    from pipeline.alerting.notify.status import operators
    from pipeline.cli.alerts.operators import alert_with
    from pipeline.store.factory import open_store

    store = open_store(settings_of(config).store)
    alert = alert_with(store, alert_id)
    operator = operators(store, [alert])[alert.id]
    found = {**alert.to_json_with_id(), "operator": operator.to_json()}
    Presenter(as_json).show(found, _lines(alert, operator))


def _lines(alert: Alert, operator: OperatorState) -> Iterator[RenderableType]:
    from pipeline.alerting.alerts.terminal import alert_text
    from pipeline.alerting.notify.status import by_channel, notification_status

    yield alert_text(alert)
    yield f"  {notification_status(alert, operator, datetime.now(UTC))}"
    for line in by_channel(alert):
        yield f"    {line}"
    rate, low = alert.threshold.false_alerts_per_key_week, alert.threshold.false_alerts_low
    usual = f"; keys with this volume alert {rate:.2f} times a week in the back-test" if rate is not None else ""
    if usual and low is not None:
        usual += f" (80 % interval {low:.2f} to {alert.threshold.false_alerts_high:.2f})"
    yield f"model {alert.model}, score {alert.peak.score}, threshold {alert.threshold.fire:.1f}{usual}"
    yield alert.query
