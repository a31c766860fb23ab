"""`opinionwatch noise`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import AsJson
from pipeline.cli.presenter import Presenter
from pipeline.cli.training.extra import extra_train, refusing
from pipeline.cli.training.options import Data, HeadName
from pipeline.domain.errors import EXIT_USAGE, Fatal

if TYPE_CHECKING:
    from training.evaluation.label_errors import LabelError


def noise(
    data: Data = None,
    head: HeadName = "label",
    limit: Annotated[int, typer.Option("--limit", min=1, help="List at most this many labels.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List labels that look wrong, the most suspicious first, to review before training.

    Example: opinionwatch noise --data my.jsonl --limit 20
    """
    if not data:
        raise Fatal("noise has no labelled file", "give --data FILE", EXIT_USAGE)
    with extra_train():
        from training.train import label_error_report

    rows = refusing(lambda: label_error_report(data, head, limit))
    Presenter(as_json).show([asdict(row) for row in rows], _lines(rows))


def _lines(rows: Sequence[LabelError]) -> Iterator[str]:
    for row in rows:
        text = " ".join(row.text.split())[:70]
        yield f"{row.margin:.2f}  {row.head}: {row.given} -> {row.suggested}  {text}"
    if not rows:
        yield "no label looks wrong"
