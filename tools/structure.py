"""`python -m tools.structure [--root DIR] [--json]`: counts the structure of a checkout of any release.

It parses `pipeline`, `models` and `training` and imports none of them. The counts mean:

- room: a package or a loose module directly inside `pipeline`, `pipeline.alerting` or `training`
- arrow: two rooms of the same area, where the first imports the second, at runtime or under TYPE_CHECKING
- back up: an arrow from a lower to a higher layer; the layers are those of the checkout's import-linter contract, and
  `LAYERS` for `pipeline` in a checkout that has none
- untyped: places with `dict[str, Any]`, `Mapping[str, Any]` or a name that stands for one; between rooms are those in
  signatures of public functions, and in methods and fields of classes, that another room imports
- attribute: a distinct `self.x` that a class assigns; fields of a dataclass do not count
- private access: `x._name` in `tests/`, where `x` is neither `self` nor `cls`
- one letter: of the names that assignments, loops and parameters bind, the share that is a single letter
"""

from __future__ import annotations

import argparse
import ast
import json
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

CODE = ("pipeline", "models", "training")
AREAS = ("pipeline", "pipeline.alerting", "training")
#: Rooms of `pipeline` from the highest layer to the lowest; rooms in one entry are equals.
LAYERS = ("cli", "demo", "console", "service", "annotation", "alerting", "ingest", "classify", "kafka | store",
          "settings", "domain")  # fmt: skip
LARGEST_CLASSES = 5
_UNTYPED = {"dict", "Mapping", "MutableMapping"}
#: Dotted name of a module -> its syntax tree.
Modules: TypeAlias = Mapping[str, ast.Module]
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Area:
    """`upward` are the arrows back up, as `from -> to`; `circular` the rooms that import themselves through others."""

    rooms: int
    arrows: int
    upward: list[str]
    circular: list[str]


@dataclass(frozen=True, slots=True)
class Structure:
    """All counts of one checkout. A file comes with its number of lines, a folder with its number of modules."""

    areas: dict[str, Area]
    largest_folder: tuple[str, int]
    largest_file: tuple[str, int]
    largest_classes: dict[str, int]
    untyped: int
    untyped_between_rooms: int
    private_access_in_tests: int
    one_letter_share: float


def area(name: str, modules: Modules, layers: Sequence[str]) -> Area:
    """Rooms and arrows of the package `name`."""
    arrows = {
        (source, target)
        for module, tree in modules.items()
        for imported, _ in imports(module, tree, modules)
        if (source := room(name, module)) and (target := room(name, imported)) and source != target
    }
    rooms = {found for module in modules if (found := room(name, module))}
    rank = {each: height for height, layer in enumerate(layers) for each in layer.replace(" ", "").split("|")}
    upward = [f"{a} -> {b}" for a, b in sorted(arrows) if a in rank and b in rank and rank[b] < rank[a]]
    reached = {each: {b for a, b in arrows if a == each} for each in rooms}
    for through in rooms:
        for each in rooms:
            if through in reached[each]:
                reached[each] |= reached[through]
    return Area(len(rooms), len(arrows), upward, sorted(each for each in rooms if each in reached[each]))


def room(area_name: str, module: str) -> str:
    """The room of an area that a module lies in; empty where it lies in none.

    >>> room("pipeline", "pipeline.store.sqlite.store"), room("pipeline.alerting", "pipeline.store")
    ('store', '')
    """
    inside = module.removeprefix(f"{area_name}.")
    return inside.partition(".")[0] if inside != module else ""


