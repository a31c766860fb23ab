"""Settings that were renamed: the old name works for one more release, and the log names the new one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time

from typing_extensions import TypeAliasType

from pipeline.domain.errors import Fatal

log = logging.getLogger(__name__)
#: Dotted key of the previous release -> dotted key of this one.
RENAMED = {
    "alerts.blind_after_s": "alerts.no_data_after_s",
    "alerts.blind_share": "alerts.no_data_share",
    "alerts.quiet": "alerts.quiet_hours",
    "alerts.rules": "alerts.overrides",
}
WEBHOOKS, CHANNELS = "alerts.webhooks", "alerts.channels"

#: What a settings file, the environment or a flag can give.
Value = TypeAliasType(
    "Value", "None | bool | int | float | str | datetime | date | time | Sequence[Value] | Mapping[str, Value]"
)
#: A dotted key, its value, and where the value comes from.
Entry = tuple[str, Value, str]


def with_new_names(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries under their new names; it logs a warning for every old name.

    Raises `Fatal` where one source gives both the old and the new name.
    """
    entries = list(entries)
    given = {(key, origin) for key, _, origin in entries}
    webhooks: list[Value] = []
    for key, value, origin in entries:
        if key == WEBHOOKS and isinstance(value, list) and all(isinstance(item, dict) for item in value):
            _warn(key, origin, f"{CHANNELS} with kind = 'webhook'")
            webhooks += [{"kind": "webhook", **item} for item in value if isinstance(item, dict)]
        elif (new := RENAMED.get(key)) is not None:
            if (new, origin) in given:
                raise Fatal(f"settings {key} and {new} (from {origin}) are the same setting", f"remove {key}")
            _warn(key, origin, new)
            yield new, value, origin
        elif key != CHANNELS:
            yield key, value, origin
    channels = [(value, origin) for key, value, origin in entries if key == CHANNELS]
    if channels or webhooks:
        value, origin = channels[-1] if channels else ([], f"{WEBHOOKS}, the former name")
        yield CHANNELS, [*webhooks, *value] if webhooks and isinstance(value, list) else value, origin


def _warn(old: str, origin: str, new: str) -> None:
    log.warning("setting %s (from %s) is now called %s; the next release refuses the old name", old, origin, new)
