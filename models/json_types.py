"""The types of JSON that was decoded or is about to be encoded.

They are exact: mypy refuses a value that JSON cannot hold, and a use of a decoded value whose type nobody has checked.
`JsonReader` checks the fields of an object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from typing_extensions import TypeAliasType

# An alias of this kind has a name of its own at runtime, so that tools can resolve the annotations of a dataclass.
Json = TypeAliasType("Json", "None | bool | int | float | str | Sequence[Json] | Mapping[str, Json]")
JsonObject: TypeAlias = Mapping[str, Json]
