"""Resolves settings: defaults < `opinionwatch.toml` < environment < flags. No other module reads the environment.

A name in the environment is `OPINIONWATCH_` and the path of the setting with double underscores, e.g.
`OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS`. A secret may come from a file: `OPINIONWATCH_STORE__PASSWORD_FILE`.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError

from models.text import is_text
from pipeline.domain.connection_errors import printable
from pipeline.domain.errors import Fatal
from pipeline.settings.renamed import Entry, Value, with_new_names
from pipeline.settings.sections import Settings

_NotJson = json.JSONDecodeError
PREFIX = "OPINIONWATCH_"
#: No setting is nested deeper than this.
_DEEPEST = 10
DEFAULT_FILE = Path("opinionwatch.toml")


@dataclass(frozen=True)
class Resolved:
    """The settings, and the origin of every value that is not a default, by dotted key."""

    settings: Settings
    origins: Mapping[str, str]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Key, value with secrets hidden, and origin of every setting, sorted by key."""
        for key, value in sorted(_leaves(self.settings.model_dump(mode="json"))):
            origin = next((o for k, o in self.origins.items() if k == key or key.startswith(k + ".")), "default")
            yield key, json.dumps(value, ensure_ascii=False), origin


def resolve(
    file: Path | None = None, flags: Mapping[str, Value] | None = None, environ: Mapping[str, str] | None = None
) -> Resolved:
    """Merges the sources; `flags` maps dotted keys to values. Raises `Fatal` with the key and its origin."""
    merged: dict[str, Value] = {}
    origins: dict[str, str] = {}
    given = [
        *_from_file(file),
        *_from_environment(os.environ if environ is None else environ),
        *((k, v, f"flag for {k}") for k, v in (flags or {}).items() if v is not None),
    ]
    for key, value, origin in with_new_names(given):
        _put(merged, key, value, origin)
        origins[key] = origin
    try:
        return Resolved(Settings.model_validate(merged), origins)
    except ValidationError as error:
        raise Fatal(
            _explain(error, origins), "correct it, then check the result with 'opinionwatch config show'"
        ) from None


def _from_file(file: Path | None) -> Iterator[Entry]:
    path = file or DEFAULT_FILE
    try:
        tables = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        if file is None:
            return
        raise Fatal(f"settings file {path} does not exist", "give the path of a TOML file to --config") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise Fatal(f"settings file {path} cannot be read, line {line}: not UTF-8", "save the file as UTF-8") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "nested too deeply"
        reason = printable(str(error)) if isinstance(error, ValueError) else reason
        raise Fatal(f"settings file {path} cannot be read: {reason}", "correct the file: it must be TOML") from None
    subjects = tables.pop("subjects", None)
    for key, value in _leaves(tables):
        yield key, value, f"file {path}"
    if subjects is not None:
        yield "subjects", subjects, f"file {path}"


def _from_environment(environ: Mapping[str, str]) -> Iterator[Entry]:
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        key = name.removeprefix(PREFIX).lower().replace("__", ".")
        value: Value = text
        if not is_text(text):
            raise Fatal(f"{printable(name)} is not text in UTF-8", "set it to text in UTF-8")
        if key.endswith("_file") and key.removesuffix("_file").endswith(("password", "secret")):
            key = key.removesuffix("_file")
            value = _secret(name, text)
        elif text.startswith(("[", "{")) and not _is_plain_text(key.split(".")):
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                reason = f" ({printable(error.msg)}, character {error.pos})" if isinstance(error, _NotJson) else ""
                raise Fatal(
                    f"{printable(name)} starts like JSON but is not valid JSON{reason}", "write a JSON list or object"
                ) from None
        yield key, value, f"environment {name}"


def _secret(name: str, path: str) -> str:
    """The content of the file at `path` without surrounding white space and without a byte order mark."""
    remedy = "give the path of the file with the secret"
    if not path:
        raise Fatal(f"{printable(name)} is empty", f"{remedy}, or unset it")
    try:
        secret = Path(path).read_text("utf-8-sig").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise Fatal(f"{printable(name)}: its file cannot be read: {reason}", remedy) from None
    if not secret:
        raise Fatal(f"{printable(name)}: its file is empty", remedy)
    return secret


def _is_plain_text(loc: Sequence[str]) -> bool:
    """Whether the setting is a text that may start like JSON, such as a password or an IPv6 address."""
    field = model.model_fields.get(loc[-1]) if (model := _model(loc[:-1])) else None
    return field is not None and field.annotation in {str, SecretStr}


def _put(tree: dict[str, Value], key: str, value: Value, origin: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        table = tree.setdefault(parent, {})
        if not isinstance(table, dict):
            raise Fatal(
                f"setting {printable(key)} (from {printable(origin)}): {printable(parent)} is a value, not a table",
                "remove one of the two",
            )
        tree = table
    tree[last] = value


def _leaves(tree: Mapping[str, Value], path: str = "", depth: int = 0) -> Iterator[tuple[str, Value]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value and depth < _DEEPEST:
            yield from _leaves(value, f"{path}{name}.", depth + 1)
        else:
            yield f"{path}{name}", value


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        loc = item["loc"]
        key = ".".join(map(str, loc))
        origin = next((o for k, o in origins.items() if f"{key}.".startswith(f"{k}.")), "")
        origin = origin or next((o for k, o in origins.items() if k.startswith(f"{key}.")), "default")
        lines.append(f"setting {printable(key)} (from {printable(origin)}){_fault(item['type'], item['msg'], loc)}")
    return "; ".join(lines)


def _fault(kind: str, said: str, loc: Sequence[int | str]) -> str:
    if kind == "extra_forbidden":
        return f" does not exist{_nearest(loc)}"
    if kind == "missing":
        return " is missing"
    if kind in {"model_type", "dict_type"}:
        return " must be a table"
    if kind == "list_type":
        return ' must be a list, e.g. ["a", "b"]'
    if kind == "too_short":
        return " must have at least one entry"
    if kind == "timezone_aware":
        return " must have an offset, e.g. 2026-11-27T20:00:00Z"
    said = said.removeprefix("Value error, ")
    subject, should, rule = said.partition(" should ")
    return f" must {printable(rule)}" if should and subject in {"Input", "String"} else f": {printable(said)}"


def _nearest(loc: Sequence[int | str]) -> str:
    """A hint at the setting that the user may have meant."""
    name, here = str(loc[-1]), _model(loc[:-1])
    everywhere = [
        f"{section}.{field}"
        for section in Settings.model_fields
        if (model := _model([section]))
        for field in model.model_fields
    ]
    if joined := [key for key in everywhere if key.replace(".", "_") == name]:
        return f"; did you mean {joined[0]} ({PREFIX}{joined[0].replace('.', '__').upper()})?"
    known = list(here.model_fields) if here else []
    if near := difflib.get_close_matches(name, known, 1):
        return f"; did you mean {'.'.join([*map(str, loc[:-1]), near[0]])}?"
    if elsewhere := [key for key in everywhere if key.endswith(f".{name}")]:
        return f"; did you mean {elsewhere[0]}?"
    return f"; known here: {', '.join(known)}" if known else ""


def _model(loc: Sequence[int | str]) -> type[BaseModel] | None:
    """The section at a path of the settings."""
    model: type[BaseModel] | None = Settings
    for part in loc:
        if isinstance(part, str) and model:
            field = model.model_fields.get(part)
            model = _section(field.annotation) if field else None
    return model


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that an annotation names, also inside of a list or a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _section(each))), None)
