"""`python -m tools.reference [--check]`: writes docs/reference/ from the code, so that it cannot be wrong.

With `--check` it writes nothing and exits 1 where a page differs from the code.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from inspect import cleandoc
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
import typer
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.cli.main import app
from pipeline.domain.metrics import Metrics
from pipeline.settings import Settings
from pipeline.settings.renamed import CHANNELS, RENAMED, WEBHOOKS
from pipeline.store.elasticsearch.templates import SCHEMA, Layout, templates
from training.config import TrainingConfig

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
_NOTE = "<!-- Written by `python -m tools.reference`; change the code, not this page. -->"
_NAMES = {
    "NoneType": "none",
    "str": "text",
    "int": "integer",
    "float": "number",
    "bool": "true or false",
    "dict": "table",
    "AwareDatetime": "time",
}
_CONSTRAINTS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "at least", "max_length": "at most"}


def pages() -> dict[str, str]:
    """File name -> Markdown of every page of the reference."""
    return {
        "settings.md": _settings(),
        "recipes.md": _recipes(),
        "cli.md": _cli(),
        "metrics.md": _metrics(),
        "documents.md": _documents(),
    }


def _settings() -> str:
    lines = [
        _NOTE,
        "# Settings",
        "",
        "The environment overrides `opinionwatch.toml`, and flags override the environment. `[kafka] group` is "
        "`OPINIONWATCH_KAFKA__GROUP` in the environment; a secret may come from a file by `..._FILE`. "
        "`opinionwatch config show` prints every value with its origin.",
    ]
    for heading, model in _sections(Settings):
        lines += ["", f"## `{heading}`", "", _prose(model.__doc__), "", *_fields_of(model)]
    former = "These names work in this release. A warning at the start names the setting that takes their place."
    rows = [[f"`{old}`", f"`{new}`"] for old, new in RENAMED.items()]
    rows.append([f"`{WEBHOOKS}`", f'`{CHANNELS}` with `kind = "webhook"`'])
    lines += ["", "## Former names", "", former, "", *_table(["former name", "setting"], rows)]
    return "\n".join(lines) + "\n"


def _recipes() -> str:
    lines = [
        _NOTE,
        "# Recipes of a training",
        "",
        "`opinionwatch train --config` reads a recipe; `training.recipe` names one for `opinionwatch retrain`.",
        "",
        _prose(TrainingConfig.__doc__),
        "",
        *_fields_of(TrainingConfig),
    ]
    for heading, model in _sections(TrainingConfig):
        lines += ["", f"## `{heading}`", "", _prose(model.__doc__), "", *_fields_of(model)]
    return "\n".join(lines) + "\n"


def _fields_of(model: type[BaseModel]) -> list[str]:
    """The table of the fields of a section that are no sections themselves."""
    rows = [
        [f"`{field.alias or name}`", _type(field.annotation), _default(field), _limits(field)]
        for name, field in model.model_fields.items()
        if _model_of(field.annotation) is None
    ]
    return _table(["setting", "type", "default", "limits"], rows)


def _sections(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Each section with its heading in TOML, parents first; a kind of section that is used twice is given once."""
    seen: set[type[BaseModel]] = set()

    def inner(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
        for name, field in model.model_fields.items():
            section = _model_of(field.annotation)
            if section is None or section in seen:
                continue
            seen.add(section)
            kind = get_origin(field.annotation)
            deeper = f"{path}.{name}".lstrip(".")
            key = f"{deeper}.NAME" if kind is dict else deeper
            yield (f"[[{key}]]" if kind is list else f"[{key}]"), section
            yield from inner(section, deeper)

    yield from inner(model, "")


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := _model_of(a)) is not None), None)


def _type(annotation: Any) -> str:
    if annotation is SecretStr:
        return "secret"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return " or ".join(json.dumps(value) for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type(a) for a in arguments)
    if origin is not None:
        return f"{_NAMES.get(origin.__name__, origin.__name__)} of {' to '.join(_type(a) for a in arguments)}"
    return _NAMES.get(str(annotation.__name__), str(annotation.__name__))


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "*required*" if field.is_required() else ""
    if isinstance(field.default, SecretStr):
        return ""
    if isinstance(field.default, str) and field.default.startswith("/"):
        return "the bundle that the package carries"
    return f"`{json.dumps(field.default, ensure_ascii=False, default=str)}`"


