"""`opinionwatch models list|show|register|keygen|sign|promote|rollback|relabel|drift`."""

from pipeline.cli.groups import group
from pipeline.cli.models.drift import drift
from pipeline.cli.models.keys import keygen, sign_bundle
from pipeline.cli.models.list import list_
from pipeline.cli.models.promote import promote, rollback
from pipeline.cli.models.register import register
from pipeline.cli.models.relabel import relabel
from pipeline.cli.models.show import show

app = group("Manage the registry of models: which one serves, and how to go back.")
app.command("list")(list_)
app.command()(show)
app.command()(register)
app.command()(keygen)
app.command("sign")(sign_bundle)
app.command()(promote)
app.command()(rollback)
app.command()(relabel)
app.command()(drift)
