"""`opinionwatch dead list`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.cli.dead.options import Reason, Stage
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter

if TYPE_CHECKING:
    from pipeline.kafka.dead_letters import Letter


def list_(reason: Reason = None, stage: Stage = None, as_json: AsJson = False, config: Config = None) -> None:
    """List dead letters, oldest first, each origin once.

    Example: opinionwatch dead list --reason missing_field
    """
    from pipeline.cli.dead.letters import letter_json, letters

    found = letters(settings_of(config).kafka, reason, stage)
    Presenter(as_json).show([letter_json(letter) for letter in found], _lines(found))


def _lines(found: Sequence[Letter]) -> Iterator[str]:
    for letter in found:
        yield (
            f"{letter.id:10} {letter.stage:9} {letter.reason:16} {letter.origin:32} {letter.first_seen} "
            f"{letter.size} bytes{' (by reference)' if letter.sha256 else ''}"
            + (f", replayed {letter.replayed}" if letter.replayed else "")
        )
    reasons = ", ".join(f"{count} {name}" for name, count in Counter(x.reason for x in found).most_common())
    yield f"{len(found)} dead letters{': ' + reasons if reasons else ''}"
