"""A service as a child process: free ports, waiting until it answers, killing and stopping it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from .artifacts import ServiceError


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class ServiceProcess:
    """Starts a command in its own process group, its output in a file."""

    def __init__(self, name: str, command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.name, self._command, self._log, self._env = name, command, log, env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, answers: Callable[[], bool], timeout_s: float = 90.0) -> None:
        """Raises `ServiceError` with the end of the log where it does not answer in time."""
        self.launch()
        self.wait(answers, timeout_s)

    def launch(self) -> None:
        """Starts it and does not wait."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._env, start_new_session=True
            )

    def wait(self, answers: Callable[[], bool], timeout_s: float) -> None:
        """The second half of `start`."""
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if answers():
                return
            time.sleep(0.2)
        self.kill()
        raise ServiceError(f"{self.name} did not start:\n{self._log.read_text(errors='replace')[-3000:]}")

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the whole group; waits until it is gone."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait(30)

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM, then SIGKILL; the exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        return int(self._process.returncode)

    def exit_code(self, timeout_s: float) -> int:
        """Waits for the process to end by itself."""
        assert self._process is not None
        return int(self._process.wait(timeout_s))
