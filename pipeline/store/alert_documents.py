"""Reading one alert document that another release, or a person, may have written."""

from __future__ import annotations

from models.json_types import JsonObject
from pipeline.domain.alert import Alert
from pipeline.domain.errors import Fatal


def stored_alert(alert_id: str, document: JsonObject) -> Alert:
    """Raises `Fatal` if the document is not an alert."""
    try:
        return Alert.from_json(alert_id, document)
    except ValueError as error:
        raise Fatal(f"the store holds a document that is not an alert: {error}", "correct or delete it") from None
