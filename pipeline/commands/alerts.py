"""`opinionwatch alerts list|show`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.alerting.text import alert_text
from pipeline.commands.common import AsJson, Config, out, print_json, settings_of
from pipeline.errors import EXIT_USAGE, Fatal
from pipeline.store.open import open_store

app = typer.Typer(help="The alerts.", no_args_is_help=True)


@app.command("list")
def list_(
    open_only: Annotated[bool, typer.Option("--open", help="Only those that are open.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1)] = 100,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Alerts, newest first, with observed against expected and their evidence.

    Example: opinionwatch alerts list --open
    """
    found = open_store(settings_of(config).store).alerts(open_only=open_only, limit=limit)
    if as_json:
        print_json(found)
        return
    for alert in found:
        out.print(alert["id"], markup=False)
        out.print(alert_text(alert))
    if not found:
        out.print("no open alert" if open_only else "no alert yet")


@app.command()
def show(
    alert_id: Annotated[str, typer.Argument(help="An id of 'alerts list'.")],
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """One alert with the query that re-derives it.

    Example: opinionwatch alerts show 'subject:Nova@20260315T0930Z'
    """
    alert = open_store(settings_of(config).store).alert(alert_id)
    if alert is None:
        raise Fatal(f"no alert {alert_id}", "see 'opinionwatch alerts list'", EXIT_USAGE)
    if as_json:
        print_json(alert)
        return
    out.print(alert_text(alert))
    out.print(f"model {alert['model']}, score {alert['score']}, first told {alert['first_notified_at']}", markup=False)
    out.print(alert["query"], markup=False)
