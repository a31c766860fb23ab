"""`opinionwatch dead replay`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.dead.options import LetterId, Reason, Stage
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter


def replay(
    letter_id: LetterId = None,
    reason: Reason = None,
    stage: Stage = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the letters and send none.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Send dead letters to their topics again, each at most three times.

    Example: opinionwatch dead replay --reason unknown_version --dry-run
    """
    from pipeline.cli.dead.letters import chosen_letters
    from pipeline.kafka import dead_letters

    kafka = settings_of(config).kafka
    chosen = chosen_letters(kafka, letter_id, reason, stage)
    again = sum(dead_letters.replayable(kafka, letter) for letter in chosen)
    sent, refused = (again, len(chosen) - again) if dry_run else dead_letters.replay(kafka, chosen)
    why = f" (already replayed {dead_letters.MAX_REPLAYS} times, or their topic is unknown)" if refused else ""
    line = f"{'would replay' if dry_run else 'replayed'} {sent}, refused {refused}{why}"
    Presenter(as_json).show({"replayed": sent, "refused": refused, "dry_run": dry_run}, [line])
