"""`opinionwatch config show`."""

from __future__ import annotations

import json

import typer
from rich.table import Table

from pipeline.cli.common import AsJson, Config, err, out, print_json, resolved
from pipeline.settings import DEFAULT_FILE

app = typer.Typer(help="The settings.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The settings."""


@app.command()
def show(as_json: AsJson = False, config: Config = None) -> None:
    """Every setting with its value and where that came from; secrets are hidden.

    Example: OPINIONWATCH_STORE__URL=https://es:9200 opinionwatch config show
    """
    rows = list(resolved(config).rows())
    if config is None and not DEFAULT_FILE.exists():
        err.print(f"there is no {DEFAULT_FILE} in this folder: defaults and the environment", markup=False)
    if as_json:
        print_json({key: {"value": json.loads(value), "origin": origin} for key, value, origin in rows})
        return
    table = Table("setting", "value", "origin", box=None)
    for row in rows:
        table.add_row(*row)
    out.print(table)
