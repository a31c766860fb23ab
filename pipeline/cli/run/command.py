"""`opinionwatch run`: its options."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import Config, settings_of
from pipeline.cli.run.role import Role


def run(
    role: Annotated[Role, typer.Argument(help="Run this role: classify, alert, console or all.")],
    metrics_port: Annotated[
        int | None,
        typer.Option(
            "--metrics-port", help="Serve metrics on this port (0: none; default: 9108, alert 9109, console 9110)."
        ),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="Serve the console on this port.")] = None,
    config: Config = None,
) -> None:
    """Run a worker until SIGTERM or Ctrl-C; it stops within ten seconds, and un-acked records are read again.

    Example: opinionwatch run classify --metrics-port 9108
    """
    from pipeline.cli.run.ending import end_at_once_on_signals
    from pipeline.service.logs import configure

    end_at_once_on_signals()
    configure()
    settings = settings_of(config, http__metrics_port=metrics_port, http__console_port=port)
    from pipeline.cli.run.worker import run_worker

    run_worker(settings, role)
