"""`opinionwatch labels stats`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter

if TYPE_CHECKING:
    from pipeline.annotation.statistics import Summary


def stats(as_json: AsJson = False, config: Config = None) -> None:
    """Count the labels by class and person, and show how often the model was right and how far annotators agree.

    Example: opinionwatch labels stats
    """
    from pipeline.annotation.statistics import summary
    from pipeline.store.factory import open_store

    found = summary(list(open_store(settings_of(config).store).annotations()))
    Presenter(as_json).show(asdict(found), _lines(found))


def _lines(found: Summary) -> Iterator[str]:
    yield f"{found.labels} labels on {found.texts} texts"
    for head, row in found.heads.items():
        right = f"; the model was right in {row.model_right:.0%}" if row.model_right is not None else ""
        yield f"  {head}: {class_counts(row.classes)}{right}"
    for pair in found.agreement:
        one, other = pair.annotators
        yield f"  {pair.head}: {one} and {other} agree with kappa {pair.kappa:.2f} on {pair.texts} texts"


def class_counts(classes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {label}" for label, count in classes.items())
