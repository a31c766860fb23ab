"""Runs tests in copies of the tree, each run in a forked process that has the libraries loaded already.

A copy is changed, not the checkout: nothing is left behind after Ctrl-C, and two runs do not meet.
"""

from __future__ import annotations

import fcntl
import filecmp
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import coverage
import pytest
from _pytest.doctest import DoctestItem

Task = TypeVar("Task")
COPIED = ["pipeline", "models", "training", "tests", "benchmarks", "tools", "deploy", "docs"]
MARKERS = "not services and not demo and not long"
#: Loaded before forking; modules of ours are not, since a mutant must be what a process loads.
LIBRARIES = [
    "aiohttp", "aiokafka", "elasticsearch", "faust", "hypothesis", "kafka", "numpy", "onnx", "onnxruntime", "PIL.Image",
    "prometheus_client", "pydantic", "rjieba", "rich.console", "scipy.stats", "tokenizers", "typer",
]  # fmt: skip
FIRST_FILES = 3
MEMORY_BYTES = 8 << 30
PASSED = 0
#: pytest did not come to an end, and its exit status when it found no tests.
BROKEN = 99
NOT_JUDGED = {5, BROKEN}


@dataclass(frozen=True)
class Ended:
    """How a run of tests ended: pytest's exit status, None after the limit; what its plugin showed."""

    status: int | None
    shown: dict[str, Any]


@contextmanager
def tree(root: Path, folder: Path) -> Iterator[Path]:
    """A copy of the checkout that no other run uses."""
    for number in range(64):
        copy = folder / f"tree-{number}"
        copy.mkdir(parents=True, exist_ok=True)
        with open(folder / f"tree-{number}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            _copy(root, copy)
            yield copy
            return
    raise RuntimeError(f"64 runs use the copies in {folder}")


def load_libraries() -> None:
    for name in LIBRARIES:
        import_module(name)


@contextmanager
def changed(path: Path, source: str) -> Iterator[None]:
    """A file with another source; its times differ too, so that Python does not take the bytecode of the old source."""
    before, times = path.read_bytes(), path.stat()
    path.write_text(source, "utf-8")
    os.utime(path, (0, 0))
    try:
        yield
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


class Run:
    """One forked process that runs tests in a copy."""

    def __init__(self, copy: Path, work: Callable[[], tuple[int, dict[str, Any]]], limit_s: float) -> None:
        self.until = time.monotonic() + limit_s
        self.answer = copy.with_suffix(".json")
        self.answer.unlink(missing_ok=True)
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            _child(copy, work, self.answer)

    def ended(self) -> Ended | None:
        """None while it runs; a run over its limit is killed with all that it started."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self._kill()
            shown = json.loads(self.answer.read_text("utf-8")) if self.answer.exists() else {}
            return Ended(os.waitstatus_to_exitcode(status), shown)
        if time.monotonic() < self.until:
            return None
        self.stop()
        return Ended(None, {})

    def stop(self) -> None:
        self._kill()
        os.waitpid(self.pid, 0)

    def _kill(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def run(
    copies: list[Path], tasks: list[Task], start: Callable[[Path, Task], AbstractContextManager[Run]]
) -> Iterator[tuple[Task, Ended]]:
    """Runs tasks, one a copy at a time; yields each with its end. Closing the iterator ends what still runs."""
    waiting, free = list(reversed(tasks)), list(copies)
    going: list[tuple[Task, Path, Run, ExitStack]] = []
    try:
        while waiting or going:
            while waiting and free:
                task, copy, stack = waiting.pop(), free.pop(), ExitStack()
                going.append((task, copy, stack.enter_context(start(copy, task)), stack))
            time.sleep(0.02)
            for entry in list(going):
                task, copy, process, stack = entry
                if ended := process.ended():
                    going.remove(entry)
                    stack.close()
                    free.append(copy)
                    yield task, ended
    finally:
        for _, _, process, stack in going:
            process.stop()
            stack.close()


def judge(tests: list[str]) -> tuple[int, dict[str, Any]]:
    """Runs the given tests in their order until one fails; shows which.

    The files that come first run alone: when they kill a mutant, the others need not be loaded.
    """
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    files = list(dict.fromkeys(test.split("::")[0] for test in tests))
    for some in filter(None, (files[:FIRST_FILES], files[FIRST_FILES:])):
        plugin = _Selected(tests)
        if status := _pytest(some, plugin, "-x"):
            return status, {"killer": plugin.failed}
    return PASSED, {"killer": ""}


def measure(copy: Path, test_file: str, measured: list[str]) -> tuple[int, dict[str, Any]]:
    """Runs a test file under coverage; shows each passed test's seconds and the lines that it executes."""
    measuring = coverage.Coverage(data_file=None, include=[f"{copy}/{folder}/*" for folder in measured])
    plugin = _Measured(measuring)
    measuring.start()
    status = _pytest([test_file], plugin)
    measuring.stop()
    data = measuring.get_data()
    # A template that Jinja compiled is measured under its own name.
    sources = [file for file in data.measured_files() if file.endswith(".py")]
    executed = {Path(file).relative_to(copy).as_posix(): data.contexts_by_lineno(file) for file in sources}
    tests = {
        module: {line: tests for line, contexts in lines.items() if (tests := [name for name in contexts if name])}
        for module, lines in executed.items()
    }
    imported = {module: [line for line, names in lines.items() if "" in names] for module, lines in executed.items()}
    return status, {"seconds": plugin.seconds, "failed": plugin.failed, "lines": tests, "imported": imported}


class _Selected:
    """Takes the wanted tests in the wanted order, and notes the first that fails."""

    def __init__(self, tests: list[str]) -> None:
        self.order = {test: number for number, test in enumerate(tests)}
        self.failed = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.order), key=lambda item: self.order[item.nodeid]
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


