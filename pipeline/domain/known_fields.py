"""Reading JSON that another release wrote."""

from __future__ import annotations

from dataclasses import fields

from models.json_types import JsonObject


def known_fields(cls: type, value: JsonObject) -> JsonObject:
    """The items of `value` that are fields of the dataclass `cls`; a newer release may have written others."""
    return {field.name: value[field.name] for field in fields(cls) if field.name in value}
