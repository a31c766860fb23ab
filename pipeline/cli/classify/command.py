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
    subjects: Annotated[
        bool, typer.Option("--subjects", help="Find the subjects of the settings, and add the sentiment toward each.")
    ] = False,
    config: Config = None,
) -> None:
    """Add topic, sentiment and their scores to every row of a file; a row without a text stays as it is.

    A row that says where its target is in the text also gets the sentiment toward it: toward, toward_score, and
    toward_whole_text if the model could judge only the whole text. The columns are target, from and to; from and to
    count characters from 0, and to is exclusive.

    Example: opinionwatch classify posts.jsonl --out labelled.jsonl
    """
    from pipeline.classify.model_provider import open_classifier
    from pipeline.classify.subjects import matcher
    from pipeline.cli.classify.questions import QuestionReader
    from pipeline.cli.classify.rows import classify_file
    from pipeline.domain.errors import EXIT_CONFIG, Fatal

    settings = settings_of(config, model__bundle=str(model) if model else None)
    if subjects and not settings.subjects:
        raise Fatal("--subjects looks for the subjects of the settings, but they name none", "name them in [subjects]",
                    EXIT_CONFIG)  # fmt: skip
    questions = QuestionReader(text_field, matcher(settings) if subjects else None)
    classifier = open_classifier(settings.model)
    classify_file(file, out, classifier, settings.alerts.counting, questions, format_, encoding)
