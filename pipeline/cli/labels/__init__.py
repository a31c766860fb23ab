"""`opinionwatch labels import|export|queue|drop|stats`."""

import typer

from pipeline.cli.labels.drop import drop
from pipeline.cli.labels.export import export
from pipeline.cli.labels.import_ import import_
from pipeline.cli.labels.queue import queue
from pipeline.cli.labels.stats import stats

app = typer.Typer(
    help="Import, export, queue and compare the labels that people give.", no_args_is_help=True, add_completion=False
)
app.command("import")(import_)
app.command()(export)
app.command()(queue)
app.command()(drop)
app.command()(stats)
