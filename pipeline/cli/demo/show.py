"""Plays the demo with its console and its live view, and prints the summary."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from rich.live import Live

from pipeline.classify.model_provider import open_classifier
from pipeline.cli.presenter import Presenter
from pipeline.cli.terminal import err, out
from pipeline.console.server import console_app, refuse_open_host
from pipeline.demo import feed as demo_feed
from pipeline.demo import phrases
from pipeline.demo.play import Session, play, read_feed
from pipeline.demo.view import View, summary_lines
from pipeline.service.health import add_health, serving
from pipeline.settings import DEFAULT_FILE, Settings

#: The time in which the live view plays the feed.
SECONDS = 60.0
_REPORT_EVERY_S = 10.0


def show_demo(
    settings: Settings, feed: Path | None, config: Path | None, *, once: bool, as_json: bool, with_console: bool
) -> None:
    """Plays `feed`, or the demo's own posts where it is None; without `once` it waits for Ctrl-C at the end."""
    if feed is None:
        items, subjects = demo_feed.generate(), {k: list(v) for k, v in phrases.SUBJECTS.items()}
    else:
        items, subjects = read_feed(feed, settings.kafka.topics[-1], lambda line: err.print(line, markup=False)), {}
        if not settings.subjects:
            err.print(
                "no subjects are set, so only topics are watched; name yours in [subjects] of "
                f'{config or DEFAULT_FILE}, e.g. Nova = ["Nova", "Nova X2"]',
                markup=False,
            )
    live = not as_json and out.is_terminal

    @asynccontextmanager
    async def attend(session: Session) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, session.workers.stop)
        async with AsyncExitStack() as stack:
            if with_console:
                await _open_console(session, stack)
            view = stack.enter_context(Live(View(session), console=out, refresh_per_second=4)) if live else None
            if not live:
                stack.callback(asyncio.create_task(_report_progress(session)).cancel)
            yield
            if session.drained and not once:
                # Printing past a live view would tear it.
                (view.console if view else err).print(
                    "the feed has ended; the console stays open until you press Ctrl-C"
                )
                await session.workers.wait()

    seconds = 0.0 if once and not live else SECONDS
    err.print("loading the model ...")
    classifier = open_classifier(settings.model)
    err.print(f"starting the broker, the store and the workers to play {len(items)} posts ...")
    summary = asyncio.run(play(settings, subjects, items, classifier, seconds=seconds, attend=attend))
    Presenter(as_json).show(summary.to_json(), summary_lines(summary))


async def _open_console(session: Session, stack: AsyncExitStack) -> None:
    http, counting = session.settings.http, session.settings.alerts.counting
    refuse_open_host(http)
    app = console_app(session.store, counting, behind_proxy=http.behind_proxy, allowed_hosts=http.allowed_hosts)
    add_health(app, session.workers.metrics, session.workers.not_ready)
    port = await stack.enter_async_context(serving(app, http.host, http.console_port, "http.console_port or --port"))
    err.print(f"the console is at http://{http.host}:{port}/")


async def _report_progress(session: Session) -> None:
    """Prints the progress now and then where there is no live view."""
    while True:
        await asyncio.sleep(_REPORT_EVERY_S)
        err.print(f"{session.done} of {len(session.items)} posts are processed")
