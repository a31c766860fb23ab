"""Settings: defaults < `opinionwatch.toml` < environment < flags. The only module that reads the environment.

Environment names are `OPINIONWATCH_` and the path with double underscores, e.g.
`OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS`. A secret may come from a file: `OPINIONWATCH_STORE__PASSWORD_FILE`.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.errors import Fatal
from pipeline.settings.sections import Settings

PREFIX = "OPINIONWATCH_"
DEFAULT_FILE = Path("opinionwatch.toml")


@dataclass(frozen=True)
class Resolved:
    """Settings and, per dotted key that is no default, where its value came from."""

    settings: Settings
    origins: Mapping[str, str]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(key, value with secrets hidden, origin) of every setting, sorted."""
        for key, value in sorted(_leaves(self.settings.model_dump(mode="json"))):
            origin = next((o for k, o in self.origins.items() if k == key or key.startswith(k + ".")), "default")
            yield key, json.dumps(value, ensure_ascii=False), origin


def resolve(
    file: Path | None = None, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Resolved:
    """Merges the sources; `flags` maps dotted keys to values. Raises `Fatal` naming the key and its origin."""
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, value, origin in [
        *_from_file(file),
        *_from_environment(os.environ if environ is None else environ),
        *((k, v, f"flag for {k}") for k, v in (flags or {}).items() if v is not None),
    ]:
        _put(merged, key, value, origin)
        origins[key] = origin
    try:
        return Resolved(Settings.model_validate(merged), origins)
    except ValidationError as error:
        raise Fatal(_explain(error, origins), "see 'opinionwatch config show' for all keys and their values") from None


def _from_file(file: Path | None) -> Iterator[tuple[str, Any, str]]:
    path = file or DEFAULT_FILE
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if file is None:
            return
        raise Fatal(f"settings file {path} does not exist", "give the path of a TOML file to --config") from None
    except (OSError, ValueError) as error:
        raise Fatal(f"settings file {path} cannot be read: {error}", "mend the file") from None
    subjects = tables.pop("subjects", None)
    for key, value in _leaves(tables):
        yield key, value, f"file {path}"
    if subjects is not None:
        yield "subjects", subjects, f"file {path}"


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Any, str]]:
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        key = name.removeprefix(PREFIX).lower().replace("__", ".")
        value: Any = text
        if key.endswith("_file") and key.removesuffix("_file").endswith(("password", "secret")):
            key = key.removesuffix("_file")
            try:
                value = Path(text).read_text("utf-8").strip()
            except OSError as error:
                raise Fatal(f"{name}: its file cannot be read: {error.strerror}", "give the path of a file") from None
        elif text[:1] in "[{":
            try:
                value = json.loads(text)
            except ValueError:
                raise Fatal(f"{name} starts like JSON but is not", "write a JSON list or object") from None
        yield key, value, f"environment {name}"


def _put(tree: dict[str, Any], key: str, value: Any, origin: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise Fatal(f"setting {key} (from {origin}): {parent} is a value, not a section", "mend the key")
    tree[last] = value


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        key = ".".join(map(str, item["loc"]))
        origin = next((o for k, o in origins.items() if key == k or key.startswith(k + ".")), "default")
        lines.append(f"setting {key} (from {origin}): {item['msg']}")
    return "; ".join(lines)
