"""`opinionwatch config show`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from rich.table import Table

from pipeline.cli.groups import group
from pipeline.cli.options import AsJson, Config, resolved
from pipeline.cli.presenter import Presenter
from pipeline.cli.terminal import err

app = group("Show the settings.")


@app.command()
def show(as_json: AsJson = False, config: Config = None) -> None:
    """Show every setting with its value and the origin of that value; secrets are hidden.

    Example: OPINIONWATCH_STORE__URL=https://es:9200 opinionwatch config show
    """
    from pipeline.settings import DEFAULT_FILE

    rows = list(resolved(config).rows())
    if config is None and not DEFAULT_FILE.exists():
        err.print(f"there is no {DEFAULT_FILE} in this folder; only defaults and the environment count", markup=False)
    found = {key: {"value": json.loads(value), "origin": origin} for key, value, origin in rows}
    Presenter(as_json).show(found, _table(rows))


def _table(rows: Iterable[tuple[str, str, str]]) -> Iterator[Table]:
    table = Table("setting", "value", "origin", box=None)
    for row in rows:
        table.add_row(*row)
    yield table
