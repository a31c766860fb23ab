"""`opinionwatch labels import|export|queue|drop|stats`."""

from pipeline.cli.groups import group
from pipeline.cli.labels.drop import drop
from pipeline.cli.labels.export import export
from pipeline.cli.labels.import_ import import_
from pipeline.cli.labels.queue import queue
from pipeline.cli.labels.stats import stats

app = group("Import, export, queue and compare the labels that people give.")
app.command("import")(import_)
app.command()(export)
app.command()(queue)
app.command()(drop)
app.command()(stats)
