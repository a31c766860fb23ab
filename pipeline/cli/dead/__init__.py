"""`opinionwatch dead list|show|replay|drop`."""

import typer

from pipeline.cli.dead.drop import drop
from pipeline.cli.dead.list import list_
from pipeline.cli.dead.replay import replay
from pipeline.cli.dead.show import show

app = typer.Typer(
    help="Inspect, replay or drop dead letters: records that could not be processed.",
    no_args_is_help=True,
    add_completion=False,
)
app.command("list")(list_)
app.command()(show)
app.command()(replay)
app.command()(drop)
