"""`opinionwatch alerts list|show|why|ack|unack|snooze|unsnooze|false|test-channel`."""

from pipeline.cli.alerts.acknowledge import ack, unack
from pipeline.cli.alerts.channel import send_test_alert
from pipeline.cli.alerts.false_alarm import false_alarm
from pipeline.cli.alerts.list import list_
from pipeline.cli.alerts.show import show
from pipeline.cli.alerts.snooze import snooze, unsnooze
from pipeline.cli.alerts.why import why
from pipeline.cli.groups import group

app = group("List, explain, acknowledge and mute alerts.")
app.command()(why)
app.command("list")(list_)
app.command()(show)
app.command()(ack)
app.command()(unack)
app.command()(snooze)
app.command()(unsnooze)
app.command("false")(false_alarm)
app.command("test-channel")(send_test_alert)
