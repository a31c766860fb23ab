"""The table of a run, its survivors, and the mutants that nobody can see."""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tools.mutants.mutate import Mutant

KILLED, SURVIVED, TIMEOUT, UNCOVERED, EQUIVALENT = "killed", "survived", "timeout", "uncovered", "equivalent"
OUTCOMES = [KILLED, SURVIVED, TIMEOUT, UNCOVERED, EQUIVALENT]
#: No fast test executes the statement of an uncovered mutant.
LIVE = {SURVIVED, UNCOVERED}


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant; `killer` is the test that failed, `judged_by` the digest of the files that judged."""

    key: str
    outcome: str
    killer: str
    judged_by: str


def equivalent(root: Path) -> set[tuple[str, str, str]]:
    """Module, line before and line after of the changes that `tests/mutants_equivalent.toml` excuses."""
    entries = tomllib.loads((root / "tests" / "mutants_equivalent.toml").read_text("utf-8")).get("mutant", [])
    return {(entry["module"], entry["before"], entry["after"]) for entry in entries if entry["why"]}


def show(mutants: dict[str, list[Mutant]], verdicts: dict[str, Verdict], excused: set[tuple[str, str, str]]) -> None:
    """Prints a line per module and package, then each survivor as a diff."""
    survivors: list[Mutant] = []
    counts: dict[str, Counter[str]] = {}
    packages: dict[str, Counter[str]] = {}
    for module, drawn in mutants.items():
        outcomes = Counter[str]()
        for mutant in drawn:
            outcome = verdicts[mutant.key].outcome
            if outcome in LIVE and (mutant.module, mutant.before, mutant.after) in excused:
                outcome = EQUIVALENT
            outcomes[outcome] += 1
            if outcome in LIVE:
                survivors.append(mutant)
        counts[module] = outcomes
        package = "/".join(module.split("/")[: 1 if module.startswith("models") else 2])
        packages[package] = packages.get(package, Counter()) + outcomes
    for mutant in survivors:
        print(f"{mutant.module}:{mutant.line} {mutant.operator}\n{_changes(mutant.diff)}\n")
    rows = [(module, outcomes) for module, outcomes in counts.items() if outcomes] + sorted(packages.items())
    print(f"{'module':<52}{'mutants':>9}" + "".join(f"{name:>11}" for name in OUTCOMES) + f"{'live':>9}")
    for name, outcomes in rows:
        print(f"{name:<52}{outcomes.total():>9}" + "".join(f"{outcomes[o]:>11}" for o in OUTCOMES) + _share(outcomes))


def _changes(diff: str) -> str:
    return "\n".join(line for line in diff.splitlines()[2:] if not line.startswith("@@"))


def _share(outcomes: Counter[str]) -> str:
    """Of the mutants that somebody can see, how many live."""
    seen = outcomes.total() - outcomes[EQUIVALENT]
    return f"{sum(outcomes[outcome] for outcome in LIVE) / seen:>9.1%}" if seen else f"{'':>9}"
