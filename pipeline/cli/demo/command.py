"""`opinionwatch demo`: its options."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Config, settings_of


def demo(
    once: Annotated[bool, typer.Option("--once", help="Play the feed, drain, print the summary and exit.")] = False,
    as_json: AsJson = False,
    feed: Annotated[
        Path | None,
        typer.Option("--feed", help="Play the posts of this file, read as 'ingest' does, in the order of their times."),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Serve the console on this port (0: any free one).")
    ] = None,
    no_console: Annotated[bool, typer.Option("--no-console", help="Do not open the console.")] = False,
    config: Config = None,
) -> None:
    """Run everything in one process: broker, store, workers, console, and two weeks of posts with a crisis.

    Example: opinionwatch demo --once --json --no-console
    """
    from pipeline.cli.demo.show import show_demo
    from pipeline.service.logs import configure

    configure(logging.ERROR)
    settings = settings_of(config, http__console_port=port)
    show_demo(settings, feed, config, once=once, as_json=as_json, with_console=not no_console)
