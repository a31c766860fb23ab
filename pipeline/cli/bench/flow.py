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
    from pipeline.cli.bench.flow_rates import FlowRates


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
    rates = flow_rates(settings_of(config), feed, posts, repeat, reposts)
    Presenter(as_json).show(rates.to_json(), _lines(rates, repeat))


def _lines(rates: FlowRates, repeat: int) -> Iterator[str]:
    yield f"{rates.posts} distinct posts, {repeat} repetitions, {rates.model}"
    for name, figure in rates.figures.items():
        yield f"{name:25} median {figure.median:.2f}  (min {figure.min:.2f}, max {figure.max:.2f})"
