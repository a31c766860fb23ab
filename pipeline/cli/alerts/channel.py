"""`opinionwatch alerts test-channel`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter
from pipeline.domain.errors import EXIT_UNAVAILABLE, EXIT_USAGE, Fatal, Transient


def send_test_alert(
    name: Annotated[str, typer.Argument(help="The name of a channel in alerts.channels.")],
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Send a test alert to one channel and report the receiver's answer.

    Example: opinionwatch alerts test-channel oncall
    """
    import asyncio

    from pipeline.alerting.notify.channel import Notice
    from pipeline.alerting.notify.factory import make_channels
    from pipeline.cli.alerts.example import example_alert

    channels = {c.name: c for c in make_channels(settings_of(config).alerts)}
    if name not in channels:
        raise Fatal(f"channel {name!r} is not configured", f"name one of these: {', '.join(channels)}", EXIT_USAGE)
    alert = example_alert(datetime.now(UTC))
    try:
        asyncio.run(channels[name].send(Notice(f"{alert.id}#0-test", "test", alert)))
    except Transient as error:
        raise Fatal(str(error), "check that the receiver is running", EXIT_UNAVAILABLE) from None
    Presenter(as_json).show({"channel": name, "sent": True}, [f"channel {name} accepted the test alert"])
