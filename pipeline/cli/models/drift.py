"""`opinionwatch models drift`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter
from pipeline.domain.errors import Fatal

if TYPE_CHECKING:
    from pipeline.cli.models.drift_report import DriftReport


def drift(
    days: Annotated[
        float,
        typer.Option("--days", min=0.01, max=36_500, help="Read this many days of event time up to the newest post."),
    ] = 1.0,
    limit: Annotated[
        int, typer.Option("--limit", min=100, help="Read at most this many posts, the newest ones.")
    ] = 2000,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show how far posts and labels have moved from the model's training data, and the accuracy to expect.

    Example: opinionwatch models drift --days 7
    """
    from pipeline.classify.model_provider import open_classifier
    from pipeline.cli.models.drift_report import drift_of
    from pipeline.store.factory import open_store

    settings = settings_of(config)
    store, engine = open_store(settings.store), open_classifier(settings.model)
    if engine.reference is None:
        raise Fatal(
            f"model {engine.name} {engine.version} has no reference to compare with",
            "train it again with 'opinionwatch train'",
        )
    found = drift_of(store, engine, days, limit)
    Presenter(as_json).show(asdict(found) if found else {"posts": 0}, _lines(found))


def _lines(found: DriftReport | None) -> Iterator[str]:
    if found is None:
        yield "the index holds no post of that time"
        return
    for name, distance in found.distances.items():
        yield f"{name:24} {distance.value:.4f} bits ({distance.low:.4f} to {distance.high:.4f})"
    for head, accuracy in found.expected_accuracy.items():
        yield f"expected accuracy {head:14} {accuracy.now:.3f}, when made {accuracy.reference:.3f}"
    for head, share in found.agreement_with_labels.items():
        yield f"agreement with the newest labels {head:10} {share:.3f}"
    unknown = found.unknown_tokens
    yield f"unknown tokens {unknown.now:.4f}, when made {unknown.reference:.4f}; {found.posts} posts"
