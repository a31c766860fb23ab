"""`opinionwatch labels queue`: its options, and how it prints the queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from pipeline.cli.labels.options import HeadName
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.annotation.queue import Candidate


def queue(
    limit: Annotated[int, typer.Option("--limit", min=1, help="List at most this many posts.")] = 50,
    days: Annotated[
        float,
        typer.Option("--days", min=0.01, max=36_500, help="Read this many days of event time up to the newest post."),
    ] = 7.0,
    head: HeadName = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List the posts to label next, by topic in turn: uncertain ones, contested ones, new words, alert evidence.

    Example: opinionwatch labels queue --limit 100 --json > to-label.json
    """
    from pipeline.cli.labels.candidates import candidate_json, candidates_to_label
    from pipeline.store.factory import open_store

    settings = settings_of(config)
    store = open_store(settings.store)
    chosen = candidates_to_label(settings, store, timedelta(days=days), head or settings.alerts.head, limit)
    Presenter(as_json).show([candidate_json(c) for c in chosen], _lines(chosen))


def _lines(chosen: Sequence[Candidate]) -> Iterator[RenderableType]:
    for candidate in chosen:
        post = candidate.document.post
        text = " ".join((post.title or post.text).split())[:80]
        toward = (f"{subject} {t.label}" for subject, t in candidate.document.toward.items())
        labels = ", ".join([*candidate.document.labels.values(), *toward])
        yield f"{post.id[:12]}  {candidate.worth:.2f}  {labels}  {text}"
        yield Text(f"{'':14}{'; '.join(candidate.why)}", style="dim")
    if not chosen:
        yield "nothing to label: every post of that time has a label"
