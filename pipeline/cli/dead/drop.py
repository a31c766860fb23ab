"""`opinionwatch dead drop`."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from pipeline.cli.dead.options import LetterId, Reason, Stage
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter


def drop(
    letter_id: LetterId = None,
    reason: Reason = None,
    stage: Stage = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the letters and drop none.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Drop without asking for confirmation.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Remove dead letters from the list for good; the topic keeps who dropped them.

    Example: opinionwatch dead drop --reason not_json --dry-run
    """
    from pipeline.cli.dead.letters import chosen_letters
    from pipeline.kafka import dead_letters

    kafka = settings_of(config).kafka
    chosen = chosen_letters(kafka, letter_id, reason, stage)
    if chosen and not dry_run:
        if not yes and not typer.confirm(f"drop {len(chosen)} dead letters?", err=True):
            raise typer.Exit(1)
        dead_letters.drop(kafka, chosen, getpass.getuser())
    line = f"{'would drop' if dry_run else 'dropped'} {len(chosen)}"
    Presenter(as_json).show({"dropped": len(chosen), "dry_run": dry_run}, [line])
