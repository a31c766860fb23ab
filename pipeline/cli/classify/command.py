"""`opinionwatch classify`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.files.tables import Format
from pipeline.cli.options import Config, settings_of


def classify(
    file: Annotated[
        Path, typer.Argument(help="JSONL, JSON or CSV with a text (and a title), in any encoding; - reads stdin.")
    ],
    model: Annotated[Path | None, typer.Option("--model", help="Use this bundle (default: model.bundle).")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file (default: standard output).")] = None,
    text_field: Annotated[str | None, typer.Option("--text-field", help="Read the text from this column.")] = None,
    format_: Annotated[Format | None, typer.Option("--format", help="Read this format (default: detect it).")] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="Read this encoding (default: detect it).")] = None,
    config: Config = None,
) -> None:
    """Add topic, sentiment and their scores to every row of a file; a row without a text stays as it is.

    Example: opinionwatch classify posts.jsonl --out labelled.jsonl
    """
    from pipeline.classify.model_provider import open_classifier
    from pipeline.cli.classify.rows import classify_file

    settings = settings_of(config, model__bundle=str(model) if model else None)
    classifier = open_classifier(settings.model)
    classify_file(file, out, classifier, settings.alerts, text_field, format_, encoding)
