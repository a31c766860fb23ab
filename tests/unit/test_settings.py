"""Settings: origins, errors that name the key, secrets that never show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.domain.errors import EXIT_CONFIG, Fatal
from pipeline.settings import KafkaSettings, ModelSettings, StoreSettings, resolve

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
        ("OPINIONWATCH_KAFKA_GROUP", "x", ["kafka_group", "OPINIONWATCH_KAFKA__GROUP"]),
        ("OPINIONWATCH_FLOW__BATCH_RECORDS", "many", ["flow.batch_records", "integer"]),
        ("OPINIONWATCH_STORE__URL", "postgres://x", ["store.url"]),
        ("OPINIONWATCH_KAFKA__TOPICS", "[broken", ["OPINIONWATCH_KAFKA__TOPICS", "JSON"]),
        ("OPINIONWATCH_STORE__PASSWORD_FILE", "/no/such", ["OPINIONWATCH_STORE__PASSWORD_FILE", "No such file"]),
        ("OPINIONWATCH_STORE__PASSWORD_FILE", "", ["OPINIONWATCH_STORE__PASSWORD_FILE is empty"]),
        ("OPINIONWATCH_STORE__PASSWORD_FILE", "/dev/null", ["its file is empty"]),
        ("OPINIONWATCH_KAFKA__USERNAME", "a\udcff", ["OPINIONWATCH_KAFKA__USERNAME", "UTF-8"]),
        ("OPINIONWATCH_FLOW__BATCH_RECORDS", "", ["flow.batch_records", "integer"]),
        ("OPINIONWATCH_KAFKA__TOPICS", '["a b"]', ["kafka.topics", "'a b' cannot name a topic"]),
        ("OPINIONWATCH_KAFKA__DEAD_TOPIC", "微博", ["kafka.dead_topic", "cannot name a topic"]),
        ("OPINIONWATCH_KAFKA__ALERTS_TOPIC", "..", ["kafka.alerts_topic", "cannot name a topic"]),
        ("OPINIONWATCH_KAFKA__GROUP", "", ["kafka.group"]),
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


@pytest.mark.parametrize("key", ["store.timeout_s", "model.poll_s", "training.relabel_days", "alerts.renotify_s",
                                 "alerts.idle_s", "alerts.calibrate_every_days", "alerts.no_data_after_s"])  # fmt: skip
@pytest.mark.parametrize("value", ["inf", "nan", "1e400", "9999999999999"])
def test_no_number_is_longer_than_a_clock_can_wait(key: str, value: str) -> None:
    with pytest.raises(Fatal, match=key):
        resolve(environ={f"OPINIONWATCH_{key.replace('.', '__').upper()}": value})


@pytest.mark.parametrize("value", ["", "{S3cret", "[1]", "[S3cret]"])
def test_a_setting_that_is_text_may_be_empty_or_begin_like_json(value: str) -> None:
    found = resolve(environ={"OPINIONWATCH_STORE__PASSWORD": value, "OPINIONWATCH_KAFKA__USERNAME": value}).settings
    assert (found.store.password.get_secret_value(), found.kafka.username) == (value, value)
    brokers = {"OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS": "[::1]:9092"}
    assert resolve(environ=brokers).settings.kafka.bootstrap_servers == "[::1]:9092"


def test_a_file_with_a_secret_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"\xef\xbb\xbf" + CANARY.encode() + b"\r\n")
    found = resolve(environ={"OPINIONWATCH_STORE__PASSWORD_FILE": str(tmp_path / "password")})
    assert found.settings.store.password.get_secret_value() == CANARY


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[kafka]\nbootstrap_server = 'x:1'", ["kafka.bootstrap_server", "did you mean kafka.bootstrap_servers?"]),
        ("[store]\nlead = 1", ["store.lead", "does not exist", "known here: url, password"]),
        ("[kafka]\nbundle = 'x'", ["kafka.bundle", "did you mean model.bundle?"]),
        ("[[alerts.channels]]\nname = 'ops'\nkind = 'slack'\nurll = 'x'", ["channels.0.url", "did you mean"]),
        ("[store]\nperiod = 'week'", ["store.period", "must be 'hour', 'day' or 'month'"]),
        ("[store]\nurl = 'postgres://x'", ["store.url", "sqlite:///path"]),
        ("kafka = 3", ["setting kafka", "must be a table"]),
        ("[subjects]\nNova = 'nova'", ["subjects.Nova", 'must be a list, e.g. ["a", "b"]']),
        ("[kafka]\ntopics = ['a', 'opinion.dead']", ["'opinion.dead' is given twice"]),
        ("[kafka]\ngroup = = 'a'", ["line 2", "TOML"]),
        ("a = " + "[" * 5000, ["nested too deeply"]),
        (".".join("a" * 1500) + " = 1", ["does not exist"]),
        ('[kafka]\n"a\\u001b[31m" = 1', ["does not exist"]),
        ("[kafka]\npartitions = 0\n[flow]\nin_flight = 0", ["kafka.partitions", "flow.in_flight"]),
    ],
)
def test_a_fault_in_the_file_names_the_key_and_what_is_allowed(tmp_path: Path, toml: str, words: list[str]) -> None:
    file = tmp_path / "ow.toml"
    file.write_text(toml)
    with pytest.raises(Fatal) as caught:
        resolve(file, environ={})
    for word in [*words, str(file)]:
        assert word in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("toml", "word"),
    [
        ("[alerts]\nfire = inf", "finite number"), ("[alerts]\nfire = nan", "finite number"),
        ('[kafka]\ntopics = ["a b"]', "cannot name a topic"), ('[kafka]\ndead_topic = ".."', "cannot name a topic"),
        ('[kafka]\nbootstrap_servers = "kafka:port"', "host:port"), ('[kafka]\nbootstrap_servers = ""', "host:port"),
        ('[kafka]\nbootstrap_servers = "kafka:70000"', "host:port"),
        ('[kafka]\nbootstrap_servers = "a:1,,b:2"', "host:port"),
        ('[subjects.Nova]\nany = ["nova"]\nnot = ["NOVA"]', "can never be found"),
    ],
)  # fmt: skip
def test_what_could_never_work_is_refused(tmp_path: Path, toml: str, word: str) -> None:
    file = tmp_path / "ow.toml"
    file.write_text(toml)
    with pytest.raises(Fatal, match=word):
        resolve(file, environ={})


@pytest.mark.parametrize("servers", ["embedded", "kafka", "kafka:9092", "a:1, b:2", "10.0.0.1:65535"])
def test_brokers_as_they_are_written(servers: str) -> None:
    assert (
        resolve(environ={"OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS": servers}).settings.kafka.bootstrap_servers == servers
    )


def test_a_mark_in_front_and_line_ends_of_windows_change_nothing(tmp_path: Path) -> None:
    file, secret = tmp_path / "ow.toml", tmp_path / "secret"
    file.write_bytes(b'\xef\xbb\xbf[kafka]\r\ngroup = "a"\r\n')
    secret.write_bytes(b"\xef\xbb\xbfpass\r\n")
    settings = resolve(file, environ={"OPINIONWATCH_KAFKA__PASSWORD_FILE": str(secret)}).settings
    assert (settings.kafka.group, settings.kafka.password.get_secret_value()) == ("a", "pass")


def test_a_file_that_is_no_text_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "ow.toml"
    file.write_bytes(b"[kafka]\ngroup = '\xff'\n")
    with pytest.raises(Fatal, match="line 2: not UTF-8"):
        resolve(file, environ={})
    with pytest.raises(Fatal, match="STORE__PASSWORD_FILE.*not text"):
        resolve(environ={"OPINIONWATCH_STORE__PASSWORD_FILE": str(file)})


PASSWORDS = [
    ("STORE__URL", f"https://elastic:{CANARY}@es:9200", "store.password"),
    ("STORE__URL", f"https://elastic:12/{CANARY}@es:9200", "store.password"),
    ("STORE__URL", f"https://elastic:a/{CANARY}@es:9200", "store.password"),
    ("STORE__URL", f"https://elastic:a#{CANARY}@es:9200", "store.password"),
    ("STORE__URL", f"https://elastic:a?{CANARY}@es:9200", "store.password"),
    ("STORE__URL", f"https://elastic%3A{CANARY}@es:9200", "store.password"),
    ("STORE__URL", f"https://es:9200/?api_key={CANARY}", "store.url"),
    ("STORE__URL", f"https://es:9200#{CANARY}", "store.url"),
    ("MODEL__REGISTRY", f"s3://key:{CANARY}@bucket/models", "storage's own client"),
    ("MODEL__REGISTRY", f"simplecache::s3://key:{CANARY}@bucket/models", "storage's own client"),
    ("MODEL__REGISTRY", f"s3://key:a/{CANARY}@bucket/models", "storage's own client"),
    ("MODEL__REGISTRY", f"abfs://models@account/x?sig={CANARY}", "storage's own client"),
    ("KAFKA__BOOTSTRAP_SERVERS", f"user:{CANARY}@kafka:9092", "kafka.password"),
    ("KAFKA__BOOTSTRAP_SERVERS", f"a:9092,sasl://user:{CANARY}@kafka:9092", "kafka.password"),
    ("TRAINING__RECIPE", f"https://user:{CANARY}@host/recipe.toml", "recipe"),
    ("TRAINING__DATA", f'["rows.jsonl", "https://host/x?token={CANARY}"]', "data"),
    ("STORE__PASSWORD_FILE", f"/no/{CANARY}", "STORE__PASSWORD_FILE"),
    ("STORE__TIMEOUT_S", CANARY, "store.timeout_s"),
    ("MODEL__TRUSTED_KEYS", f'["{CANARY}"]', "key 1"),
    ("ALERTS__CHANNELS", f'[{{"name": "x", "kind": "slack", "url": ["{CANARY}"]}}]', "alerts.channels"),
]


@pytest.mark.parametrize(("name", "value", "words"), PASSWORDS)
def test_credentials_stand_in_no_url_and_no_error(name: str, value: str, words: str) -> None:
    with pytest.raises(Fatal, match=words) as caught:
        resolve(environ={f"OPINIONWATCH_{name}": value})
    assert CANARY not in str(caught.value)
    assert caught.value.exit_code == EXIT_CONFIG


def test_what_pydantic_says_by_itself_repeats_no_value() -> None:
    with pytest.raises(ValueError, match="url") as caught:
        StoreSettings(url=f"https://elastic:{CANARY}@es:9200", password=[CANARY])  # type: ignore[arg-type]
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (StoreSettings, ["sqlite:///x.sqlite", "sqlite:////var/a?b@c:d", "http://es", "https://u@es:9200/prefix"]),
        (StoreSettings, ["https://user%40corp@es:9200", "http://[::1]:9200", "https://u@10.0.0.1"]),
        (ModelSettings, ["", "models", "/srv/a:b@c/models", "s3://bucket/models", "abfs://models@account/x"]),
        (KafkaSettings, ["embedded", "kafka:9092", "a:9092,b:9092", "[::1]:9092"]),
    ],
)
def test_addresses_without_credentials_are_taken(section: type[Any], values: list[str]) -> None:
    fields: dict[type[Any], str] = {
        StoreSettings: "url",
        ModelSettings: "registry",
        KafkaSettings: "bootstrap_servers",
    }
    field = fields[section]
    for value in values:
        assert getattr(section(**{field: value}), field) == value


@pytest.mark.parametrize("url", ["https://", "https://:9200", "https://es:99999", "https://e s:9200", "sqlite:///"])
def test_a_store_url_that_leads_nowhere_is_refused_when_the_settings_are_read(url: str) -> None:
    with pytest.raises(ValueError, match="store|sqlite"):
        StoreSettings(url=url)
