"""`opinionwatch check`: its options, and how it prints its findings."""

from __future__ import annotations

import typer

from pipeline.cli.options import AsJson, Config
from pipeline.cli.presenter import Presenter
from pipeline.domain.errors import EXIT_BUG, EXIT_CONFIG, EXIT_UNAVAILABLE

#: The gravest first: a wrong setting is corrected before a service is started.
_GRAVITY = (EXIT_BUG, EXIT_CONFIG, EXIT_UNAVAILABLE)


def check(as_json: AsJson = False, config: Config = None) -> None:
    """Connect to everything and report each failure with its cause and remedy, in the order in which to fix them.

    Example: opinionwatch check --json
    """
    from pipeline.cli.check.checks import findings_of

    # 'opinionwatch setup' works only once both services can be used.
    findings = sorted(findings_of(config), key=lambda finding: "opinionwatch setup" in finding.remedy)
    Presenter(as_json).show([finding.to_json() for finding in findings], (finding.line for finding in findings))
    codes = {finding.code for finding in findings}
    raise typer.Exit(next((code for code in _GRAVITY if code in codes), max(codes)))
