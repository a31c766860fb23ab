"""Settings: defaults < `opinionwatch.toml` < environment < flags. The only module that reads the environment.

Environment names are `OPINIONWATCH_` and the path with double underscores, e.g.
`OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS`. A secret may come from a file: `OPINIONWATCH_STORE__PASSWORD_FILE`.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from models.signing import public_key
from pipeline.errors import Fatal
from pipeline.store.base import CountRule

PREFIX = "OPINIONWATCH_"
DEFAULT_FILE = Path("opinionwatch.toml")
STARTER = Path(__file__).resolve().parent.parent / "models" / "starter"
EMBEDDED = "embedded"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(_Section):
    """`bootstrap_servers` is `embedded` or `host:port,...`.

    `on_deleted`: what a worker does when retention has deleted records that it had not read: stop and say how many,
    or go on without them. `instance` names a worker for static membership: one that comes back under its name within
    `session_timeout_s` keeps its partitions, and a rolling restart moves none.
    """

    bootstrap_servers: str = EMBEDDED
    topics: list[str] = Field(default=["opinion.news", "opinion.forum"], min_length=1)
    dead_topic: str = "opinion.dead"
    progress_topic: str = "opinion.progress"
    alerts_topic: str = "opinion.alerts"
    group: str = "opinionwatch"
    partitions: int = Field(default=4, ge=1, le=1000)
    replication: int = Field(default=1, ge=1, le=9)
    session_timeout_s: float = Field(default=20.0, ge=6, le=300)
    instance: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,200}$")
    on_deleted: Literal["stop", "skip"] = "stop"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: str = ""


class StoreSettings(_Section):
    """`url` is `sqlite:///path` or `http(s)://[user@]host:port`; the password never stands in it."""

    url: str = Field(
        default="sqlite:///opinionwatch.sqlite", pattern=r"^(sqlite:///.+|https?://[^:@/]+(@[^/]+|:\d+)?.*)$"
    )
    password: SecretStr = SecretStr("")
    ca_file: str = ""
    timeout_s: float = Field(default=30.0, gt=0)
    analyzer: Literal["standard", "ik_max_word", "ik_smart", "smartcn", "cjk"] = "standard"
    period: Literal["hour", "day", "month"] = "month"
    replicas: int = Field(default=0, ge=0, le=9)


class ModelSettings(_Section):
    """Which bundle serves, and where it runs.

    With `registry` (a folder or an fsspec URL) the version that `alias` names there serves instead of `bundle`, and
    is exchanged while the workers run. `shadow_share` of the posts are labelled by the `challenger` too. With
    `trusted_keys` (Ed25519 public keys in base64) only bundles that one of them signed are loaded.
    """

    bundle: str = str(STARTER)
    registry: str = ""
    trusted_keys: list[str] = []
    alias: str = "champion"
    poll_s: float = Field(default=5.0, gt=0)
    shadow_share: float = Field(default=0.0, ge=0, le=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    runtime: Literal["auto", "onnxruntime", "openvino"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    gpu_memory_mb: int = Field(default=0, ge=0)
    budget_tokens: int | None = Field(default=None, ge=16)
    long_texts: Literal["head", "head_tail", "windows"] = "head"
    cache_mb: int = Field(default=64, ge=0)

    @field_validator("trusted_keys")
    @classmethod
    def _keys_are_keys(cls, value: list[str]) -> list[str]:
        for text in value:
            try:
                public_key(text)
            except ValueError:
                raise ValueError(
                    f"{text!r} is no Ed25519 public key; 'opinionwatch models keygen' prints one"
                ) from None
        return value


class FlowSettings(_Section):
    """Micro-batches: at most `batch_records`, closed after `batch_wait_s`; `in_flight` of them at once."""

    batch_records: int = Field(default=512, ge=1, le=10_000)
    batch_wait_s: float = Field(default=0.05, gt=0, le=60)
    in_flight: int = Field(default=4, ge=1, le=16)
    dead_letter_limit: int = Field(default=10_000, ge=1)
    dead_letter_share: float = Field(default=0.5, gt=0, le=1)


class WebhookSettings(_Section):
    """Plain http and private addresses are refused unless `allow_private` says that the receiver is ours."""

    name: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    url: str = Field(pattern=r"^https?://")
    secret: SecretStr = SecretStr("")
    allow_private: bool = False
    timeout_s: float = Field(default=10.0, gt=0, le=60)


class ChannelSettings(_Section):
    """Where alerts go. What the kinds need besides `name`:

    - webhook (`body`: opinionwatch or alertmanager), alertmanager, slack, dingtalk, feishu, wecom: `url`; the
      webhook, dingtalk and feishu sign with `secret`
    - email: `host`, `port`, `sender`, `to`, and `username` and `secret` where the server wants them

    A URL may hold a token: it is kept secret, and may come from `url_file`, as `secret` from `secret_file`. Only
    alerts of `severities` whose key matches one of `keys` go there.
    """

    name: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    kind: Literal["webhook", "alertmanager", "slack", "dingtalk", "feishu", "wecom", "email"]
    url: SecretStr = SecretStr("")
    url_file: str = ""
    secret: SecretStr = SecretStr("")
    secret_file: str = ""
    body: Literal["opinionwatch", "alertmanager"] = "opinionwatch"
    allow_private: bool = False
    timeout_s: float = Field(default=10.0, gt=0, le=60)
    language: Literal["en", "zh"] = "en"
    severities: list[Literal["warning", "critical"]] = ["warning", "critical"]
    keys: list[str] = ["*"]
    host: str = ""
    port: int = Field(default=587, ge=1, le=65535)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    sender: str = ""
    to: list[str] = []
    username: str = ""


class QuietSettings(_Section):
    """Warnings wait until `end`; times are HH:MM in `zone`, over midnight where `end` is not after `start`."""

    start: time
    end: time
    zone: str = "UTC"
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = [
        "mon", "tue", "wed", "thu", "fri", "sat", "sun",
    ]  # fmt: skip

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, ZoneInfoNotFoundError):
            raise ValueError(f"no time zone {value!r}; e.g. Asia/Shanghai") from None
        return value


class MaintenanceSettings(_Section):
    """Nothing is told of `keys` (patterns) from `start` to `end`, both with an offset."""

    start: AwareDatetime
    end: AwareDatetime
    keys: list[str] = ["*"]
    reason: str = ""


class KeyRuleSettings(_Section):
    """For keys that a pattern of `keys` matches (`subject:Nova`, `topic:*`); the first rule that matches counts.

    `watch = false`: never an alert. `fire` and `critical` in place of the calibrated thresholds; `at_most = "warning"`;
    `min_negatives` and `min_lift` above those of everybody.
    """

    keys: list[str] = Field(min_length=1)
    watch: bool = True
    fire: float | None = Field(default=None, gt=0)
    critical: float | None = Field(default=None, gt=0)
    at_most: Literal["warning", "critical"] = "critical"
    min_negatives: int | None = Field(default=None, ge=1)
    min_lift: float | None = Field(default=None, ge=1)


class AlertSettings(_Section):
    """The rule (`alerting/detector.py`) and where its alerts go; scores are -log10 of a tail probability.

    `fire` is the threshold until the index holds two weeks; from then on one per volume tier is calibrated every
    `calibrate_every_days` (0: never) to `target_false_alerts` episodes per key-week. There is no verdict while sources
    are silent beyond their habit that usually send `blind_share` of the posts; `retired_sources` may be silent.
    """

    head: str = "sentiment"
    negative: list[str] = Field(default=["negative"], min_length=1)
    fire: float = Field(default=4.0, gt=0)
    target_false_alerts: float = Field(default=0.1, ge=0)
    calibrate_every_days: float = Field(default=7.0, ge=0)
    critical: float = Field(default=6.0, gt=0)
    min_negatives: int = Field(default=10, ge=1)
    min_lift: float = Field(default=1.5, ge=1)
    renotify_s: float = Field(default=4 * 3600.0, gt=0)
    evaluate_every_s: float = Field(default=1.0, gt=0)
    idle_s: float = Field(default=15.0, gt=0)
    blind_after_s: float = Field(default=300.0, gt=0)
    blind_share: float = Field(default=0.5, gt=0, le=1)
    retired_sources: list[str] = []
    webhooks: list[WebhookSettings] = []
    channels: list[ChannelSettings] = []
    rules: list[KeyRuleSettings] = []
    group_above: int = Field(default=5, ge=1)
    quiet: list[QuietSettings] = []
    maintenance: list[MaintenanceSettings] = []

    @property
    def counting(self) -> CountRule:
        """What the store counts as negative."""
        return CountRule(self.head, tuple(self.negative))

    @field_validator("rules")
    @classmethod
    def _rules_ask_for_more(cls, value: list[KeyRuleSettings], info: ValidationInfo) -> list[KeyRuleSettings]:
        for number, rule in enumerate(value):
            for name in ("min_negatives", "min_lift"):
                own, everybodys = getattr(rule, name), info.data.get(name)
                if own is not None and everybodys is not None and own < everybodys:
                    raise ValueError(
                        f"rule {number + 1}: {name} {own} is less than alerts.{name} {everybodys}, which every key "
                        f"must reach; lower that one and raise it by a rule for the others"
                    )
        return value


class TrainingSettings(_Section):
    """The retraining job. `data` and `golden` are labelled files; `recipe` a TOML of hyperparameters.

    The golden set decides whether a new model may serve: keep it fixed, and let nobody's import change it.
    `rehearsal` posts of the index per label keep what the model knows already. New bundles are signed with the
    private key in the file `signing_key`.
    """

    work: str = "opinionwatch-training"
    recipe: str = ""
    data: list[str] = []
    golden: list[str] = []
    signing_key: str = ""
    rehearsal: int = Field(default=4, ge=0, le=100)
    min_new_labels: int = Field(default=200, ge=1)
    promote: Literal["auto", "by_hand"] = "auto"
    worse_by: float = Field(default=0.01, ge=0, le=1)
    class_falls_by: float = Field(default=0.05, ge=0, le=1)


class HttpSettings(_Section):
    """`console_port` shows people the alerts, `metrics_port` (0: off) serves /metrics, /livez and /readyz.

    The console has no log-in: it opens on another than the loopback address only where `behind_proxy` says that
    something in front of it authenticates.
    """

    host: str = "127.0.0.1"
    behind_proxy: bool = False
    console_port: int = Field(default=8080, ge=0, le=65535)
    metrics_port: int = Field(default=9108, ge=0, le=65535)


class Settings(_Section):
    """Everything; see `opinionwatch config show`."""

    kafka: KafkaSettings = KafkaSettings()
    store: StoreSettings = StoreSettings()
    model: ModelSettings = ModelSettings()
    flow: FlowSettings = FlowSettings()
    alerts: AlertSettings = AlertSettings()
    training: TrainingSettings = TrainingSettings()
    http: HttpSettings = HttpSettings()
    subjects: dict[str, list[str]] = {}

    @field_validator("subjects")
    @classmethod
    def _rules_name_subjects(cls, value: dict[str, list[str]], info: ValidationInfo) -> dict[str, list[str]]:
        alerts = info.data.get("alerts")
        for number, rule in enumerate(alerts.rules if alerts else []):
            for pattern in rule.keys:
                name = pattern.removeprefix("subject:").partition("|")[0]
                if pattern.startswith("subject:") and not set(name) & set("*?[") and value and name not in value:
                    raise ValueError(f"alerts.rules, rule {number + 1} names {pattern!r}, but no subject is {name!r}")
        return value

    @property
    def embedded(self) -> bool:
        return self.kafka.bootstrap_servers == EMBEDDED


@dataclass(frozen=True)
class Resolved:
    """Settings and, per dotted key that is no default, where its value came from."""

    settings: Settings
    origins: Mapping[str, str]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(key, value with secrets hidden, origin) of every setting, sorted."""
        for key, value in sorted(_leaves(self.settings.model_dump(mode="json"))):
            origin = next((o for k, o in self.origins.items() if k == key or key.startswith(k + ".")), "default")
            yield key, json.dumps(value, ensure_ascii=False), origin


