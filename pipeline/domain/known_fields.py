"""Reading JSON that another release wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def known_fields(cls: type, value: Mapping[str, Any]) -> dict[str, Any]:
    """What of `value` is a field of the dataclass `cls`: a newer release may have written more."""
    return {field.name: value[field.name] for field in fields(cls) if field.name in value}
