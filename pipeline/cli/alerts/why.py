"""`opinionwatch alerts why`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter


def why(
    key: Annotated[str, typer.Argument(help="A key: subject:NAME, topic:NAME, source:NAME, subject:NAME|topic:NAME.")],
    at: Annotated[
        str | None,
        typer.Option("--at", help="Explain this ISO 8601 time, UTC without an offset (default: the newest)."),
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Explain why a key alerts, or why it does not, at any time: counts, score, threshold, gates, notifications.

    Example: opinionwatch alerts why subject:Nova --at 2026-11-27T20:15Z
    """
    from pipeline.cli.alerts.explain import explain

    answer = explain(settings_of(config), key, at)
    Presenter(as_json).show(answer.to_json(), answer.lines())
