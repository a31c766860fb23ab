"""`opinionwatch dead show`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter


def show(
    letter_id: Annotated[str, typer.Argument(help="An id from 'dead list'.")],
    raw: Annotated[bool, typer.Option("--raw", help="Write the bytes unchanged to standard output.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show one dead letter; unprintable bytes are escaped.

    Example: opinionwatch dead show 0-17
    """
    from pipeline.cli.dead.letters import letter_json, letter_with
    from pipeline.kafka import dead_letters

    kafka = settings_of(config).kafka
    letter = dead_letters.with_value(kafka, letter_with(kafka, letter_id))
    if raw:
        typer.get_binary_stream("stdout").write(letter.value)
        return
    row, value = letter_json(letter), escaped(letter.value)
    Presenter(as_json).show({**row, "value": value}, [*(f"{name:10} {text}" for name, text in row.items()), value])


def escaped(value: bytes) -> str:
    """The bytes as printable text: control, bidirectional and undecodable ones become escapes.

    >>> escaped(b"a\\x1b[31m\\xff")
    'a\\\\x1b[31m\\\\xff'
    """
    text = value.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
