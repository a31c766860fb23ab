"""Settings as a person may write them: a file, then `NAME=value` of the environment, each after a U+001E."""

from __future__ import annotations

import json
import os
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from pipeline.domain.errors import EXIT_CONFIG, Fatal
from pipeline.settings import Settings, resolve
from tests.fuzz.texts import TEXTS

_SECTIONS = [(name, list(field.default.model_fields) if hasattr(field.default, "model_fields") else [])
             for name, field in Settings.model_fields.items()]  # fmt: skip
_KEYS = [f"{section}.{field}" for section, fields in _SECTIONS for field in fields] + [
    "subjects.Nova",
    "kafka",
    "x.y.z",
]
_VALUES = st.one_of(
    st.sampled_from(["0", "-1", "1e400", "true", "[]", "{}", "[[", '""', "2026-11-28", "12:00", '[1, "a"]', "'day'"]),
    st.integers().map(str),
    TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False)),
    TEXTS,
)
_LINES = st.tuples(st.sampled_from(_KEYS) | TEXTS, _VALUES)
_FILES = st.lists(_LINES.map(lambda pair: f"{pair[0]} = {pair[1]}\n"), max_size=4).map("".join) | TEXTS
_NAMES = (st.sampled_from(_KEYS) | TEXTS).map(lambda key: key.replace(".", "__").upper())
_VARIABLES = st.lists(st.tuples(_NAMES, _VALUES).map(lambda pair: f"OPINIONWATCH_{pair[0]}={pair[1]}"), max_size=3)
# The file is an operator's own: how long a hostile one takes says nothing.
_MOST = 4000
INPUTS = st.tuples(_FILES, _VARIABLES).map(
    lambda p: "\x1e".join([p[0][:_MOST], *(v[:_MOST] for v in p[1])]).encode("utf-8", "surrogatepass")
)


@cache
def _file() -> Path:
    return Path(tempfile.mkdtemp(prefix="opinionwatch-fuzz-")) / "opinionwatch.toml"


def run(data: bytes) -> None:
    """They resolve, and can be shown, or one line says which is wrong."""
    file, *variables = data.split(b"\x1e")
    _file().write_bytes(file)
    environ = dict(os.fsdecode(each).partition("=")[::2] for each in variables)
    try:
        found = resolve(_file(), environ=environ)
    except Fatal as error:
        assert error.exit_code == EXIT_CONFIG
        assert str(error).isprintable()
        return
    assert len(list(found.rows())) >= len(_SECTIONS)