class _Measured:
    def __init__(self, measuring: coverage.Coverage) -> None:
        self.measuring = measuring
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """A module with doctests may hold functions that are named like tests."""
        items[:] = [item for item in items if item.path.name.startswith("test_") or isinstance(item, DoctestItem)]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, bool, bool]:
        self.measuring.switch_context(item.nodeid)
        begin = time.perf_counter()
        done = yield
        if item.nodeid not in self.failed:
            self.seconds[item.nodeid] = time.perf_counter() - begin
        self.measuring.switch_context("")
        return done

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def _pytest(files: list[str], plugin: object, *options: str) -> int:
    arguments = [
        "-q",
        "--assert=plain",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-m",
        MARKERS,
        "--hypothesis-seed=0",
        "--tb=line",
    ]
    return int(pytest.main([*arguments, *options, *files], plugins=[plugin]))


def _child(copy: Path, work: Callable[[], tuple[int, dict[str, Any]]], answer: Path) -> None:
    """Never returns: the process ends with pytest's status."""
    status = BROKEN
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        log = os.open(answer.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(copy)
        os.environ |= {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        for name in [name for name in sys.modules if name.split(".")[0] == "tools"]:
            del sys.modules[name]
        sys.path[:] = [str(copy), *(path for path in sys.path if path and Path(path) != Path(__file__).parents[2])]
        sys.argv = ["pytest"]
        status, shown = work()
        answer.write_text(json.dumps(shown), "utf-8")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _copy(root: Path, copy: Path) -> None:
    """Makes the copy equal to the checkout; what is equal stays, with the bytecode that earlier runs left."""
    wanted = {path.relative_to(root) for path in root.iterdir() if path.is_file()}
    for folder in COPIED:
        wanted |= {path.relative_to(root) for path in (root / folder).rglob("*") if path.is_file()}
    wanted = {path for path in wanted if "__pycache__" not in path.parts}
    for path in [path for path in copy.rglob("*") if path.is_file() and "__pycache__" not in path.parts]:
        if path.relative_to(copy) not in wanted:
            path.unlink()
    for path in sorted(wanted):
        if not (copy / path).exists() or not filecmp.cmp(root / path, copy / path):
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / path, copy / path)
