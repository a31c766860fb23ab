"""Which fast tests execute which lines, and how long each takes.

Each test file runs once under coverage, in a process of its own; what it showed is kept until the file, a helper of
the tests or the measured code changes.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

TESTS = ["tests/unit", "tests/flow", "tests/contract", "tests/fuzz", "tests/integration", "tests/security"]
MEASURED = ["pipeline", "models"]
#: Seconds of tests that judge one mutant at most; the quickest ones are taken.
MOST_S = 40.0


@dataclass
class Judges:
    """Passed tests by the lines that they execute."""

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def add(self, shown: dict[str, Any]) -> None:
        """Takes what one test file showed (see `trials.measure`)."""
        self.seconds |= shown["seconds"]
        self.failed += shown["failed"]
        for module, lines in shown["lines"].items():
            of_module = self.lines.setdefault(module, {})
            for line, tests in lines.items():
                of_module.setdefault(int(line), set()).update(test for test in tests if test in self.seconds)

    def of(self, module: str, source: str, line: int, importers: Iterable[str]) -> list[str]:
        """The tests that execute the statement at a line, the quickest first, `MOST_S` of them.

        A statement that runs on import is judged by the tests that execute its function or its module, or where it has
        no functions, a module that imports it.
        """
        lines = self.lines.get(module, {})
        found: set[str] = set()
        for first, last in statement_lines(source, line):
            found = set().union(*(lines.get(number, ()) for number in range(first, last + 1)))
            if found:
                break
        if not found:
            tests = [tests for other in importers for tests in self.lines.get(other, {}).values()]
            found = set().union(*tests) if on_import(source, line) else set()
        taken: list[str] = []
        total = 0.0
        for test in sorted(found, key=lambda test: (self.seconds[test], test)):
            total += self.seconds[test]
            if taken and total > MOST_S:
                break
            taken.append(test)
        return taken


def statement_lines(source: str, line: int) -> list[tuple[int, int]]:
    """Spans to look for tests in: the statement at the line; if it runs on import, its function, then the module."""
    around = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.stmt | ast.ExceptHandler) and _start(node) <= line <= (node.end_lineno or 0)
    ]
    inner = max(around, key=lambda node: (_start(node), -(node.end_lineno or 0)))
    body = getattr(inner, "body", None)
    last = max(_start(inner), body[0].lineno - 1) if body else inner.end_lineno or line
    spans = [(_start(inner), last)]
    if on_import(source, line):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            spans = [(_start(inner), inner.end_lineno or line)]
        spans.append((1, source.count("\n") + 1))
    return spans


def on_import(source: str, line: int) -> bool:
    """Whether a line is executed on import: it lies in no body of a function."""
    return not any(
        node.body[0].lineno <= line <= (node.end_lineno or 0)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@cache
def importers(root: Path, module: str) -> list[str]:
    """The measured modules that import a module by name."""
    name = module.removesuffix(".py").replace("/", ".")
    parent, _, last = name.rpartition(".")
    found = []
    for path in sorted(path for folder in MEASURED for path in (root / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (
                node.module == name or (node.module == parent and any(alias.name == last for alias in node.names))
            ):
                found.append(path.relative_to(root).as_posix())
                break
    return found


def files_with_tests(root: Path) -> list[str]:
    """Files with fast tests, doctests included."""
    tests = [path for folder in TESTS for path in (root / folder).rglob("test_*.py")]
    documents = [path for folder in MEASURED for path in (root / folder).rglob("*.py") if ">>>" in path.read_text()]
    return [path.relative_to(root).as_posix() for path in sorted(tests) + sorted(documents)]


def digest(root: Path, paths: Iterable[str]) -> str:
    """Of the contents of files and of folders' Python files."""
    found = hashlib.sha256()
    for path in (root / name for name in paths):
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:20]


def helpers(root: Path) -> list[str]:
    """Python files under `tests` that hold no tests."""
    return [
        path.relative_to(root).as_posix()
        for path in sorted((root / "tests").rglob("*.py"))
        if not path.name.startswith("test_")
    ]


def _start(node: ast.stmt | ast.ExceptHandler) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min(part.lineno for part in [node, *decorators])
