"""The tool that changes the code: which changes it makes, and which tests it asks."""

from __future__ import annotations

import ast

import pytest

pytest.importorskip("cosmic_ray", reason="comes with the extra dev")

from tools.mutants.judges import Judges, statement_lines
from tools.mutants.mutate import Mutant, sample
from tools.mutants.report import KILLED, SURVIVED, Verdict, show

SOURCE = '''"""A module."""
from dataclasses import dataclass
import logging

log = logging.getLogger(__name__)
LIMIT: int | None = 5


@dataclass(frozen=True)
class Box:
    size: int = 3

    def put(self, value: int | str) -> bool:
        log.info("put %d", 1)
        self.value = value
        if value and self.size < LIMIT:
            self.check(
                value,
            )
            return True
        raise ValueError("full")
'''


def changes(size: int = 1000, seed: int = 1) -> list[tuple[str, str]]:
    return [(mutant.before, mutant.after) for mutant in sample("box.py", SOURCE, size, seed)]


def test_each_change_is_python_that_means_something_else() -> None:
    trees = {ast.dump(ast.parse(mutant.source)) for mutant in sample("box.py", SOURCE, 1000, 1)}
    assert len(trees) == len(changes())
    assert ast.dump(ast.parse(SOURCE)) not in trees


def test_operators_numbers_conditions_and_statements_are_changed() -> None:
    found = changes()
    assert ("if value and self.size < LIMIT:", "if value or self.size < LIMIT:") in found
    assert ("if value and self.size < LIMIT:", "if value and self.size <= LIMIT:") in found
    assert ("self.value = value", "pass") in found
    assert ('raise ValueError("full")', "pass") in found
    assert ("self.check(", "pass") in found, "a statement of several lines is removed whole"
    assert ("return True", "return False") in found
    assert any(before == "size: int = 3" for before, _ in found)


def test_a_change_that_the_library_cannot_make_is_left_out() -> None:
    source = "import smtplib\ntry:\n    quit()\nexcept (smtplib.SMTPException, OSError):\n    pass\n"
    found = [mutant.after for mutant in sample("box.py", source, 1000, 1)]
    assert "except (smtplib.SMTPException, CosmicRayTestingException):" in found


def test_what_no_test_can_see_is_left_alone() -> None:
    found = changes()
    assert not any("log" in before for before, _ in found)
    assert not any("frozen" in before and after for before, after in found), "a decorator is removed or left"
    assert not any(before.startswith("def put") for before, _ in found), "an annotation says nothing to Python"


def test_the_same_seed_draws_the_same_changes_and_every_place_comes_before_a_second_change_of_one() -> None:
    assert changes(5) == changes(5)
    assert changes(5) != changes(5, seed=2)
    places = {mutant.line for mutant in sample("box.py", SOURCE, 1000, 1)}
    assert len({mutant.line for mutant in sample("box.py", SOURCE, 12, 1)}) == len(places)


def test_a_statement_is_judged_by_the_tests_that_execute_it() -> None:
    known = Judges()
    lines = {"9": ["t.py::long"], "15": ["t.py::slow", "t.py::quick"], "16": ["t.py::slow"], "18": ["t.py::long"]}
    shown = {"lines": {"box.py": lines}, "imported": {"box.py": [5, 6, 11]}, "failed": []}
    known.add("t.py", shown | {"seconds": {"t.py::slow": 2.0, "t.py::quick": 0.1, "t.py::long": 90.0}}, in_functions)
    far = {"box.py": {"18": ["far.py::one"]}, "user.py": {str(n): ["far.py::one"] for n in range(50)}}
    shown = {"lines": far, "imported": {}, "failed": [], "seconds": {"far.py::one": 0.1}}
    known.add("far.py", shown, in_functions)
    assert known.of("box.py", SOURCE, 15, []) == ["t.py::quick", "t.py::slow"]
    assert known.of("box.py", SOURCE, 18, []) == ["far.py::one"], "what takes longest is left out"
    assert known.of("box.py", SOURCE, 20, []) == [], "nobody raises it"
    for line in (9, 11):
        judged = known.of("box.py", SOURCE, line, [])
        assert judged == ["far.py::one", "t.py::quick", "t.py::slow"], "an import is judged by the module's tests"
    assert known.of("user.py", SOURCE, 20, ["box.py"]) == ["far.py::one"]
    assert known.of("constants.py", SOURCE, 6, ["t.py"]) == [], "nobody measured that it is imported"
    known.imported["constants.py"] = {6}
    assert known.of("constants.py", SOURCE, 6, ["t.py"]) == ["t.py::quick", "t.py::slow"], "a test file imports it"


def in_functions(module: str) -> frozenset[int]:
    return frozenset(range(14, 22)) if module == "box.py" else frozenset(range(100))


def test_the_lines_of_a_statement() -> None:
    assert statement_lines(SOURCE, 18)[0] == (17, 19)
    assert statement_lines(SOURCE, 16)[0] == (16, 16), "of a compound statement the header"
    assert statement_lines(SOURCE, 16)[1] == (13, 21)
    assert statement_lines(SOURCE, 9)[0] == (9, 10), "a decorator belongs to its class"


def test_the_table_leaves_out_what_is_excused(capsys: pytest.CaptureFixture[str]) -> None:
    killed, lives, excused = sample("box.py", SOURCE, 3, 1)
    verdicts = {killed.key: Verdict(killed.key, KILLED, "t.py::quick", "")}
    verdicts |= {mutant.key: Verdict(mutant.key, SURVIVED, "", "") for mutant in (lives, excused)}
    show({"box.py": [killed, lives, excused]}, verdicts, {("box.py", excused.before, excused.after)})
    printed = capsys.readouterr().out
    assert "50.0%" in printed
    assert f"-{removed(lives)}" in printed
    assert f"box.py:{excused.line}" not in printed.replace(f"box.py:{lives.line}", "")


def removed(mutant: Mutant) -> str:
    return next(line[1:] for line in mutant.diff.splitlines()[2:] if line.startswith("-"))
