"""`opinionwatch bench flow`: its options, and how it prints the rates."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter

if TYPE_CHECKING:
    from models.json_types import JsonObject


def flow(
    feed: Annotated[
        Path | None, typer.Option("--feed", help="Read the posts of this JSONL file (default: the demo's posts).")
    ] = None,
    posts: Annotated[
        int, typer.Option("--posts", min=100, help="Measure with this many distinct posts per repetition.")
    ] = 4000,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Repeat the measurement this many times.")] = 3,
    reposts: Annotated[
        float, typer.Option("--reposts", min=0, max=0.9, help="Measure also a stream with this share of reposts.")
    ] = 0.0,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Compare the posts per second of the classify role (broker, flow, store) with the engine alone on the same texts.

    Example: opinionwatch bench flow --repeat 5
    """
    from pipeline.cli.bench.flow_rates import flow_rates
    from pipeline.service.logs import configure

    configure(logging.ERROR)
    summary = flow_rates(settings_of(config), feed, posts, repeat, reposts)
    Presenter(as_json).show(summary, _lines(summary, repeat))


def _lines(summary: JsonObject, repeat: int) -> Iterator[str]:
    yield f"{summary['posts']} distinct posts, {repeat} repetitions, {summary['model']}"
    for name, row in summary.items():
        if isinstance(row, dict):
            yield f"{name:25} median {row['median']:.2f}  (min {row['min']:.2f}, max {row['max']:.2f})"
