"""The types of decoded JSON."""

from __future__ import annotations

from typing import Any

#: A JSON object at the border: decoded by a from_json, or about to be written.
JsonObject = dict[str, Any]
