"""The type of a JSON object at the border of the program."""

from __future__ import annotations

from typing import Any

#: A JSON object at the border: decoded by a `from_json`, or about to be written.
JsonObject = dict[str, Any]
