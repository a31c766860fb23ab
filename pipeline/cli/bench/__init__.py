"""`opinionwatch bench engine|flow|detector`: figures side by side in one run."""

import typer

from pipeline.cli.bench.detector import detector
from pipeline.cli.bench.engine import engine
from pipeline.cli.bench.flow import flow

app = typer.Typer(
    help="Measure the engine, the flow and the alert rule: ratios and medians from one run.",
    no_args_is_help=True,
    add_completion=False,
)
app.command()(flow)
app.command()(engine)
app.command()(detector)
