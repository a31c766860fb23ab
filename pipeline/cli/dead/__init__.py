"""`opinionwatch dead list|show|replay|drop`."""

from pipeline.cli.dead.drop import drop
from pipeline.cli.dead.list import list_
from pipeline.cli.dead.replay import replay
from pipeline.cli.dead.show import show
from pipeline.cli.groups import group

app = group("Inspect, replay or drop dead letters: records that could not be processed.")
app.command("list")(list_)
app.command()(show)
app.command()(replay)
app.command()(drop)
