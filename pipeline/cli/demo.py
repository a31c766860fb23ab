"""`opinionwatch demo`."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from pipeline.classify.model_provider import open_classifier
from pipeline.cli.common import AsJson, Config, err, out, print_json, settings_of
from pipeline.console.server import console_app, refuse_open_host
from pipeline.demo import feed as demo_feed
from pipeline.demo import phrases
from pipeline.demo.play import Session, play, read_feed
from pipeline.demo.view import View, print_summary
from pipeline.domain.alert import Alert
from pipeline.service.health import add_health, serving
from pipeline.service.logs import configure

SECONDS = 60.0
_SAID_EVERY_S = 10.0


def demo(
    once: Annotated[bool, typer.Option("--once", help="Play, drain, print the summary, exit.")] = False,
    as_json: AsJson = False,
    feed: Annotated[
        Path | None, typer.Option("--feed", help="A file of posts as ingest reads it, by its own clock.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port of the console (0: any free one).")] = None,
    no_console: Annotated[bool, typer.Option("--no-console", help="Do not open the console.")] = False,
    config: Config = None,
) -> None:
    """Everything in one process: broker, store, workers, console, and two weeks of posts with a crisis in them.

    Example: opinionwatch demo --once --json --no-console
    """
    configure(logging.ERROR)
    settings = settings_of(config, http__console_port=port)
    if feed is None:
        items, subjects = demo_feed.generate(), {k: list(v) for k, v in phrases.SUBJECTS.items()}
    else:
        items, subjects = read_feed(feed, settings.kafka.topics[-1], lambda line: err.print(line, markup=False)), {}
        if not settings.subjects:
            err.print(
                "no subjects are set: only topics are watched. Name yours in [subjects] of "
                f'{config or "opinionwatch.toml"}, e.g. Nova = ["Nova", "Nova X2"]',
                markup=False,
            )
    live = not as_json and out.is_terminal
    final: list[Alert] = []

    @asynccontextmanager
    async def attend(session: Session) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, session.workers.stop)
        async with AsyncExitStack() as stack:
            if not no_console:
                http = session.settings.http
                refuse_open_host(http)
                rule = session.settings.alerts.counting
                console = console_app(
                    session.store, rule, behind_proxy=http.behind_proxy, allowed_hosts=http.allowed_hosts
                )
                add_health(console, session.workers.metrics, session.workers.not_ready)
                address = await stack.enter_async_context(
                    serving(console, http.host, http.console_port, "http.console_port or --port")
                )
                err.print(f"console: http://{http.host}:{address}/")
            view = stack.enter_context(Live(View(session), console=out, refresh_per_second=4)) if live else None
            if not live:
                stack.callback(asyncio.create_task(_progress(session)).cancel)
            yield
            if session.drained and not once:
                # Printing beside a live view would tear it.
                (view.console if view else err).print("the feed is over; the console stays open, Ctrl-C ends it")
                await session.workers.wait()
        final.extend(session.store.alerts())

    seconds = 0.0 if once and not live else SECONDS
    err.print("loading the model ...")
    classifier = open_classifier(settings.model)
    err.print(f"starting the broker, the store and the workers, then {len(items)} posts are played ...")
    summary = asyncio.run(play(settings, subjects, items, classifier, seconds=seconds, attend=attend))
    if as_json:
        print_json(summary)
    else:
        print_summary(summary, final, out)
    sys.stdout.flush()


async def _progress(session: Session) -> None:
    """For those who have no live view: how far it is, now and then."""
    while True:
        await asyncio.sleep(_SAID_EVERY_S)
        err.print(f"{session.done} of {len(session.items)} posts are done")
