"""`opinionwatch labels drop`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline.cli.labels.stats import class_counts
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter
from pipeline.domain.errors import EXIT_USAGE, Fatal


def drop(
    annotator: Annotated[str | None, typer.Option("--annotator", help="Drop only labels of this person.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Drop only labels given at this time or later (ISO 8601).")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Drop only labels given before this time (ISO 8601).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the labels and drop none.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Drop without asking for confirmation.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Retract labels for good, e.g. an import that the gate refused; their posts get the labels of the model again.

    Example: opinionwatch labels drop --annotator ann --since 2026-11-20 --dry-run
    """
    if annotator is None and since is None and until is None:
        raise Fatal("labels drop would drop all labels", "select some by --annotator, --since or --until", EXIT_USAGE)
    from pipeline.annotation.relabelling import retract
    from pipeline.annotation.retraining_rows import annotations_trained_on
    from pipeline.annotation.statistics import summary
    from pipeline.classify.model_provider import open_classifier
    from pipeline.classify.subjects import matcher
    from pipeline.store.factory import open_store

    settings = settings_of(config)
    store = open_store(settings.store)
    start, end = _time("--since", since), _time("--until", until)
    stored = list(store.annotations())
    chosen = [
        x
        for x in stored
        if annotator in (None, x.annotator) and (start is None or x.at >= start) and (end is None or x.at < end)
    ]
    found = summary(chosen)
    show = Presenter(as_json)
    for head, row in found.heads.items():
        people = ", ".join(f"{count} by {person}" for person, count in row.annotators.items())
        show.line(f"  {head}: {class_counts(row.classes)}; {people}")
    dropped = posts = 0
    if chosen and not dry_run:
        if not yes and not typer.confirm(f"drop {len(chosen)} of {len(stored)} labels?", err=True):
            raise typer.Exit(1)
        classifier = open_classifier(settings.model)
        dropped, posts = retract(
            store, classifier, chosen, settings.alerts.counting, datetime.now(UTC), subjects=matcher(settings)
        )
        annotations_trained_on(store, len(stored) - dropped)
    line = f"dropped {dropped} labels, relabelled {posts} posts by the model"
    show.show(
        {"chosen": len(chosen), "dropped": dropped, "posts": posts, "dry_run": dry_run, **asdict(found)},
        [f"would drop {len(chosen)} labels" if dry_run else line],
    )


def _time(option: str, given: str | None) -> datetime | None:
    """In UTC where the time names no zone; raises `Fatal` for a text that is not a time."""
    if given is None:
        return None
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        raise Fatal(
            f"{option}: {given!r} is not a time", "write it as 2026-11-20 or 2026-11-20T08:00:00Z", EXIT_USAGE
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
