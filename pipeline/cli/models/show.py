"""`opinionwatch models show`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.cli.models.options import Version
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter

if TYPE_CHECKING:
    from models.registry import Entry


def show(version: Version, as_json: AsJson = False, config: Config = None) -> None:
    """Show one version with its heads, its scores and its history.

    Example: opinionwatch models show starter-0.2.0
    """
    from pipeline.cli.models.registry import refusing, registry_of

    registry = registry_of(settings_of(config).model)
    entry = refusing(lambda: registry.entry(version))
    manifest = refusing(lambda: registry.verify(version)).manifest
    heads = {head.name: head.labels for head in manifest.heads}
    audit = [event for event in registry.audit() if version in event.values()]
    result = {**asdict(entry), "heads": heads, "training": manifest.training, "audit": audit}
    Presenter(as_json).show(result, _lines(entry, heads, audit))


def _lines(entry: Entry, heads: Mapping[str, Sequence[str]], audit: Sequence[Mapping[str, str]]) -> Iterator[str]:
    yield f"{entry.id}, number {entry.sequence}, registered {entry.registered_at[:19]}"
    for head, labels in heads.items():
        yield f"  {head}: {', '.join(labels)}"
    for name, value in entry.metrics.items():
        yield f"  {name:55} {value}"
    for event in audit:
        details = " ".join(f"{k}={v}" for k, v in event.items() if k not in {"at", "action"})
        yield f"{event['at'][:19]} {event['action']} {details}"
