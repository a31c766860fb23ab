"""What each command may load: help needs no client, no numpy and no settings, and no command loads an unused client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.cli.main import app
from pipeline.store.sqlite.store import SqliteStore

#: Packages that take long to import, or that open a door to a service.
HEAVY = frozenset(
    "faust aiokafka kafka confluent_kafka elasticsearch aiohttp fsspec numpy scipy pydantic onnxruntime openvino "
    "tokenizers cryptography torch transformers training feedparser PIL ahocorasick opencc prometheus_client".split()
)
#: What reading the settings takes.
SETTINGS = frozenset({"pydantic"})
NUMBERS = frozenset({"numpy", "scipy"})
BUNDLE = frozenset({"numpy", "tokenizers", "cryptography"})
#: What opening the model of the settings takes.
MODEL = SETTINGS | BUNDLE | {"onnxruntime", "openvino", "fsspec", "prometheus_client", "ahocorasick"}

MAY_LOAD: dict[str, frozenset[str]] = {
    "--help": frozenset(),
    "--version": frozenset(),
    "backtest --help": frozenset(),
    "config show": SETTINGS,
    "setup": SETTINGS,
    "status": SETTINGS | {"numpy", "prometheus_client"},
    "alerts list": SETTINGS | NUMBERS,
    "alerts show x": SETTINGS | NUMBERS,
    "alerts ack x": SETTINGS | NUMBERS,
    "alerts why subject:Nova": SETTINGS | NUMBERS | {"prometheus_client"},
    "backtest history.csv": SETTINGS | NUMBERS | BUNDLE,
    "backtest --index": SETTINGS | NUMBERS,
    "alerts test-channel x": SETTINGS | {"aiohttp", "PIL"},
    "labels stats": SETTINGS,
    "labels export": SETTINGS | {"ahocorasick"},
    "labels queue": (MODEL | NUMBERS) - {"onnxruntime", "openvino"},
    "models keygen key.pem": SETTINGS | {"cryptography"},
    "models list": SETTINGS | BUNDLE | {"fsspec"},
    "dead list": SETTINGS | {"kafka"},
    "ingest none.jsonl --topic x": SETTINGS | {"kafka", "feedparser"},
    "classify posts.jsonl": MODEL,
    "check": MODEL | NUMBERS | {"kafka", "aiohttp", "PIL"},
    "evaluate bundle": SETTINGS,
    "noise": SETTINGS,
}

_RUN = """
import sys
from pipeline.cli.main import main
try:
    main()
finally:
    print("\\nloaded", *{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


def loaded_by(code: str, arguments: list[str], folder: Path) -> frozenset[str]:
    """The heavy packages that a new process has loaded at its end."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False, cwd=folder,
        env={**os.environ, "OPINIONWATCH_STORE__URL": f"sqlite:///{folder}/store.sqlite"},
    )  # fmt: skip
    assert " bug" not in done.stderr
    return frozenset(done.stderr.rpartition("\nloaded ")[2].split()) & HEAVY


@pytest.mark.parametrize("command", MAY_LOAD)
def test_a_command_loads_only_what_it_may(command: str, tmp_path: Path) -> None:
    SqliteStore(tmp_path / "store.sqlite").setup()
    (tmp_path / "posts.jsonl").write_text('{"text": "Lovely hotel, friendly staff!"}\n')
    rows = "".join(f"2026-10-20T00:{minute:02}:00Z,k,5,1\n" for minute in range(0, 60, 5))
    (tmp_path / "history.csv").write_text("timestamp,key,posts,negative\n" + rows)
    assert loaded_by(_RUN, command.split(), tmp_path) <= MAY_LOAD[command]


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, (*path, name))
    if not hasattr(command, "commands"):
        yield path


def test_no_help_page_loads_anything_heavy(tmp_path: Path) -> None:
    pages = list(leaves(typer.main.get_command(app)))
    assert len(pages) > 40
    code = (
        "import json, sys\nfrom pipeline.cli.main import app\n"
        "for page in json.loads(sys.argv[1]):\n"
        "    try:\n        app([*page, '--help'])\n    except SystemExit as end:\n        assert end.code == 0, page\n"
        "print('\\nloaded', *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\n"
    )
    assert loaded_by(code, [json.dumps(pages)], tmp_path) == frozenset()
