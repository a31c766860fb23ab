"""Mutation testing: how many one-line changes of the code do the fast tests notice?

    python -m tools.mutants models pipeline/classify/codec.py --sample 20 --seed 1

Each target is a package or a module. The tool draws `--sample` changes of each module, the same ones for the same code
and seed, makes each in a copy of the tree and runs the fast tests that execute the changed statement. It prints each
mutant that lives as a diff, and a line per module:

    killed      a test failed
    survived    no test failed
    timeout     the tests took too long, which counts as killed
    uncovered   no fast test executes the statement, so that it lives as well
    equivalent  nobody can see the change: `tests/mutants_equivalent.toml` says why, and it does not count

Results are kept in `.cache/mutants`: a run that was interrupted goes on where it stopped, and after new tests only the
mutants that they can judge are tried again. `--fresh` forgets them. `--tests` restricts the tests to those of a room,
because the first run measures each of them; the doctests always judge.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tools.mutants import judges, report, trials
from tools.mutants.judges import Judges, digest
from tools.mutants.mutate import Mutant, sample
from tools.mutants.report import KILLED, SURVIVED, TIMEOUT, UNCOVERED, Verdict
from tools.mutants.trials import Run

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "mutants"
#: A test file may take this long under coverage.
MEASURE_S = 900


@dataclass(frozen=True)
class Trial:
    """A mutant and the tests that judge it."""

    mutant: Mutant
    tests: list[str]
    seconds: float

    @property
    def files(self) -> list[str]:
        return sorted({test.split("::")[0] for test in self.tests} - {self.mutant.module})


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="+", help="packages or modules: models, pipeline/classify/codec.py")
    parser.add_argument("--sample", type=int, default=20, help="mutants of each module (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="draws other mutants (default: 1)")
    parser.add_argument(
        "--tests",
        nargs="+",
        default=judges.TESTS,
        help="files or folders of tests that judge (default: fast tests)",
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default: 2)")
    parser.add_argument("--fresh", action="store_true", help="forget the results of earlier runs")
    asked = parser.parse_args()
    for name in asked.tests:
        if not (ROOT / name).exists():
            parser.error(f"--tests: this checkout has no {name}")
    if asked.fresh:
        (CACHE / "verdicts.jsonl").unlink(missing_ok=True)
    with ExitStack() as stack:
        copies = [stack.enter_context(trials.tree(ROOT, CACHE)) for _ in range(asked.jobs)]
        root = copies[0]
        modules = dict.fromkeys(module for target in asked.targets for module in _modules(root, target))
        mutants = {
            module: sample(module, (root / module).read_text("utf-8"), asked.sample, asked.seed) for module in modules
        }
        trials.load_libraries()
        known = _measured(copies, asked.tests)
        verdicts = _try(copies, known, [mutant for drawn in mutants.values() for mutant in drawn])
    report.show(mutants, verdicts, report.equivalent(ROOT))
    return 0


def _modules(root: Path, target: str) -> list[str]:
    path = root / (target if "/" in target or target.endswith(".py") else target.replace(".", "/"))
    if not path.exists():
        path = path.with_suffix(".py")
    if not path.exists():
        sys.exit(f"{target} is neither a package nor a module of this checkout")
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [file.relative_to(root).as_posix() for file in files]


def _measured(copies: list[Path], tests: list[str]) -> Judges:
    """What each fast test executes; test files that nobody measured since a change run first."""
    root, known, wanted = copies[0], Judges(), []
    (CACHE / "lines").mkdir(exist_ok=True)
    in_functions = partial(judges.function_lines, root)
    shared = digest(root, [*judges.MEASURED, *judges.helpers(root)])
    for file in judges.files_with_tests(root, tests):
        kept = CACHE / "lines" / f"{digest(root, [file])}-{shared}.json"
        if kept.exists():
            known.add(file, json.loads(kept.read_text("utf-8")), in_functions)
        else:
            wanted.append((file, kept))

    @contextmanager
    def start(copy: Path, task: tuple[str, Path]) -> Iterator[Run]:
        yield Run(copy, partial(trials.measure, copy, task[0], judges.MEASURED), limit_s=MEASURE_S)

    for number, ((file, kept), ended) in enumerate(trials.run(copies, wanted, start), 1):
        _say(f"measured {number} of {len(wanted)}: {file}, {len(ended.shown.get('seconds', ()))} tests")
        if not ended.shown:
            _say(f"  {file} could not run (status {ended.status}); its tests do not judge")
            continue
        kept.write_text(json.dumps(ended.shown), "utf-8")
        known.add(file, ended.shown, in_functions)
    for test in known.failed:
        _say(f"  {test} fails without a change and does not judge")
    return known


def _try(copies: list[Path], known: Judges, mutants: list[Mutant]) -> dict[str, Verdict]:
    """Verdicts by the mutants' keys: those of earlier runs that still hold, and new ones."""
    root, before, found = copies[0], _verdicts(), {}
    wanted = []
    for mutant in mutants:
        trial = _trial(root, known, mutant, before.get(mutant.key))
        if not trial.tests:
            found[mutant.key] = Verdict(mutant.key, UNCOVERED, "", "")
        elif _holds(root, before.get(mutant.key), trial):
            found[mutant.key] = before[mutant.key]
        else:
            wanted.append(trial)

    @contextmanager
    def start(copy: Path, trial: Trial) -> Iterator[Run]:
        with trials.changed(copy / trial.mutant.module, trial.mutant.source):
            yield Run(copy, partial(trials.judge, trial.tests), limit_s=_patience() * (15 + 3 * trial.seconds))

    with open(CACHE / "verdicts.jsonl", "a", encoding="utf-8") as kept:
        for number, (trial, ended) in enumerate(trials.run(copies, wanted, start), 1):
            mutant, killer = trial.mutant, str(ended.shown.get("killer", ""))
            outcome = _outcome(ended)
            verdict = Verdict(mutant.key, outcome, killer, digest(root, _judging(killer, trial)))
            found[mutant.key] = verdict
            if ended.status not in trials.NOT_JUDGED:
                kept.write(json.dumps(asdict(verdict)) + "\n")
                kept.flush()
            _say(f"{number} of {len(wanted)}: {mutant.module}:{mutant.line} {mutant.operator} {outcome} {killer}")
    return found


