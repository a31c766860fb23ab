"""The command line. A command's module is imported when it is called: `status` need not wait for the workers' code."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.cli.common import guarded

_COMMANDS = {
    "demo": "demo:demo",
    "setup": "kafka:setup",
    "check": "check:check",
    "run": "run:run",
    "ingest": "kafka:ingest",
    "status": "kafka:status",
    "dead": "dead_letters:app",
    "alerts": "alerts:app",
    "backtest": "backtest:backtest",
    "classify": "classify:classify",
    "models": "models:app",
    "labels": "labels:app",
    "retrain": "retrain:retrain",
    "train": "training:train",
    "evaluate": "training:evaluate",
    "export": "training:export",
    "noise": "training:noise",
    "config": "config:app",
    "bench": "bench:app",
}


class _LazyGroup(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name].split(":")
        found = getattr(import_module(f"pipeline.cli.{module}"), name)
        if not isinstance(found, typer.Typer):
            command, found = found, typer.Typer(add_completion=False)
            found.command(cmd_name)(command)
        made = typer.main.get_command(found)
        made.name = cmd_name
        return made


_EPILOG = """Start with 'opinionwatch demo', which needs no settings. Otherwise settings come from opinionwatch.toml in
this folder, --config FILE or OPINIONWATCH_... in the environment: 'opinionwatch config show' lists them all,
'opinionwatch check' says what is missing."""

app = typer.Typer(name="opinionwatch", cls=_LazyGroup, no_args_is_help=True, add_completion=False, epilog=_EPILOG)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"opinionwatch {version('opinionwatch')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Says the version and ends.")
    ] = False,
) -> None:
    """Watches public opinion: labels posts from Kafka, indexes them, raises an alert when the bad news jumps."""


def main() -> None:
    """The console script."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character, or half a character in the name of a file, ends no command.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(guarded(app))


if __name__ == "__main__":
    main()
