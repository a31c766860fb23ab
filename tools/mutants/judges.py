"""Which fast tests execute which lines, and how long each takes.

Each test file runs once under coverage, in a process of its own; what it showed is kept until the file, a helper of
the tests or the measured code changes.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

TESTS = ["tests/unit", "tests/flow", "tests/contract", "tests/fuzz", "tests/integration", "tests/security"]
MEASURED = ["pipeline", "models"]
#: At most this many test files, and tests of this many seconds together, judge a mutant.
MOST_FILES, MOST_S = 10, 20.0
LAST_LINE = 1 << 30


@dataclass
class Judges:
    """Passed tests by the lines that they execute, and the lines that an import executes.

    `touched` counts by test file the lines of each module that it executes.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    imported: dict[str, set[int]] = field(default_factory=dict)
    touched: dict[str, dict[str, int]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def add(self, file: str, shown: dict[str, Any], in_functions: Callable[[str], frozenset[int]]) -> None:
        """Takes what one test file showed (see `trials.measure`); `in_functions` gives the lines within functions.

        The others are executed by an import, in whichever test that happens.
        """
        self.seconds |= shown["seconds"]
        self.failed += shown["failed"]
        self.touched[file] = {module: len(lines) for module, lines in shown["lines"].items()}
        for module, lines in shown["lines"].items():
            of_module, within = self.lines.setdefault(module, {}), in_functions(module)
            for line, tests in lines.items():
                if int(line) in within:
                    of_module.setdefault(int(line), set()).update(test for test in tests if test in self.seconds)
                else:
                    self.imported.setdefault(module, set()).add(int(line))
        for module, imported in shown["imported"].items():
            self.imported.setdefault(module, set()).update(imported)

    def of(self, module: str, source: str, line: int, importers: Sequence[str]) -> list[str]:
        """The tests that execute the statement at a line, of files that are about the module, the quickest first.

        Where an import executes it, the tests that execute its function or its module judge, or where none does, those
        of the test files and the modules that import it.
        """
        spans = statement_lines(source, line)
        found = self._executing(module, *spans[0])
        if not found and not self.imported.get(module, set()).isdisjoint(range(spans[0][0], spans[0][1] + 1)):
            found = next((tests for span in spans[1:] if (tests := self._executing(module, *span))), set())
            if not found:
                found = set().union(*(self._executing(other, 1, LAST_LINE) for other in importers))
                found |= {test for test in self.seconds if test.split("::")[0] in importers}
                return self._few(found, importers)
        return self._few(found, [module])

    def _executing(self, module: str, first: int, last: int) -> set[str]:
        return set().union(*(tests for line, tests in self.lines.get(module, {}).items() if first <= line <= last))

    def _few(self, tests: set[str], modules: Sequence[str]) -> list[str]:
        """`MOST_FILES` files, first those that execute little but these modules, and `MOST_S` seconds of tests."""

        def about(file: str) -> float:
            touched = self.touched[file]
            if file in modules:
                return 1.0
            return sum(touched.get(module, 0) for module in modules) / max(1, sum(touched.values()))

        files = sorted({test.split("::")[0] for test in tests}, key=lambda file: (-about(file), file))
        near = set(files[:MOST_FILES])
        wanted = [test for test in tests if test.split("::")[0] in near]
        wanted.sort(key=lambda test: (self.seconds[test], test))
        taken: list[str] = []
        left_s = MOST_S
        for test in wanted:
            if self.seconds[test] <= left_s:
                left_s -= self.seconds[test]
                taken.append(test)
        return taken or wanted[:1]


def statement_lines(source: str, line: int) -> list[tuple[int, int]]:
    """Where tests of a line are looked for: its statement (of a compound one the header), its function, its module."""
    around = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case) and _start(node) <= line <= _end(node)
    ]
    inner = max(around, key=lambda node: (_start(node), -_end(node)))
    body = getattr(inner, "body", None)
    spans = [(_start(inner), max(_start(inner), _start(body[0]) - 1) if body else _end(inner))]
    functions = [node for node in around if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [*spans, *((_start(node), _end(node)) for node in functions[-1:]), (1, LAST_LINE)]


@cache
def function_lines(root: Path, module: str) -> frozenset[int]:
    """The lines of a module that lie in the body of a function."""
    return frozenset(
        line
        for node in ast.walk(ast.parse((root / module).read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for line in range(node.body[0].lineno, _end(node) + 1)
    )


@cache
def importers(root: Path, module: str) -> list[str]:
    """The measured modules and the tests that import a module by name."""
    name = module.removesuffix(".py").replace("/", ".")
    parent, _, last = name.rpartition(".")
    return [file for file, found in _imports(root).items() if (name, "") in found or (parent, last) in found]


@cache
def _imports(root: Path) -> dict[str, set[tuple[str | None, str]]]:
    """By file the modules that it imports from, alone and with each name that it imports."""
    found: dict[str, set[tuple[str | None, str]]] = {}
    for path in sorted(path for folder in [*MEASURED, "tests"] for path in (root / folder).rglob("*.py")):
        nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
        names = {(node.module, name) for node in nodes for name in ("", *(alias.name for alias in node.names))}
        found[path.relative_to(root).as_posix()] = names
    return found


def files_with_tests(root: Path, wanted: Sequence[str]) -> list[str]:
    """Files with fast tests under the `wanted` files and folders, and files with doctests."""
    tests = [
        path
        for name in wanted
        for path in ((root / name).rglob("test_*.py") if (root / name).is_dir() else [root / name])
    ]
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


def _start(node: ast.AST) -> int:
    parts = [node, *getattr(node, "decorator_list", []), getattr(node, "pattern", node)]
    return min(int(part.lineno) for part in parts if hasattr(part, "lineno"))


def _end(node: ast.AST) -> int:
    body = getattr(node, "body", None)
    return int(getattr(node, "end_lineno", 0) or (body[-1].end_lineno if body else 0))
