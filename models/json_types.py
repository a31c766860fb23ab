"""The types of JSON that was decoded or is about to be encoded.

They are exact: mypy refuses a value that JSON cannot hold, and a use of a decoded value whose type nobody has checked.
`JsonReader` checks the fields of an object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = "None | bool | int | float | str | Sequence[Json] | Mapping[str, Json]"
JsonObject: TypeAlias = "Mapping[str, Json]"