def imports(module: str, tree: ast.Module, modules: Modules) -> Iterator[tuple[str, str]]:
    """Yields (module, name) for each import of a module in `modules`; the name of a whole module is empty."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            package = module if _is_package(module, modules) else module.rpartition(".")[0]
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                if (whole := f"{source}.{alias.name}") in modules:
                    yield whole, ""
                elif source in modules:
                    yield source, alias.name


def _is_package(module: str, modules: Modules) -> bool:
    return any(other.startswith(f"{module}.") for other in modules)


def untyped_nodes(tree: ast.AST, aliases: frozenset[str] = frozenset()) -> int:
    """Counts `dict[str, Any]`, `Mapping[str, Any]` and the names in `aliases`.

    >>> untyped_nodes(ast.parse("x: dict[str, Any]; y: list[Mapping[str, Any]]; z: dict[str, int]"))
    2
    """
    return sum(
        _is_untyped(node) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in aliases)
        for node in ast.walk(tree)
    )


def _is_untyped(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and (
        ast.unparse(node.value).rpartition(".")[2] in _UNTYPED and ast.unparse(node.slice) in {"str, Any", "(str, Any)"}
    )


def aliases_of(modules: Modules) -> frozenset[str]:
    """Names that stand for an untyped mapping."""
    return frozenset(
        target.id
        for tree in modules.values()
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and _is_untyped(node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    )


def untyped_between_rooms(modules: Modules, aliases: frozenset[str]) -> int:
    """Counts the untyped mappings in the interfaces that one room of an area offers to another room."""
    shown: dict[str, set[str]] = defaultdict(set)
    for module, tree in modules.items():
        for imported, name in imports(module, tree, modules):
            if any((own := room(a, module)) != (other := room(a, imported)) and own and other for a in AREAS):
                shown[imported].add(name)
    return sum(
        untyped_nodes(part, aliases)
        for module, names in shown.items()
        for definition in modules[module].body
        if isinstance(definition, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        if definition.name in names or ("" in names and not definition.name.startswith("_"))
        for part in _surface(definition)
    )


def _surface(definition: ast.ClassDef | Function) -> Iterator[ast.AST]:
    """Yields the annotations that a caller sees: arguments and result, or the public methods and fields of a class."""
    if isinstance(definition, ast.ClassDef):
        for node in definition.body:
            if isinstance(node, ast.AnnAssign):
                yield node.annotation
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (
                node.name == "__init__" or not node.name.startswith("_")
            ):
                yield from _surface(node)
        return
    yield definition.args
    if definition.returns is not None:
        yield definition.returns


def attributes(modules: Modules) -> Counter[str]:
    """Counts the distinct attributes that the methods of each class assign to `self`, by `module.Class`."""
    return Counter(
        {
            f"{module}.{node.name}": len(
                {
                    each.attr
                    for each in ast.walk(node)
                    if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)
                    if isinstance(each.value, ast.Name) and each.value.id == "self"
                }
            )
            for module, tree in modules.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
        }
    )


def private_accesses(tree: ast.Module) -> int:
    """Uses of another object's `_name`.

    >>> private_accesses(ast.parse("self._a = worker._b; worker.c.__dict__; _d"))
    1
    """
    return sum(
        isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
        for node in ast.walk(tree)
    )


def one_letter_share(modules: Modules) -> float:
    """In [0, 1]: of all names that the code binds, those of one letter; `_` does not count."""
    names = [name for tree in modules.values() for node in ast.walk(tree) if (name := _bound(node)) not in {"", "_"}]
    return sum(len(name) == 1 for name in names) / len(names) if names else 0.0


def _bound(node: ast.AST) -> str:
    """The name that an assignment, a loop, a `with` or a parameter binds; empty for all else."""
    if isinstance(node, ast.arg):
        return node.arg
    return node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else ""


def layers_of(pyproject: Mapping[str, object], area_name: str) -> Sequence[str]:
    """The layers of an area by its import-linter contract, the highest first."""
    tool = pyproject.get("tool", {})
    contracts = tool.get("importlinter", {}).get("contracts", []) if isinstance(tool, dict) else []
    for contract in contracts:
        if contract["type"] == "layers" and area_name in contract.get("containers", []):
            return [str(layer) for layer in contract["layers"]]
    return LAYERS if area_name == "pipeline" else ()


def structure(code: Mapping[Path, str], tests: Sequence[str], pyproject: Mapping[str, object]) -> Structure:
    """Counts sources: `code` by path from the root of the checkout, `tests` in any order."""
    modules = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): ast.parse(code[path]) for path in code}
    aliases = aliases_of(modules)
    folders = Counter(str(path.parent) for path in code if path.name != "__init__.py")
    lines = Counter({str(path): len(source.splitlines()) for path, source in code.items()})
    return Structure(
        areas={name: area(name, modules, layers_of(pyproject, name)) for name in AREAS},
        largest_folder=folders.most_common(1)[0],
        largest_file=lines.most_common(1)[0],
        largest_classes=dict(attributes(modules).most_common(LARGEST_CLASSES)),
        untyped=sum(untyped_nodes(tree, aliases) for tree in modules.values()),
        untyped_between_rooms=untyped_between_rooms(modules, aliases),
        private_access_in_tests=sum(private_accesses(ast.parse(source)) for source in tests),
        one_letter_share=round(one_letter_share(modules), 4),
    )


def table(found: Structure) -> str:
    """The counts for people, a line each."""
    rows = []
    for name, each in found.areas.items():
        rows.append((f"{name}: rooms, arrows", f"{each.rooms}, {each.arrows}"))
        rows.append((f"{name}: arrows back up", ", ".join(each.upward) or "0"))
        rows.append((f"{name}: rooms in circles", ", ".join(each.circular) or "0"))
    rows.append(("largest folder", "{}: {} files".format(*found.largest_folder)))
    rows.append(("largest file", "{}: {} lines".format(*found.largest_file)))
    by_size = groupby(found.largest_classes.items(), key=lambda item: item[1])
    rows += [(f"classes with {size} attributes", ", ".join(name for name, _ in group)) for size, group in by_size]
    rows.append(("untyped mappings", f"{found.untyped}, {found.untyped_between_rooms} of them between rooms"))
    rows.append(("private access in tests", str(found.private_access_in_tests)))
    rows.append(("one-letter names", f"{found.one_letter_share:.1%}"))
    return "\n".join(f"{label:36} {value}" for label, value in rows)


def read(root: Path) -> Structure:
    """Counts the checkout at `root`; raises `OSError` where a file cannot be read."""
    code = {
        path.relative_to(root): path.read_text("utf-8")
        for package in CODE
        for path in sorted((root / package).rglob("*.py"))
    }
    tests = [path.read_text("utf-8") for path in sorted((root / "tests").rglob("*.py"))]
    return structure(code, tests, tomllib.loads((root / "pyproject.toml").read_text("utf-8")))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.structure", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--root", type=Path, default=Path(), help="Count this checkout (default: the current folder).")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    options = parser.parse_args()
    if not (options.root / "pyproject.toml").is_file():
        parser.error(f"{options.root} has no pyproject.toml; give the root of a checkout to --root")
    found = read(options.root)
    print(json.dumps(asdict(found), indent=1) if options.json else table(found))


if __name__ == "__main__":
    main()
