"""Groups of commands."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class Group(TyperGroup):
    """A group whose `--help` is False where nobody gave it: Typer would load pydantic to convert a missing value."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


def group(text: str) -> typer.Typer:
    """An empty group with its help text, which it prints where no command follows."""
    return typer.Typer(cls=Group, help=text, no_args_is_help=True, add_completion=False)
