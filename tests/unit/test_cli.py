"""The command line: exit codes, one line with the remedy, no traceback, no torch."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from pipeline.cli.alerts.snooze import duration
from pipeline.cli.guard import guarded
from pipeline.cli.main import app
from pipeline.cli.terminal import Terminal, json_text
from pipeline.domain.errors import Fatal
from tests.services.process import free_port

POSTS = ["新手机充电时爆炸，太失望了。", "Lovely hotel, friendly staff!", "", "Parliament votes on Thursday."]


def cli(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from pipeline.cli.main import main; main()", *arguments],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environ},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), ["memory is exhausted", "flow.batch_records"]),
        (OSError(errno.EMFILE, "Too many open files"), ["Too many open files", "ulimit -n"]),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), ["No space left", "/data/x", "free space"]),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), ["Permission denied", "/data/x", "right"]),
    ],
)
def test_what_the_machine_lacks_is_no_bug(
    error: Exception, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise error

    assert guarded(fails) == 69
    said = capsys.readouterr().err
    assert "a bug" not in said
    for word in words:
        assert word in said


def test_it_says_its_version() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert cli("--version").stdout.split() == ["opinionwatch", project["version"]]


def test_serving_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, pipeline.cli.main, pipeline.service.workers, pipeline.kafka.embedded, pipeline.console.server\n"
        "from models import load_bundle\nfrom pipeline.settings import STARTER\n"
        "load_bundle(STARTER).predict(['x'])\n"
        "print([m for m in ('torch', 'transformers', 'training') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "words"),
    [
        (["status", "--json"], {"OPINIONWATCH_STORE__URL": "http://127.0.0.1:9"}, 69, ["127.0.0.1:9"]),
        (["run", "classify"], {}, 2, ["embedded", "opinionwatch demo"]),
        (["config", "show"], {"OPINIONWATCH_FLOW__IN_FLIGHT": "0"}, 78, ["flow.in_flight", "environment"]),
        (["config", "show", "--config", "none.toml"], {}, 78, ["none.toml"]),
        (["classify", "none.jsonl"], {}, 2, ["none.jsonl"]),
        (["classify", "none.jsonl", "--model", "/nowhere"], {}, 78, ["/nowhere", "manifest.json"]),
        (["alerts", "show", "x"], {}, 78, ["opinionwatch setup"]),
        (["no-such-command"], {}, 2, ["no-such-command"]),
    ],
)
def test_an_error_is_one_line_with_its_code(
    arguments: list[str], environ: dict[str, str], code: int, words: list[str]
) -> None:
    done = cli(*arguments, **environ)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert done.stdout == ""


def test_a_broker_that_is_not_there_is_one_line_and_69(tmp_path: Path) -> None:
    environ = {
        "OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "OPINIONWATCH_STORE__URL": f"sqlite:///{tmp_path}/s.sqlite",
    }
    (tmp_path / "p.jsonl").write_text("{}\n")
    for arguments in (["setup"], ["run", "classify"], ["ingest", "p.jsonl", "--topic", "opinion.forum"]):
        done = cli(*arguments, **environ)
        assert done.returncode == 69, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        assert "kafka.bootstrap_servers" in done.stderr


def test_classify_keeps_rows_and_order_in_jsonl_and_csv(tmp_path: Path) -> None:
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps({"n": i, "text": t}) + "\n" for i, t in enumerate(POSTS)))
    with (tmp_path / "posts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["n", "text"], *([i, t] for i, t in enumerate(POSTS))])
    done = cli("classify", "posts.jsonl", "--out", "out.jsonl")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(r["n"], r["text"]) for r in rows] == list(enumerate(POSTS))
    assert [r["sentiment"] for r in rows[:2]] == ["negative", "positive"]
    assert rows[0]["negative_score"] > 0.5 > rows[1]["negative_score"]
    assert cli("classify", "posts.csv", "--out", "out.csv").returncode == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(r["text"], r["topic"], float(r["topic_score"])) for r in table] == [
        (r["text"], r["topic"], r["topic_score"]) for r in rows
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"text": "a"}\n{"no": 1}\n', ":2: "),
        (b'{"text": "a"}\n[\n', ":2: "),
        ('{"text": "很好，很满意"}\n'.encode() * 9 + b'{"text": "\xff"}\n', ":10: "),
        (b"", "holds none"),
        (b'{"no": 1}', "--text-field"),
        (b"PK\x03\x04", "Excel"),
    ],
)
def test_classify_names_the_line_at_fault(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "posts.jsonl").write_bytes(content)
    done = cli("classify", "posts.jsonl")
    assert done.returncode == 2
    assert words in done.stderr


def test_classify_reads_what_spreadsheets_and_tools_write(tmp_path: Path) -> None:
    rows = [["编号", "内容", "备注"], ["1", POSTS[0], "x"], ["2", "", "y"], ["3", POSTS[1], ""]]
    (tmp_path / "a.csv").write_bytes("".join(";".join(row) + "\r\n" for row in rows).encode("utf-16"))
    assert cli("classify", "a.csv", "--out", "out.csv").returncode == 0
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.reader(file))
    assert [row[:3] for row in table] == rows
    assert table[0][3:5] == ["topic", "topic_score"]
    assert all(row[3] for row in table[1:])
    (tmp_path / "b.json").write_text(json.dumps([{"n": 1, "body": POSTS[0]}, {"n": 2, "body": None}], indent=1))
    assert cli("classify", "b.json", "--out", "out.jsonl").returncode == 0
    made = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [r["n"] for r in made] == [1, 2]
    assert all(r["sentiment"] for r in made)


def test_an_unclosed_quote_costs_its_line_and_is_exit_2(tmp_path: Path) -> None:
    lines = ["n,text", f"1,{POSTS[0]}", f'2,"{POSTS[1]}', f"3,{POSTS[1]}", '4,"a ""quoted"" word"', "5,too,many"]
    (tmp_path / "a.csv").write_text("\n".join(lines), "utf-8")
    done = cli("classify", "a.csv", "--out", "out.csv")
    assert done.returncode == 2
    assert "a.csv:3: this line opens a quote" in done.stderr
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.reader(file))
    assert [row[0] for row in table] == ["n", "1", "3", "4", "5"]
    assert table[-1][-1] == "many", "the surplus is kept, after the labels"


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}')
    done = CliRunner().invoke(app, ["classify", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "no" / "b.jsonl")])
    assert isinstance(done.exception, Fatal)
    assert done.exception.exit_code == 2
    assert "--out" in str(done.exception)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["0001-01-01T00:00:00+14:00,k,1,0", "0001-01-01T01:00:00+14:00,k,1,0"], ["row 2", "timestamp"]),
        (["9999-12-31T23:00:00-14:00,k,1,0"], ["row 2", "timestamp"]),
        (["2262-04-12T00:00:00Z,k,1,0"], ["row 2", "timestamp"]),
        (["1990-01-01T00:00:00Z,k,1,0", "1990-01-01T00:05:00Z,k,1,0", "2099-01-01T00:00:00Z,k,1,0"] +
         [f"2099-01-01T00:00:00Z,k{n},1,0" for n in range(9)], ["row", "too far"]),
        (["2026-10-20T00:00:00Z,k,100000000000000000000,18"], ["row 2", "posts"]),
        (["2026-10-20T00:00:00Z,k,5,1e300"], ["row 2", "negative"]),
        (["2026-10-20T00:00:00Z,k,NaN,1"], ["row 2", "posts"]),
        (["2026-10-20T00:00:00Z,k,5"], ["row 2", "negative"]),
        (["2026-10-20T00:00:00Z,k,5,1,9"], ["row 2", "more values"]),
        (['2026-10-20T00:00:00Z,"k,5,1'], ["row 2", "quote"]),
    ],
)  # fmt: skip
def test_a_history_that_cannot_be_is_named_by_row(tmp_path: Path, rows: list[str], words: list[str]) -> None:
    (tmp_path / "h.csv").write_text("\n".join(["timestamp,key,posts,negative", *rows]))
    done = CliRunner().invoke(app, ["backtest", str(tmp_path / "h.csv")])
    assert isinstance(done.exception, Fatal), done.exception
    assert done.exception.exit_code == 2
    for word in ["h.csv", *words]:
        assert word in str(done.exception)


@pytest.mark.parametrize(
    "names",
    ["demo", "setup", "check", "run", "ingest", "status", "classify", "train", "evaluate", "dead list", "dead show"]
    + ["dead replay", "alerts list", "alerts show", "config show", "bench flow"],
)
def test_every_command_has_help_with_an_example(names: str) -> None:
    shown = CliRunner().invoke(app, [*names.split(), "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "Example: " in shown.stdout


def test_nothing_that_is_printed_steers_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    shown = io.StringIO()
    terminal = Terminal(file=shown, force_terminal=True, width=80)
    hostile = "a\x1b]0;owned\x07\x1b[2J\x9b2J\u202eb\r"
    terminal.print(hostile, markup=False)
    terminal.print(Text(hostile, style="bold"))
    table = Table(hostile)
    table.add_row(hostile)
    terminal.print(table)
    for word in ("\x1b]", "\x1b[2J", "\x9b", "\u202e", "\r", "\x07"):
        assert word not in shown.getvalue()
    assert "\x1b[1m" in shown.getvalue(), "its own styles stay"
    assert json.loads(json_text(hostile)) == hostile
    assert json_text([hostile, "诺瓦"]).isprintable()


def test_a_terminal_that_cannot_show_a_character_ends_no_command(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,诺瓦手机起火 😀\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli.main import main; main()", "classify", str(tmp_path / "a.csv")],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"\\u8bfa\\u74e6" in done.stdout


@pytest.mark.parametrize(
    "command", [("backtest", "--index"), ("labels", "queue"), ("models", "relabel"), ("models", "drift")]
)
def test_more_days_than_there_are_dates_are_a_usage_error(command: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, [*command, "--days", "999999999"]).exit_code == 2


def test_half_a_character_or_a_number_is_classified_as_any_text(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "Lovely\\ud83d hotel"}\n{"text": 5}\n')
    done = CliRunner().invoke(app, ["classify", str(file)])
    assert done.exit_code == 0, done.output
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["text"] == "Lovely\ud83d hotel"
    assert second["sentiment"]


@pytest.mark.parametrize("time", ["", "4", "-5m", "nan", "4x", "²d", "999999999999d"])
def test_what_is_no_duration_is_a_usage_error(time: str) -> None:
    with pytest.raises(Fatal, match="is not a duration") as caught:
        duration(time)
    assert caught.value.exit_code == 2
