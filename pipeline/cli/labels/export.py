"""`opinionwatch labels export`."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
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
    """Write all labels as JSONL for 'labels import' and 'train --data'.

    A line has the labels of one person for one text; the label of a subject in the text has a line of its own.

    Example: opinionwatch labels export --out labels.jsonl
    """
    from pipeline.annotation.statistics import exported
    from pipeline.classify.subjects import matcher
    from pipeline.store.factory import open_store

    settings = settings_of(config)
    store = open_store(settings.store)
    with ExitStack() as stack:
        target = stack.enter_context(open_for_writing(out_file)) if out_file else sys.stdout
        for row in exported(store, matcher(settings)):
            target.write(json.dumps(row.to_json(), ensure_ascii=False) + "\n")
