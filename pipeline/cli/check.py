"""`opinionwatch check`."""

from __future__ import annotations

import importlib.metadata
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from pipeline.alerting.notify.factory import check_channels, check_names
from pipeline.classify.model_provider import open_classifier, unfit
from pipeline.classify.subjects import matcher
from pipeline.cli.common import AsJson, Config, err, out, print_json, settings_of, shortage
from pipeline.console.server import refuse_open_host
from pipeline.domain.errors import EXIT_BUG, EXIT_CONFIG, EXIT_UNAVAILABLE, Fatal, Transient
from pipeline.kafka import admin, topic_check
from pipeline.kafka.decompression import CODECS, missing_codecs
from pipeline.settings import DEFAULT_FILE, Settings
from pipeline.store.factory import open_store

#: Seconds that one check may take; loading a model on a slow disk may take longer.
_PATIENCE_S, _MODEL_S = 10.0, 120.0
#: The gravest first: a wrong setting is corrected before a service is started.
_GRAVITY = (EXIT_BUG, EXIT_CONFIG, EXIT_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: a `detail` where all is well, or else a `problem` with its `remedy` and exit code."""

    name: str
    detail: str = ""
    problem: str = ""
    remedy: str = ""
    code: int = 0

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints for each check."""
        return {
            "name": self.name,
            "ok": not self.problem,
            "detail": self.detail,
            "problem": self.problem,
            "remedy": self.remedy,
        }


@dataclass(slots=True)
class _Running:
    """A check in a thread of its own, that nobody waits for longer than `patience_s`."""

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
            problem = f"it did not end within {self.patience_s:.0f} s"
            remedy = "look at the load and the network of the host that it asks"
            return [Finding(self.name, problem=problem, remedy=remedy, code=EXIT_UNAVAILABLE)]
        return self.found


def check(as_json: AsJson = False, config: Config = None) -> None:
    """Connects to everything and names every failure with its cause and remedy, in the order in which they work.

    Example: opinionwatch check --json
    """
    # 'opinionwatch setup' works only once both services can be used.
    findings = sorted(_findings(config), key=lambda finding: "opinionwatch setup" in finding.remedy)
    if as_json:
        print_json([finding.to_json() for finding in findings])
    else:
        for finding in findings:
            words = f"{finding.problem}; {finding.remedy}" if finding.remedy else finding.problem
            out.print(f"{'FAIL' if words else 'ok  '} {finding.name}: {words or finding.detail}", markup=False)
    codes = {finding.code for finding in findings}
    raise typer.Exit(next((code for code in _GRAVITY if code in codes), max(codes)))


def _findings(config: Path | None) -> Iterator[Finding]:
    """They run at once; what stands on another one is left out where that failed."""
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
        f"defaults and the environment: there is no {DEFAULT_FILE} in this folder; write one or give --config FILE "
        "('opinionwatch config show' lists every setting)"
    )


def _one_runtime() -> str:
    names = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
    found = [n for n in names if any(importlib.metadata.distributions(name=n))]
    if len(found) > 1:
        raise Fatal(f"{' and '.join(found)} are installed and overwrite each other", "pip uninstall all but one")
    if not found:
        raise Fatal("no ONNX Runtime is installed", "pip install 'opinionwatch[cpu]'")
    return found[0]


def _codecs() -> str:
    if missing := missing_codecs():
        raise Fatal(
            f"posts that are compressed with {', '.join(missing)} cannot be read",
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
        return "none: alerts are by topic only ([subjects] in the settings names what to watch)"
    if empty := sorted(name for name, keywords in settings.subjects.items() if not keywords):
        raise Fatal(f"subject {empty[0]!r} has no keyword", f"give it one in [subjects]: {empty[0]} = ['...']")
    try:
        matcher(settings)
    except ValueError as error:
        raise Fatal(str(error), "write letters or digits that a post can hold, in [subjects]") from None
    return f"{len(settings.subjects)} subjects"


def _console(settings: Settings) -> str:
    """A worker without a console may open its metrics to others: no failure, but a console would be one."""
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
    together = _tried(
        "channels", lambda: ", ".join(check_names(settings.alerts))
    )  # each may be right and two have one name
    return [*findings, together] if together.problem else findings


def _store(settings: Settings) -> str:
    asked = settings.store.model_copy(update={"timeout_s": min(settings.store.timeout_s, _PATIENCE_S / 2)})
    store = open_store(asked)
    try:
        return store.check()
    finally:
        store.close()


def _kafka(settings: Settings) -> list[Finding]:
    """The topics' limits are asked for only where the topics are there."""
    if settings.embedded:
        return [Finding("kafka", "embedded: the demo's own broker (kafka.bootstrap_servers names a real one)")]
    kafka = settings.kafka
    findings = [_tried("kafka", lambda: topic_check.check_topics(kafka))]
    if not findings[0].problem:
        findings.append(_tried("kafka limits", lambda: admin.check_limits(kafka)))
    return findings