def _limits(field: FieldInfo) -> str:
    found = [
        f"{sign} {getattr(item, name)}"
        for item in field.metadata
        for name, sign in _CONSTRAINTS.items()
        if getattr(item, name, None) is not None
    ]
    return ", ".join(found)


def _cli() -> str:
    lines = [_NOTE, "# Command line", "", "Every command takes `--help`. Exit codes: 0 ok, 2 usage, 69 a service is "
             "down, 70 a bug, 78 configuration."]  # fmt: skip
    root: Any = typer.main.get_command(app)
    for path, command in _commands(root, "opinionwatch"):
        lines += ["", f"## `{path}`", "", _prose(command.help), ""]
        rows = [_parameter(p) for p in command.params if p.name != "help"]
        if rows:
            lines += _table(["parameter", "meaning", "default"], rows)
    return "\n".join(lines) + "\n"


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    subcommands = getattr(command, "list_commands", None)
    if subcommands is None:
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):  # type: ignore[attr-defined]
        inner = command.get_command(context, name)  # type: ignore[attr-defined]
        yield from _commands(inner, f"{path} {name}")


def _parameter(parameter: Any) -> list[str]:
    is_option = parameter.param_type_name == "option"
    names = ", ".join(f"`{o}`" for o in [*parameter.opts, *parameter.secondary_opts])
    name = names if is_option else f"`{parameter.name.upper()}`"
    default = parameter.default
    shown = "" if default in (None, False, ()) or callable(default) else f"`{default}`"
    return [name, _prose(getattr(parameter, "help", "") or ""), shown]


def _metrics() -> str:
    registry = CollectorRegistry()
    Metrics(registry)
    rows = []
    for family in registry.collect():
        total = "_total" if family.type == "counter" else ""
        rows.append([f"`{family.name}{total}`", family.type, family.documentation])
    lines = [_NOTE, "# Metrics", "", "Every worker serves them at `/metrics`. consumed = indexed + duplicate + dead + "
             "in flight, over all workers and restarts.", ""]  # fmt: skip
    return "\n".join([*lines, *_table(["metric", "type", "meaning"], rows)]) + "\n"


def _documents() -> str:
    schema = f"Schema {SCHEMA}. `opinionwatch setup` installs the templates and adds new fields to existing indices."
    lines = [
        _NOTE,
        "# Documents in Elasticsearch",
        "",
        f"{schema} SQLite mirrors them. [Contract](../contract.md) says what the fields mean.",
    ]
    for name, template in templates("standard", 0, Layout("month")).items():
        lines += ["", f"## `{name}`", ""]
        rows = [[f"`{field}`", kind] for field, kind in _fields(template.properties, "")]
        lines += _table(["field", "type"], rows)
    return "\n".join(lines) + "\n"


def _fields(properties: JsonObject, prefix: str) -> Iterator[tuple[str, str]]:
    fields = JsonReader(properties)
    for name in properties:
        field = JsonReader(fields.object(name))
        if field.has("properties"):
            yield from _fields(field.object("properties"), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.text("type")


def _prose(text: str | None) -> str:
    """A docstring as one paragraph per blank line, list items kept."""
    blocks = re.split(r"\n\s*\n", cleandoc(text or ""))
    return "\n\n".join(re.sub(r"\s*\n\s*(?!-)", " ", block) for block in blocks)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return ["| " + " | ".join(r) + " |" for r in [head, ["---"] * len(head), *cells]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = pages()
    stale = [n for n, text in made.items() if not (FOLDER / n).exists() or (FOLDER / n).read_text("utf-8") != text]
    if check:
        sys.exit(f"stale: {', '.join(stale)}; run 'python -m tools.reference'" if stale else 0)
    for name in stale:
        (FOLDER / name).write_text(made[name], "utf-8")


if __name__ == "__main__":
    main()
