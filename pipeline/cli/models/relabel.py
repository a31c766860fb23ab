"""`opinionwatch models relabel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter
from pipeline.domain.errors import EXIT_USAGE, Fatal

if TYPE_CHECKING:
    from models.json_types import JsonObject
    from pipeline.settings import Settings

DAYS = 7.0


def relabel(
    days: Annotated[
        float,
        typer.Option("--days", min=0.0, max=36_500, help="Relabel this many days of event time up to the newest post."),
    ] = DAYS,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Relabel the last days with the champion, so that a new model does not look like a spike.

    Example: opinionwatch models relabel --days 7
    """
    Presenter(as_json).show(*report_of(settings_of(config), days))


def report_of(settings: Settings, days: float) -> tuple[JsonObject, list[str]]:
    """Relabels the last `days` of event time; returns the counts, and the line that says them."""
    from pipeline.annotation.relabelling import relabel_last
    from pipeline.classify.model_provider import open_classifier
    from pipeline.classify.subjects import matcher
    from pipeline.cli.models.registry import refusing, registry_of
    from pipeline.cli.progress import posts_bar
    from pipeline.store.factory import open_store

    registry = registry_of(settings.model)
    champion = refusing(lambda: registry.alias(settings.model.alias))
    if champion is None:
        raise Fatal(f"the registry has no {settings.model.alias}", "promote a version first", EXIT_USAGE)
    with posts_bar() as advance:
        classifier, counting = open_classifier(settings.model), settings.alerts.counting
        store, subjects = open_store(settings.store), matcher(settings)
        seen, changed = relabel_last(store, classifier, counting, days, advance, subjects=subjects)
    line = f"{changed} of {seen} posts carry labels of {champion} now"
    return {"model": champion, "posts": seen, "relabelled": changed}, [line]