def resolve(
    file: Path | None = None, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Resolved:
    """Merges the sources; `flags` maps dotted keys to values. Raises `Fatal` naming the key and its origin."""
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, value, origin in [
        *_from_file(file),
        *_from_environment(os.environ if environ is None else environ),
        *((k, v, f"flag for {k}") for k, v in (flags or {}).items() if v is not None),
    ]:
        _put(merged, key, value, origin)
        origins[key] = origin
    try:
        return Resolved(Settings.model_validate(merged), origins)
    except ValidationError as error:
        raise Fatal(_explain(error, origins), "see 'opinionwatch config show' for all keys and their values") from None


def _from_file(file: Path | None) -> Iterator[tuple[str, Any, str]]:
    path = file or DEFAULT_FILE
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if file is None:
            return
        raise Fatal(f"settings file {path} does not exist", "give the path of a TOML file to --config") from None
    except (OSError, ValueError) as error:
        raise Fatal(f"settings file {path} cannot be read: {error}", "mend the file") from None
    subjects = tables.pop("subjects", None)
    for key, value in _leaves(tables):
        yield key, value, f"file {path}"
    if subjects is not None:
        yield "subjects", subjects, f"file {path}"


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Any, str]]:
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        key = name.removeprefix(PREFIX).lower().replace("__", ".")
        value: Any = text
        if key.endswith("_file") and key.removesuffix("_file").endswith(("password", "secret")):
            key = key.removesuffix("_file")
            try:
                value = Path(text).read_text("utf-8").strip()
            except OSError as error:
                raise Fatal(f"{name}: {text} cannot be read: {error.strerror}", "mount the secret file") from None
        elif text[:1] in "[{":
            try:
                value = json.loads(text)
            except ValueError:
                raise Fatal(f"{name} starts like JSON but is not", "write a JSON list or object") from None
        yield key, value, f"environment {name}"


def _put(tree: dict[str, Any], key: str, value: Any, origin: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise Fatal(f"setting {key} (from {origin}): {parent} is a value, not a section", "mend the key")
    tree[last] = value


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        key = ".".join(map(str, item["loc"]))
        origin = next((o for k, o in origins.items() if key == k or key.startswith(k + ".")), "default")
        lines.append(f"setting {key} (from {origin}): {item['msg']}")
    return "; ".join(lines)
