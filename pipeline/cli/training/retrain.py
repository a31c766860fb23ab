"""`opinionwatch retrain`: its options, and how it prints the outcome."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter

if TYPE_CHECKING:
    from pipeline.cli.training.retraining import Outcome


def retrain(
    min_new_labels: Annotated[
        int | None,
        typer.Option(
            "--min-new-labels", min=1, help="Train only with this many new labels (default: training.min_new_labels)."
        ),
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Fine-tune the champion on new labels, judge the result, and promote it where it is better.

    Run it from cron, a systemd timer or a CronJob. Without enough new labels it reports that and exits 0. Two runs
    never train at once, and after a crash the next run continues. The champion serves all the while.

    Example: opinionwatch retrain --min-new-labels 200
    """
    from pipeline.cli.training.retraining import run_retraining

    outcome = run_retraining(settings_of(config, training__min_new_labels=min_new_labels))
    Presenter(as_json).show(outcome.to_json(), _lines(outcome))


def _lines(outcome: Outcome) -> Iterator[str]:
    yield f"{outcome.outcome}: {outcome.reason}"
    if outcome.outcome == "refused":
        yield "Check the labels with 'opinionwatch labels stats'; retract wrong ones with 'opinionwatch labels drop'."
