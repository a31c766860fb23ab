"""Settings: origins, errors that name the key, secrets that never show."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import EXIT_CONFIG, Fatal
from pipeline.settings import resolve

CANARY = "canary-7c1f"


def test_flags_beat_the_environment_and_that_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ow.toml"
    file.write_text('[kafka]\ngroup = "f"\npartitions = 2\n[store]\ntimeout_s = 5\n[subjects]\n"No. 1" = ["a.b"]\n')
    environ = {"OPINIONWATCH_KAFKA__GROUP": "e", "OPINIONWATCH_KAFKA__TOPICS": '["x"]', "PATH": "/"}
    found = resolve(file, {"kafka.partitions": 9, "store.url": None}, environ)
    assert (found.settings.kafka.group, found.settings.kafka.partitions, found.settings.store.timeout_s) == ("e", 9, 5)
    assert found.settings.kafka.topics == ["x"]
    assert found.settings.subjects == {"No. 1": ["a.b"]}
    origins = {key: origin for key, _, origin in found.rows()}
    assert origins["kafka.group"] == "environment OPINIONWATCH_KAFKA__GROUP"
    assert origins["kafka.partitions"] == "flag for kafka.partitions"
    assert origins["store.timeout_s"] == f"file {file}"
    assert origins["store.url"] == "default"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("OPINIONWATCH_KAFKA__BOOTSTRAP", "x:1", ["kafka.bootstrap", "environment OPINIONWATCH_KAFKA__BOOTSTRAP"]),
        ("OPINIONWATCH_FLOW__BATCH_RECORDS", "many", ["flow.batch_records", "integer"]),
        ("OPINIONWATCH_STORE__URL", "postgres://x", ["store.url"]),
        ("OPINIONWATCH_KAFKA__TOPICS", "[broken", ["OPINIONWATCH_KAFKA__TOPICS", "JSON"]),
        ("OPINIONWATCH_STORE__PASSWORD_FILE", "/no/such", ["OPINIONWATCH_STORE__PASSWORD_FILE", "No such file"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_origin(name: str, value: str, words: list[str]) -> None:
    with pytest.raises(Fatal) as caught:
        resolve(environ={name: value})
    assert caught.value.exit_code == EXIT_CONFIG
    for word in words:
        assert word in str(caught.value)


def test_a_secret_comes_from_a_file_and_never_shows(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(CANARY + "\n")
    found = resolve(environ={"OPINIONWATCH_STORE__PASSWORD_FILE": str(tmp_path / "password")})
    assert found.settings.store.password.get_secret_value() == CANARY
    assert CANARY not in repr(list(found.rows())) + repr(found.settings)
    with pytest.raises(Fatal) as caught:
        resolve(environ={"OPINIONWATCH_STORE__PASSWORD": CANARY, "OPINIONWATCH_STORE__TIMEOUT_S": "-1"})
    assert CANARY not in str(caught.value)
