"""`opinionwatch dead list|show|replay|drop`."""

from __future__ import annotations

import getpass
from collections import Counter
from collections.abc import Iterator
from typing import Annotated

import typer

from pipeline.cli.common import AsJson, Config, out, print_json, settings_of
from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.kafka import dead_letters
from pipeline.kafka.dead_letters import Letter
from pipeline.settings import KafkaSettings

app = typer.Typer(help="Dead letters: records that could not be processed.", no_args_is_help=True)

Reason = Annotated[str | None, typer.Option("--reason", help="Only this reason, e.g. not_utf8.")]
Stage = Annotated[str | None, typer.Option("--stage", help="Only this stage: decode, classify, subjects or index.")]


@app.command("list")
def list_(reason: Reason = None, stage: Stage = None, as_json: AsJson = False, config: Config = None) -> None:
    """Dead letters, oldest first, each origin once.

    Example: opinionwatch dead list --reason missing_field
    """
    found = list(_letters(settings_of(config).kafka, reason, stage))
    if as_json:
        print_json([_row(letter) for letter in found])
        return
    for letter in found:
        out.print(
            f"{letter.id:10} {letter.stage:9} {letter.reason:16} {letter.origin:32} {letter.first_seen} "
            f"{letter.size} bytes{' (by reference)' if letter.sha256 else ''}"
            + (f", replayed {letter.replayed}" if letter.replayed else ""),
            markup=False,
        )
    reasons = ", ".join(f"{count} {name}" for name, count in Counter(x.reason for x in found).most_common())
    out.print(f"{len(found)} dead letters{': ' + reasons if reasons else ''}", markup=False)


@app.command()
def show(
    letter_id: Annotated[str, typer.Argument(help="An id of 'dead list'.")],
    raw: Annotated[bool, typer.Option("--raw", help="The bytes as they came, to standard output.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """One dead letter; hostile bytes are shown escaped.

    Example: opinionwatch dead show 0-17
    """
    kafka = settings_of(config).kafka
    letter = dead_letters.with_value(kafka, _find(kafka, letter_id))
    if raw:
        typer.get_binary_stream("stdout").write(letter.value)
    elif as_json:
        print_json({**_row(letter), "value": escaped(letter.value)})
    else:
        for name, value in _row(letter).items():
            out.print(f"{name:10} {value}", markup=False)
        out.print(escaped(letter.value), markup=False)


@app.command()
def replay(
    letter_id: Annotated[str | None, typer.Argument(help="One id; without it, all that pass the filters.")] = None,
    reason: Reason = None,
    stage: Stage = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Sends dead letters to their topics again, each at most three times.

    Example: opinionwatch dead replay --reason unknown_version --dry-run
    """
    kafka = settings_of(config).kafka
    chosen = _chosen(kafka, letter_id, reason, stage)
    again = sum(dead_letters.replayable(kafka, letter) for letter in chosen)
    sent, refused = (again, len(chosen) - again) if dry_run else dead_letters.replay(kafka, chosen)
    if as_json:
        print_json({"replayed": sent, "refused": refused, "dry_run": dry_run})
        return
    verb = "would replay" if dry_run else "replayed"
    why = f"replayed {dead_letters.MAX_REPLAYS} times before, or without a topic to go to"
    out.print(f"{verb} {sent}, refused {refused}{f' ({why})' if refused else ''}")


@app.command()
def drop(
    letter_id: Annotated[str | None, typer.Argument(help="One id; without it, all that pass the filters.")] = None,
    reason: Reason = None,
    stage: Stage = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be dropped.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Takes dead letters off the list for good; who did it stays in the topic.

    Example: opinionwatch dead drop --reason not_json --dry-run
    """
    kafka = settings_of(config).kafka
    chosen = _chosen(kafka, letter_id, reason, stage)
    if chosen and not dry_run:
        if not yes and not typer.confirm(f"drop {len(chosen)} dead letters?", err=True):
            raise typer.Exit(1)
        dead_letters.drop(kafka, chosen, getpass.getuser())
    if as_json:
        print_json({"dropped": len(chosen), "dry_run": dry_run})
    else:
        out.print(f"{'would drop' if dry_run else 'dropped'} {len(chosen)}")


def escaped(value: bytes) -> str:
    """Printable text of any bytes: control, bidirectional and undecodable ones as escapes.

    >>> escaped(b"a\\x1b[31m\\xff")
    'a\\\\x1b[31m\\\\xff'
    """
    text = value.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _letters(kafka: KafkaSettings, reason: str | None, stage: str | None) -> Iterator[Letter]:
    kept: dict[str, Letter] = {}
    for letter in dead_letters.dead_letters(kafka):
        if letter.dropped:
            kept.pop(letter.origin, None)
        elif reason in {None, letter.reason} and stage in {None, letter.stage}:
            kept.setdefault(letter.origin or letter.id, letter)
    yield from kept.values()


def _chosen(kafka: KafkaSettings, letter_id: str | None, reason: str | None, stage: str | None) -> list[Letter]:
    """The one letter of an id, or all that pass the filters."""
    return [_find(kafka, letter_id)] if letter_id else list(_letters(kafka, reason, stage))


def _find(kafka: KafkaSettings, letter_id: str) -> Letter:
    found = next((x for x in dead_letters.dead_letters(kafka) if x.id == letter_id and not x.dropped), None)
    if found is None:
        raise Fatal(f"no dead letter {letter_id}", "see 'opinionwatch dead list'", EXIT_USAGE)
    return found


def _row(letter: Letter) -> dict[str, object]:
    return {
        "id": letter.id,
        "origin": letter.origin,
        "stage": letter.stage,
        "reason": letter.reason,
        "first_seen": letter.first_seen,
        "replayed": letter.replayed,
        "bytes": letter.size,
        "by_reference": bool(letter.sha256),
    }
