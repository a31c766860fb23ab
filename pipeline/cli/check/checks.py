"""The checks of `opinionwatch check`: settings, model, store, Kafka and channels, all at the same time."""

from __future__ import annotations

import importlib.metadata
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.json_types import JsonObject
from pipeline.alerting.notify.factory import check_channels, check_names
from pipeline.classify.model_provider import open_classifier, unfit
from pipeline.classify.subjects import matcher
from pipeline.cli.guard import shortage
from pipeline.cli.options import settings_of
from pipeline.cli.terminal import err
from pipeline.console.server import refuse_open_host
from pipeline.domain.errors import EXIT_BUG, EXIT_CONFIG, EXIT_UNAVAILABLE, Fatal, Transient
from pipeline.kafka import admin, topic_check
from pipeline.kafka.decompression import CODECS, missing_codecs
from pipeline.settings import DEFAULT_FILE, Settings
from pipeline.store.factory import open_store

#: Seconds that one check may take; a slow disk takes longer to load a model.
_PATIENCE_S, _MODEL_S = 10.0, 120.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: a `detail`, or else a `problem` with its `remedy` and exit code."""

    name: str
    detail: str = ""
    problem: str = ""
    remedy: str = ""
    code: int = 0

    @property
    def line(self) -> str:
        """The result for people."""
        if not self.problem:
            return f"ok   {self.name}: {self.detail}"
        return f"FAIL {self.name}: {self.problem}" + (f"; {self.remedy}" if self.remedy else "")

    def to_json(self) -> JsonObject:
        return {
            "name": self.name,
            "ok": not self.problem,
            "detail": self.detail,
            "problem": self.problem,
            "remedy": self.remedy,
        }


@dataclass(slots=True)
class _Running:
    """A check in its own thread; its result is awaited for `patience_s` seconds at most."""

    name: str
    run: Callable[[], Sequence[Finding]]
    patience_s: float = _PATIENCE_S
    found: list[Finding] = field(default_factory=list)
    thread: threading.Thread = field(init=False)

    def start(self) -> None:
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            self.found.extend(self.run())
        except Exception as error:
            self.found.append(_failed(self.name, error))

    def result(self) -> list[Finding]:
        self.thread.join(self.patience_s)
        if self.thread.is_alive():
            problem = f"the check did not finish within {self.patience_s:.0f} s"
            remedy = "check the load and the network of the host that it contacts"
            return [Finding(self.name, problem=problem, remedy=remedy, code=EXIT_UNAVAILABLE)]
        return self.found


def findings_of(config: Path | None) -> Iterator[Finding]:
    """Runs all checks at once; settings that cannot be read leave no other check to run."""
    try:
        settings = settings_of(config)
    except Fatal as error:
        yield _failed("settings", error)
        return
    yield Finding("settings", _source(config))
    running = [
        _Running("runtime", lambda: [_tried("runtime", _one_runtime)]),
        _Running("compression", lambda: [_tried("compression", _codecs)]),
        _Running("model", lambda: [_tried("model", lambda: _model(settings))], _MODEL_S),
        _Running("subjects", lambda: [_tried("subjects", lambda: _subjects(settings))]),
        _Running("console", lambda: [_tried("console", lambda: _console(settings))]),
        _Running("store", lambda: [_tried("store", lambda: _store(settings))]),
        _Running("kafka", lambda: _kafka(settings), 2 * _PATIENCE_S),
    ]
    if (channels := len(settings.alerts.channels)) > 0:
        running.append(_Running("channels", lambda: _channels(settings), channels * _PATIENCE_S))
    for each in running:
        each.start()
    for each in running:
        if err.is_terminal and each.thread.is_alive():
            err.print(f"checking {each.name} ...", markup=False)
        yield from each.result()


def _tried(name: str, run: Callable[[], str]) -> Finding:
    try:
        return Finding(name, run())
    except Exception as error:
        return _failed(name, error)


def _failed(name: str, error: Exception) -> Finding:
    if isinstance(error, Fatal):
        return Finding(name, problem=error.problem, remedy=error.remedy, code=error.exit_code)
    if isinstance(error, Transient):
        remedy = error.remedy or "start that service or correct its address in the settings"
        return Finding(name, problem=error.problem, remedy=remedy, code=EXIT_UNAVAILABLE)
    if lack := shortage(error):
        return _failed(name, lack)
    place = traceback.extract_tb(error.__traceback__)[-1]
    problem = f"a bug: {type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
    return Finding(name, problem=problem, remedy="report it", code=EXIT_BUG)


def _source(config: Path | None) -> str:
    if config or DEFAULT_FILE.exists():
        return f"read from {config or DEFAULT_FILE} and the environment"
    return (
        f"read from the defaults and the environment, because this folder has no {DEFAULT_FILE}; write one or give "
        "--config FILE ('opinionwatch config show' lists every setting)"
    )


def _one_runtime() -> str:
    names = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
    found = [n for n in names if any(importlib.metadata.distributions(name=n))]
    if len(found) > 1:
        raise Fatal(f"{' and '.join(found)} are installed and overwrite each other", "uninstall all but one with pip")
    if not found:
        raise Fatal("no ONNX Runtime is installed", "pip install 'opinionwatch[cpu]'")
    return found[0]


def _codecs() -> str:
    if missing := missing_codecs():
        raise Fatal(
            f"posts compressed with {', '.join(missing)} cannot be read",
            f"pip install {' '.join(missing.values())}",
        )
    return ", ".join(name for name, _ in CODECS.values())


def _model(settings: Settings) -> str:
    model = open_classifier(settings.model)
    if problem := unfit(model, settings.alerts.counting):
        raise Fatal(problem, f"the heads are {', '.join(model.heads)}: set alerts.head and alerts.negative to match")
    return f"{model.name} {model.version} from {settings.model.registry or settings.model.bundle}"


def _subjects(settings: Settings) -> str:
    if not settings.subjects:
        return "none, so only topics can alert (name the subjects to watch in [subjects])"
    if empty := sorted(name for name, keywords in settings.subjects.items() if not keywords):
        raise Fatal(f"subject {empty[0]!r} has no keyword", f"give it one in [subjects]: {empty[0]} = ['...']")
    try:
        matcher(settings)
    except ValueError as error:
        raise Fatal(str(error), "write keywords with letters or digits in [subjects]") from None
    return f"{len(settings.subjects)} subjects"


def _console(settings: Settings) -> str:
    """Reports, without failing, that the console would refuse to start: a worker may open its metrics without one."""
    try:
        refuse_open_host(settings.http)
    except Fatal as error:
        return f"'opinionwatch run console' would refuse to start: {error}"
    return f"http://{settings.http.host}:{settings.http.console_port}/"


def _channels(settings: Settings) -> list[Finding]:
    findings = []
    for name, problem in check_channels(settings.alerts):
        words, _, remedy = (problem or "").rpartition("; ")
        code = EXIT_CONFIG if problem else 0
        findings.append(Finding(f"channel {name}", "" if problem else "reached", words or remedy, remedy, code))
    # Two channels may each be right and share a name.
    together = _tried("channels", lambda: ", ".join(check_names(settings.alerts)))
    return [*findings, together] if together.problem else findings


def _store(settings: Settings) -> str:
    asked = settings.store.model_copy(update={"timeout_s": min(settings.store.timeout_s, _PATIENCE_S / 2)})
    store = open_store(asked)
    try:
        return store.check()
    finally:
        store.close()


def _kafka(settings: Settings) -> list[Finding]:
    """The limits of the topics are checked only where the topics exist."""
    if settings.embedded:
        return [Finding("kafka", "embedded: the demo's own broker (set kafka.bootstrap_servers to use a real one)")]
    kafka = settings.kafka
    findings = [_tried("kafka", lambda: topic_check.check_topics(kafka))]
    if not findings[0].problem:
        findings.append(_tried("kafka limits", lambda: admin.check_limits(kafka)))
    return findings
