"""The counts of `tools.structure`, on a made-up checkout whose structure is known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.structure import Structure, structure, table

ROOT = Path(__file__).resolve().parents[2]
CODE = {
    "pipeline/__init__.py": "",
    "pipeline/cli/__init__.py": "",
    "pipeline/cli/run.py": """
from pipeline.store import files
from pipeline.store.files import Store, load
import pipeline.domain
""",
    "pipeline/cli/why.py": "def show():\n    from ..store.files import load",
    "pipeline/store/__init__.py": "",
    "pipeline/store/files.py": """
from typing import TYPE_CHECKING, Any
if TYPE_CHECKING:
    from pipeline.cli.run import main
from pipeline.domain import Post

Document = dict[str, Any]

def load(name: str) -> Document:
    found: dict[str, Any] = {}
    for x in ():
        found[x] = x
    return found

def _own(given: dict[str, Any]) -> None: ...

class Store:
    rows: list[dict[str, Any]]

    def __init__(self, path: str, at: int) -> None:
        self.path, self._at = path, at
        self.path = ""

    def put(self, document: dict[str, Any]) -> None:
        self._last: int = 0

    def _mark(self, document: dict[str, Any]) -> None:
        return self.inherited
""",
    "pipeline/domain.py": "class Post: ...",
    "pipeline/alerting/__init__.py": "",
    "pipeline/alerting/worker.py": "from pipeline.alerting.detection import tail\nfrom ..domain import Post",
    "pipeline/alerting/detection/__init__.py": "",
    "pipeline/alerting/detection/tail.py": "",
    "models/__init__.py": "",
    "training/__init__.py": "",
    "training/train.py": "def train(): ...",
}  # fmt: skip
TESTS = ["worker._held = store._db.connection\nself._x = cls._y\nworker.__doc__\nworker.held"]
CONTRACT = {"type": "layers", "containers": ["pipeline.alerting"], "layers": ["detection", "worker"]}


def counted(**contracts: object) -> Structure:
    code = {Path(path): source for path, source in CODE.items()}
    return structure(code, TESTS, contracts and {"tool": {"importlinter": contracts}})


def test_imports_in_functions_and_under_type_checking_are_arrows_too() -> None:
    areas = counted().areas
    assert {name: (each.rooms, each.arrows) for name, each in areas.items()} == {
        "pipeline": (4, 5),  # cli -> store, cli -> domain, store -> cli, store -> domain, alerting -> domain
        "pipeline.alerting": (2, 1),
        "training": (1, 0),
    }


def test_an_arrow_back_up_and_the_circle_that_it_closes_are_named() -> None:
    pipeline = counted().areas["pipeline"]
    assert pipeline.upward == ["store -> cli"]
    assert pipeline.circular == ["cli", "store"]


def test_the_layers_are_those_of_the_contract() -> None:
    assert counted().areas["pipeline.alerting"].upward == []
    assert counted(contracts=[CONTRACT]).areas["pipeline.alerting"].upward == ["worker -> detection"]


def test_the_largest_folder_file_and_classes_are_named() -> None:
    found = counted()
    assert found.largest_folder == ("pipeline/cli", 2)
    assert found.largest_file == ("pipeline/store/files.py", 28)
    assert found.largest_classes == {"pipeline.store.files.Store": 3, "pipeline.domain.Post": 0}


def test_untyped_mappings_are_counted_in_total_and_between_rooms() -> None:
    found = counted()
    assert found.untyped == 7, "the alias and its one use count too"
    assert found.untyped_between_rooms == 3, "the result of load, the field and the public method of Store"


def test_private_access_and_one_letter_names_are_counted() -> None:
    found = counted()
    assert found.private_access_in_tests == 2
    assert found.one_letter_share == pytest.approx(1 / 13, abs=1e-4)


def test_the_table_says_what_the_counts_say() -> None:
    said = table(counted())
    for line in ("pipeline: arrows back up store -> cli", "largest folder pipeline/cli: 2 files",
                 "untyped mappings 7, 3 of them between rooms"):  # fmt: skip
        assert line in " ".join(said.split())


def test_the_command_counts_this_checkout() -> None:
    command = [sys.executable, "-m", "tools.structure", "--root", str(ROOT), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    areas = json.loads(done.stdout)["areas"]
    assert areas["pipeline"]["rooms"] == len([p for p in (ROOT / "pipeline").iterdir() if (p / "__init__.py").exists()])
    assert areas["pipeline"]["upward"] == []
