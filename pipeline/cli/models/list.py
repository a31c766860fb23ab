"""`opinionwatch models list`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter

if TYPE_CHECKING:
    from models.registry import Entry


def list_(as_json: AsJson = False, config: Config = None) -> None:
    """List all versions, oldest first, with the aliases that name them.

    Example: opinionwatch models list
    """
    from pipeline.cli.models.registry import refusing, registry_of

    registry = registry_of(settings_of(config).model)
    entries, aliases = refusing(registry.entries), refusing(registry.aliases)
    rows = [(each, sorted(a for a, version in aliases.items() if version == each.id)) for each in entries]
    Presenter(as_json).show([{**asdict(entry), "aliases": names} for entry, names in rows], _lines(rows))


def _lines(rows: Sequence[tuple[Entry, Sequence[str]]]) -> Iterator[str]:
    for entry, names in rows:
        aliases = ", ".join(names)
        yield f"{entry.id:32} {entry.registered_at[:19]}  {entry.size_bytes / 1e6:6.1f} MB  {aliases}"
    if not rows:
        yield "the registry is empty: add the first version with 'opinionwatch models register BUNDLE'"
