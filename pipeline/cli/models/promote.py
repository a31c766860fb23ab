"""`opinionwatch models promote` and `rollback`."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from models.aliases import CHALLENGER, CHAMPION
from pipeline.cli.models.options import Version
from pipeline.cli.models.relabel import DAYS, report_of
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter
from pipeline.cli.terminal import err
from pipeline.domain.errors import EXIT_USAGE, Fatal

if TYPE_CHECKING:
    from models.registry import Registry
    from pipeline.settings import Settings

Reason = Annotated[str, typer.Option("--reason", help="Store this reason in the audit trail.")]
Relabel = Annotated[
    bool, typer.Option("--relabel", help="Then relabel the last training.relabel_days, as 'models relabel' does.")
]


def promote(
    version: Version,
    alias: Annotated[
        str, typer.Option("--alias", help="Set this alias: the champion serves, the challenger runs in its shadow.")
    ] = CHAMPION,
    reason: Reason = "by hand",
    relabel: Relabel = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Make a version the champion; the workers switch to it between two batches, without a restart.

    Example: opinionwatch models promote starter-0.3.0 --reason "better on the golden set"
    """
    from pipeline.cli.models.registry import refusing, registry_of

    if alias not in {CHAMPION, CHALLENGER}:
        raise Fatal(f"--alias {alias} does not exist", f"write {CHAMPION} or {CHALLENGER}", EXIT_USAGE)
    settings = settings_of(config)
    registry = registry_of(settings.model)
    refusing(lambda: registry.verify(version))
    refusing(lambda: registry.point(alias, version, by=getpass.getuser(), reason=reason))
    show = Presenter(as_json)
    show.line(f"{version} is {alias}")
    _after_a_switch(settings, registry, alias, relabel, show)


def rollback(
    reason: Reason = "by hand", relabel: Relabel = False, as_json: AsJson = False, config: Config = None
) -> None:
    """Make the previous champion serve again.

    Example: opinionwatch models rollback --reason "too many false alarms" --relabel
    """
    from pipeline.cli.models.registry import refusing, registry_of

    settings = settings_of(config)
    registry = registry_of(settings.model)
    version = refusing(lambda: registry.rollback(by=getpass.getuser(), reason=reason))
    show = Presenter(as_json)
    show.line(f"{version} is {CHAMPION} again")
    _after_a_switch(settings, registry, CHAMPION, relabel, show)


def _after_a_switch(settings: Settings, registry: Registry, alias: str, relabel: bool, show: Presenter) -> None:
    """Relabels the last days where the option asks for it, or else reminds the user where the alias serves."""
    found: dict[str, object] = dict(registry.aliases())
    lines: list[str] = []
    if alias == settings.model.alias and relabel:
        report, lines = report_of(settings, settings.training.relabel_days or DAYS)
        found["relabelled"] = report["relabelled"]
    elif alias == settings.model.alias and not show.as_json:
        err.print("now run 'opinionwatch models relabel': the new labels look like a change of opinion until then")
    show.show(found, lines)
