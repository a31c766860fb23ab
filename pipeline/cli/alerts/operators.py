"""Records what an operator says about an alert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from models.json_types import JsonObject
from pipeline.alerting.notify.changes import due_now
from pipeline.domain.alert import Alert
from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.domain.operator_state import OperatorState, operator_key
from pipeline.store.protocol import AlertStore, NotificationStore


def alert_with(store: AlertStore, alert_id: str) -> Alert:
    """Raises `Fatal` where no alert has this id."""
    alert = store.alert(alert_id)
    if alert is None:
        raise Fatal(f"alert {alert_id} does not exist", "take an id from 'opinionwatch alerts list'", EXIT_USAGE)
    return alert


def record(
    store: NotificationStore,
    alert_id: str,
    entries: JsonObject,
    change: Callable[[Alert], Alert] = due_now,
) -> JsonObject:
    """Writes the entries of an operator, where None removes an entry, and applies `change` to the alert.

    Returns the id of the alert with all entries of its operator. Raises `Fatal` where no alert has this id.
    """
    alert_with(store, alert_id)
    while True:  # two operators may write at once, and neither entry may be lost
        before = store.state(operator_key(alert_id))
        merged = {k: v for k, v in {**(before.to_json() if before else {}), **entries}.items() if v is not None}
        if store.swap_state(operator_key(alert_id), before, OperatorState.from_json(merged)):
            break
    while True:  # the alert role may write the alert meanwhile
        alert = alert_with(store, alert_id)
        if (changed := change(alert)) == alert:
            break
        if store.put_alert(replace(changed, revision=(alert.revision or 0) + 1)):
            break
    return {"id": alert_id, **merged}
