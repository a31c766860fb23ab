"""`opinionwatch models show`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.cli.models.options import Version
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter

if TYPE_CHECKING:
    from models.json_types import JsonObject


def show(version: Version, as_json: AsJson = False, config: Config = None) -> None:
    """Show one version with its heads, its scores and its history.

    Example: opinionwatch models show starter-0.2.0
    """
    from pipeline.cli.models.registry import refusing, registry_of

    registry = registry_of(settings_of(config).model)
    entry = refusing(lambda: registry.entry(version))
    manifest = refusing(lambda: registry.verify(version)).manifest
    found = {
        **asdict(entry),
        "heads": {h.name: h.labels for h in manifest.heads},
        "training": manifest.training,
        "audit": [event for event in registry.audit() if version in event.values()],
    }
    Presenter(as_json).show(found, _lines(found))


def _lines(found: JsonObject) -> Iterator[str]:
    yield f"{found['id']}, number {found['sequence']}, registered {found['registered_at'][:19]}"
    for head, labels in found["heads"].items():
        yield f"  {head}: {', '.join(labels)}"
    for name, value in found["metrics"].items():
        yield f"  {name:55} {value}"
    for event in found["audit"]:
        details = " ".join(f"{k}={v}" for k, v in event.items() if k not in {"at", "action"})
        yield f"{event['at'][:19]} {event['action']} {details}"
