"""The command line: assembles the commands. They load what they need when they are called."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pipeline.cli import alerts, bench, config, dead, labels, models
from pipeline.cli.backtest.command import backtest
from pipeline.cli.check.command import check
from pipeline.cli.classify.command import classify
from pipeline.cli.demo.command import demo
from pipeline.cli.groups import Group
from pipeline.cli.guard import guarded
from pipeline.cli.ingest import ingest
from pipeline.cli.run.command import run
from pipeline.cli.setup import setup
from pipeline.cli.status import status
from pipeline.cli.training.evaluate import evaluate
from pipeline.cli.training.export import export
from pipeline.cli.training.noise import noise
from pipeline.cli.training.retrain import retrain
from pipeline.cli.training.train import train

#: In the order in which `--help` lists them.
_COMMANDS: dict[str, typer.Typer | Callable[..., None]] = {
    "demo": demo,
    "setup": setup,
    "check": check,
    "run": run,
    "ingest": ingest,
    "status": status,
    "dead": dead.app,
    "alerts": alerts.app,
    "backtest": backtest,
    "classify": classify,
    "models": models.app,
    "labels": labels.app,
    "retrain": retrain,
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "noise": noise,
    "config": config.app,
    "bench": bench.app,
}


class _InOrder(Group):
    """Lists groups and commands in one order; Typer lists all groups first."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)


_EPILOG = """Start with 'opinionwatch demo', which needs no settings. All other commands read opinionwatch.toml in this
folder or the file that --config names, and OPINIONWATCH_... in the environment: 'opinionwatch config show' lists every
setting, and 'opinionwatch check' reports what is missing."""

app = typer.Typer(name="opinionwatch", cls=_InOrder, no_args_is_help=True, add_completion=False, epilog=_EPILOG)
for _name, _command in _COMMANDS.items():
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name)
    else:
        app.command(_name)(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"opinionwatch {version('opinionwatch')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Watch public opinion: label posts from Kafka, index them, and raise an alert when bad news jumps."""


def main() -> None:
    """The console script."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that the terminal or the file cannot hold must not end a command.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(guarded(app))


if __name__ == "__main__":
    main()
