"""Mutants of a module: which places can change, and a seeded sample of them.

The operators are cosmic-ray's, one or two of a family (`<` becomes `<=` and `>=`, not every other comparison), and one
of our own that removes a statement. Changes that no test can see are left out: annotations, log lines, the arguments
of decorators, and what guards against a wrong call alone (`strict=`, keyword-only parameters).
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator

COMPARISONS = [
    "Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt",
    "Is_IsNot", "IsNot_Is",
]  # fmt: skip
BINARIES = [
    "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Mul", "Pow_Mul", "LShift_RShift", "RShift_LShift",
    "BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitAnd",
]  # fmt: skip
OTHERS = [
    "ReplaceUnaryOperator_USub_UAdd", "ReplaceUnaryOperator_Delete_Not", "AddNot", "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak", "ExceptionReplacer", "NumberReplacer", "RemoveDecorator", "ZeroIterationForLoop",
]  # fmt: skip
LOGGERS = ("log.", "logger.", "logging.")


@dataclass(frozen=True)
class Mutant:
    """One change of one module; `line` counts from 1."""

    module: str
    line: int
    operator: str
    source: str
    diff: str

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.module}\0{self.source}".encode()).hexdigest()

    @property
    def before(self) -> str:
        """The first line that the change removes."""
        return self._first("-")

    @property
    def after(self) -> str:
        """The first line that the change adds."""
        return self._first("+")

    def _first(self, sign: str) -> str:
        lines = (line[1:].strip() for line in self.diff.splitlines()[2:] if line.startswith(sign))
        return next(filter(None, lines), "")


class RemoveStatement(Operator):  # type: ignore[misc]
    """Puts `pass` in place of a call, of an assignment to an attribute or an item, and of a `raise`."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.type == "simple_stmt" and self._acts(node.children[0]):
            yield node.start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.children[0] = get_ast(node.get_first_leaf().prefix + "pass")
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()

    @staticmethod
    def _acts(statement: Any) -> bool:
        if statement.type == "expr_stmt":
            return statement.children[0].type in {"atom_expr", "power"}
        if statement.type in {"atom_expr", "power"}:
            code = str(statement.get_code(include_prefix=False))
            return code.endswith(")") and not code.startswith(LOGGERS)
        return bool(statement.type == "raise_stmt")


def operators() -> dict[str, Operator]:
    names = [
        *(f"ReplaceComparisonOperator_{pair}" for pair in COMPARISONS),
        *(f"ReplaceBinaryOperator_{pair}" for pair in BINARIES),
        *OTHERS,
    ]
    return {"RemoveStatement": RemoveStatement()} | {name: get_operator(f"core/{name}")() for name in names}


def sample(module: str, source: str, size: int, seed: int) -> list[Mutant]:
    """At most `size` mutants of a module, the same ones for the same source and seed.

    Places are drawn, then one change of each: an addition, which many operators can change, is drawn as often as a
    comparison. A second change of a place is drawn only when every place has one.
    """
    draw = random.Random(f"{seed} {module}")  # noqa: S311
    places = _places(source)
    for changes in places.values():
        draw.shuffle(changes)
    made: list[Mutant] = []
    seen = {_meaning(source), ""}
    while places and len(made) < size:
        for place in draw.sample(sorted(places), len(places)):
            operator, occurrence = places[place].pop()
            if not places[place]:
                del places[place]
            try:
                mutant = _mutant(module, source, place[0], operator, occurrence)
            except AttributeError:  # ExceptionReplacer does not know an exception with a dotted name
                continue
            meaning = _meaning(mutant.source)
            if meaning in seen:
                continue
            seen.add(meaning)
            made.append(mutant)
            if len(made) == size:
                break
    return made


def _places(source: str) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """Start of a place (line, column) -> the changes that can be made there: operator and its occurrence."""
    found: dict[tuple[int, int], list[tuple[str, int]]] = defaultdict(list)
    hidden, lines = _hidden_lines(source), source.splitlines()
    nodes = list(ast_nodes(get_ast(source)))
    for name, operator in operators().items():
        positions = (position for node in nodes for position in operator.mutation_positions(node))
        for occurrence, (start, _) in enumerate(positions):
            if name == "RemoveDecorator" or (start[0] not in hidden and not _is_for_programmers(lines, *start)):
                found[start].append((name, occurrence))
    return dict(found)


def _is_for_programmers(lines: list[str], line: int, column: int) -> bool:
    """Whether a place is the value of `strict=`, or the `*` that only keywords follow."""
    before, here = lines[line - 1][:column], lines[line - 1][column:]
    return before.rstrip().endswith("strict=") or here.startswith(("*,", "/,", "/)"))


def _hidden_lines(source: str) -> set[int]:
    """Lines of decorators with arguments and of log calls."""
    nodes: list[ast.AST] = []
    for node in ast.walk(ast.parse(source)):
        nodes += getattr(node, "decorator_list", [])
        if isinstance(node, ast.Expr) and ast.unparse(node).startswith(LOGGERS):
            nodes.append(node)
    return {line for node in nodes for line in range(node.lineno, node.end_lineno + 1)}  # type: ignore[attr-defined]


def _mutant(module: str, source: str, line: int, operator: str, occurrence: int) -> Mutant:
    mutated = mutate_code(source, operators()[operator], occurrence)
    lines = difflib.unified_diff(source.splitlines(), mutated.splitlines(), module, module, lineterm="", n=1)
    return Mutant(module, line, operator, mutated, "\n".join(lines))


def _meaning(source: str) -> str:
    """The syntax tree without annotations and type aliases; empty for a source that is not Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return ""
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            if getattr(node, field, None) is not None:
                setattr(node, field, None)
    return ast.dump(tree)
