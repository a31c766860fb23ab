"""`opinionwatch labels import`: its options, and how it prints the result."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.labels.options import HeadName
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter
from pipeline.cli.terminal import err

if TYPE_CHECKING:
    from pipeline.cli.labels.importing import Imported

_SHOWN = 20


def import_(
    file: Annotated[
        Path,
        typer.Argument(help="JSONL, CSV, or an export of Label Studio, doccano, Argilla or Prodigy; - reads stdin."),
    ],
    head: HeadName = None,
    annotator: Annotated[
        str | None,
        typer.Option("--annotator", help="Record this person for rows that name none (default: the current user)."),
    ] = None,
    text_field: Annotated[str | None, typer.Option("--text-field", help="Read the text from this field.")] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="Read this encoding (default: detect it).")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Import labels and correct the posts that they belong to; importing a file again changes nothing.

    A label that is older than the stored one of the same person changes nothing either.

    Example: opinionwatch labels import corrections.jsonl --head sentiment
    """
    from pipeline.cli.labels.importing import import_labels

    settings = settings_of(config)
    found = import_labels(
        settings, file, head or settings.alerts.head, annotator or getpass.getuser(), text_field, encoding
    )
    Presenter(as_json).show(found.to_json(), _lines(found))
    found.verify(file)


def _lines(found: Imported) -> Iterator[str]:
    for line in found.refused[:_SHOWN]:
        err.print(line, markup=False)
    if found.unknown_columns:
        columns = ", ".join(found.unknown_columns)
        err.print(f"columns that name no head of the model were ignored: {columns}", markup=False)
    yield (
        f"imported {found.imported} labels, {found.older} older than the store's, refused {len(found.refused)} rows, "
        f"corrected {found.posts} posts"
    )
