"""Records what an operator says about an alert."""

from __future__ import annotations

from collections.abc import Callable

from models.json_types import JsonObject
from pipeline.alerting.notify.deliveries import looked_at_again
from pipeline.alerting.notify.policy import operator_state
from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.store.protocol import Store


def alert_with(store: Store, alert_id: str) -> JsonObject:
    """Raises `Fatal` where no alert has this id."""
    alert = store.alert(alert_id)
    if alert is None:
        raise Fatal(f"alert {alert_id} does not exist", "take an id from 'opinionwatch alerts list'", EXIT_USAGE)
    return alert


def record(
    store: Store,
    alert_id: str,
    entries: JsonObject,
    change: Callable[[JsonObject], JsonObject] = looked_at_again,
) -> JsonObject:
    """Writes the entries of an operator, where None removes an entry, and applies `change` to the alert.

    Returns the id of the alert with all entries of its operator. Raises `Fatal` where no alert has this id.
    """
    alert_with(store, alert_id)
    while True:  # two operators may write at once, and neither entry may be lost
        before = store.state(operator_state(alert_id))
        merged = {k: v for k, v in {**(before or {}), **entries}.items() if v is not None}
        if store.swap_state(operator_state(alert_id), before, merged):
            break
    while True:  # the alert role may write the alert meanwhile
        alert = {k: v for k, v in alert_with(store, alert_id).items() if k != "id"}
        if (changed := change(alert)) == alert:
            break
        if store.put_alert(alert_id, {**changed, "revision": alert.get("revision", 0) + 1}):
            break
    return {"id": alert_id, **merged}
