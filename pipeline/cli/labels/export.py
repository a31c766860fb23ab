"""`opinionwatch labels export`."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import Config, settings_of
from pipeline.cli.out_file import open_for_writing


def export(
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write to this file (default: standard output).")
    ] = None,
    config: Config = None,
) -> None:
    """Write all labels as JSONL, one text per line, for 'labels import' and 'train --data'.

    Example: opinionwatch labels export --out labels.jsonl
    """
    from pipeline.annotation.statistics import exported
    from pipeline.store.factory import open_store

    store = open_store(settings_of(config).store)
    with ExitStack() as stack:
        target = stack.enter_context(open_for_writing(out_file)) if out_file else sys.stdout
        for row in exported(store):
            target.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