def _patience() -> float:
    """How many times as long a run may take because others use this machine too."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def _outcome(ended: trials.Ended) -> str:
    """Tests that did not judge have not killed."""
    if ended.status is None:
        return TIMEOUT
    if ended.status in trials.NOT_JUDGED:
        _say(f"  the tests of this mutant did not run (status {ended.status})")
    return SURVIVED if ended.status in {trials.PASSED, *trials.NOT_JUDGED} else KILLED


def _trial(root: Path, known: Judges, mutant: Mutant, before: Verdict | None) -> Trial:
    """The test that killed the mutant before goes first."""
    source = (root / mutant.module).read_text("utf-8")
    tests = known.of(mutant.module, source, mutant.line, judges.importers(root, mutant.module))
    if before and before.killer in known.seconds:
        tests = list(dict.fromkeys([before.killer, *tests]))
    return Trial(mutant, tests, sum(known.seconds[test] for test in tests))


def _holds(root: Path, verdict: Verdict | None, trial: Trial) -> bool:
    """Whether the files that judged are as they were."""
    if verdict is None:
        return False
    files = _judging(verdict.killer, trial)
    return all((root / file).exists() for file in files) and verdict.judged_by == digest(root, files)


def _judging(killer: str, trial: Trial) -> list[str]:
    return [killer.split("::", maxsplit=1)[0]] if killer else trial.files


def _verdicts() -> dict[str, Verdict]:
    path = CACHE / "verdicts.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {verdict["key"]: Verdict(**verdict) for verdict in map(json.loads, lines)}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
