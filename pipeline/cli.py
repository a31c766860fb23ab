"""The command line. Training's commands are mounted lazily: serving never imports torch."""

from __future__ import annotations

import sys

import typer

from pipeline.commands import alerts, bench, classify, config, dead, demo, kafka, training, workers
from pipeline.commands.common import guarded

app = typer.Typer(
    name="opinionwatch",
    help="Watches public opinion: labels posts from Kafka, indexes them, raises an alert when the bad news jumps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(kafka.setup)
app.command()(kafka.check)
app.command()(workers.run)
app.command()(kafka.ingest)
app.command()(kafka.status)
app.add_typer(dead.app, name="dead")
app.add_typer(alerts.app, name="alerts")
app.command()(classify.classify)
app.command()(training.train)
app.command()(training.evaluate)
app.add_typer(config.app, name="config")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """The console script."""
    sys.exit(guarded(app))
