"""The sections of the settings but `[alerts]`, and all of them together."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from models.search_text import keyword_text
from models.text import MAX_NAME, clean_line
from pipeline.settings.addresses import check_brokers, check_registry_url, check_store_url, check_topic
from pipeline.settings.alerts import AlertSettings
from pipeline.settings.base import Section

STARTER = Path(__file__).resolve().parents[2] / "models" / "starter"
EMBEDDED = "embedded"
#: By role; `all` does what classify does, and more.
METRICS_PORTS = {"classify": 9108, "alert": 9109, "console": 9110, "all": 9108}
Topic = Annotated[str, AfterValidator(check_topic)]


class KafkaSettings(Section):
    """`bootstrap_servers` is `embedded` or `host:port,...`.

    `on_deleted`: what a worker does when retention has deleted records that it had not read: stop and say how many,
    or go on without them. `instance` names a worker for static membership: one that comes back under its name within
    `session_timeout_s` keeps its partitions, and a rolling restart moves none.
    """

    bootstrap_servers: Annotated[str, AfterValidator(check_brokers)] = EMBEDDED
    topics: list[Topic] = Field(default=["opinion.news", "opinion.forum"], min_length=1)
    dead_topic: Topic = "opinion.dead"
    progress_topic: Topic = "opinion.progress"
    alerts_topic: Topic = "opinion.alerts"
    group: str = Field(default="opinionwatch", pattern=r"^[A-Za-z0-9._-]{1,200}$")
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

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        own = [self.dead_topic, self.progress_topic, self.alerts_topic]
        names = [*self.topics, *own]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"topic {twice[0]!r} is given twice; topics, dead_topic, progress_topic and alerts_topic "
                             f"must all differ")  # fmt: skip
        return self


class StoreSettings(Section):
    """`url` is `sqlite:///path` or `http(s)://[user@]host:port`; the password never stands in it.

    Elasticsearch gets an index of posts per `period`, and one per year for posts from before `backfill_before` (a date,
    by default chosen by `opinionwatch setup`: 90 days before it first runs, 7 where the period is an hour).
    """

    url: Annotated[str, AfterValidator(check_store_url)] = "sqlite:///opinionwatch.sqlite"
    password: SecretStr = SecretStr("")
    ca_file: str = ""
    timeout_s: float = Field(default=30.0, gt=0, le=3600)
    analyzer: Literal["standard", "ik_max_word", "ik_smart", "smartcn", "cjk"] = "standard"
    period: Literal["hour", "day", "month"] = "month"
    replicas: int = Field(default=0, ge=0, le=9)
    backfill_before: date | None = None


class ModelSettings(Section):
    """Which bundle serves, and where it runs.

    With `registry` (a folder or an fsspec URL) the version that `alias` names there serves instead of `bundle`, and
    is exchanged while the workers run. `shadow_share` of the posts are labelled by the `challenger` too. With
    `trusted_keys` (Ed25519 public keys in base64) only bundles that one of them signed are loaded.
    """

    bundle: str = str(STARTER)
    registry: Annotated[str, AfterValidator(check_registry_url)] = ""
    trusted_keys: list[str] = []
    alias: str = "champion"
    poll_s: float = Field(default=5.0, gt=0, le=86_400)
    shadow_share: float = Field(default=0.0, ge=0, le=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    runtime: Literal["auto", "onnxruntime", "openvino"] = "auto"
    threads: int | None = Field(default=None, ge=1, le=1024)
    gpu_memory_mb: int = Field(default=0, ge=0)
    budget_tokens: int | None = Field(default=None, ge=16)
    long_texts: Literal["head", "head_tail", "windows"] = "head"
    cache_mb: int = Field(default=64, ge=0)

    @field_validator("trusted_keys")
    @classmethod
    def _keys_are_keys(cls, value: list[str]) -> list[str]:
        if not value:
            return value
        # Most commands need no cryptography.
        from models.signing import public_key

        for number, text in enumerate(value, 1):
            try:
                public_key(text)
            except ValueError:
                raise ValueError(
                    f"key {number} is no Ed25519 public key; 'opinionwatch models keygen' prints one"
                ) from None
        return value


class FlowSettings(Section):
    """Micro-batches: at most `batch_records`, closed after `batch_wait_s`; `in_flight` of them at once.

    A worker stops at `dead_letter_limit` letters of all workers within `dead_letter_window_s` (unless less than 1 % of
    what it reads is poison), and where more than `dead_letter_share` of the last 2,000 records are.
    """

    batch_records: int = Field(default=512, ge=1, le=10_000)
    batch_wait_s: float = Field(default=0.05, gt=0, le=60)
    in_flight: int = Field(default=4, ge=1, le=16)
    dead_letter_limit: int = Field(default=10_000, ge=1)
    dead_letter_window_s: float = Field(default=3600.0, ge=60, le=7 * 86_400)
    dead_letter_share: float = Field(default=0.5, gt=0, le=1)


class TrainingSettings(Section):
    """The retraining job. `data` and `golden` are labelled files; `recipe` a TOML of hyperparameters (none:
    `training/configs/retrain.toml`).

    The golden set decides whether a new model may serve: keep it fixed, and let nobody's import change it.
    `rehearsal` posts of the index per label keep what the model knows already. Before it promotes a challenger, the job
    labels the last `relabel_days` of the index with it (0: none): the baseline of the alert rule moves with the model.
    New bundles are signed with the private key in the file `signing_key`; `for_gpu` also puts in what a GPU runs.
    """

    work: str = "opinionwatch-training"
    recipe: str = ""
    data: list[str] = []
    golden: list[str] = []
    signing_key: str = ""
    for_gpu: bool = False
    rehearsal: int = Field(default=4, ge=0, le=100)
    min_new_labels: int = Field(default=200, ge=1)
    promote: Literal["auto", "by_hand"] = "auto"
    relabel_days: float = Field(default=7.0, ge=0, le=3650)
    worse_by: float = Field(default=0.01, ge=0, le=1)
    class_falls_by: float = Field(default=0.05, ge=0, le=1)


class HttpSettings(Section):
    """`console_port` shows people the alerts, `metrics_port` (0: off) serves /metrics, /livez and /readyz.

    Where `metrics_port` is not set, each role has its own, so that one machine may run them all: `METRICS_PORTS`.

    The console has no log-in. It opens on another than the loopback address only where `behind_proxy` says that
    something in front of it authenticates, or where `allowed_hosts` says by which names it is asked there (a port that
    a container publishes on the loopback address of its host: `["localhost", "127.0.0.1"]`). Both servers answer to
    loopback names and to these, the console to others only behind a proxy.
    """

    host: str = "127.0.0.1"
    behind_proxy: bool = False
    allowed_hosts: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\[\]-]{1,253}$")]] = []
    console_port: int = Field(default=8080, ge=0, le=65535)
    metrics_port: int | None = Field(default=None, ge=0, le=65535)

    def metrics_port_of(self, role: str) -> int:
        return METRICS_PORTS[role] if self.metrics_port is None else self.metrics_port


class MatchingSettings(Section):
    """How keywords are compared. `fold_chinese`: traditional and simplified characters are the same."""

    fold_chinese: bool = True


def _findable(keywords: list[str]) -> list[str]:
    for keyword in keywords:
        keyword_text(keyword)
    return keywords


class SubjectSettings(Section):
    """A watched subject, `[subjects.NAME]`: a text names it where one of the keywords `any` stands.

    `NAME = ["nova", ...]` in `[subjects]` is short for `any` alone.
    Unless a phrase of `not` covers that place: with `any = ["nova"]` and `not = ["nova scotia"]`, "Nova Scotia" does
    not name the subject, and "my Nova in Nova Scotia" does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    any: Annotated[list[str], Field(min_length=1), AfterValidator(_findable)]
    not_: Annotated[list[str], AfterValidator(_findable)] = Field(default=[], alias="not")

    @model_validator(mode="after")
    def _keywords_stand_somewhere(self) -> Self:
        excepted = set(map(keyword_text, self.not_))
        if never := next((k for k in self.any if keyword_text(k) in excepted), None):
            raise ValueError(f"keyword {never!r} stands in 'not' as well, so that it can never be found")
        return self

    @model_serializer
    def _as_written(self) -> dict[str, list[str]]:
        return {"any": self.any, "not": self.not_}


#: A list of keywords is short for a table with `any` alone.
Subject = Annotated[
    Annotated[list[str], AfterValidator(_findable), Tag("keywords")] | Annotated[SubjectSettings, Tag("table")],
    Discriminator(lambda value: "table" if isinstance(value, dict | SubjectSettings) else "keywords"),
]


class Settings(Section):
    """Everything; see `opinionwatch config show`."""

    kafka: KafkaSettings = KafkaSettings()
    store: StoreSettings = StoreSettings()
    model: ModelSettings = ModelSettings()
    flow: FlowSettings = FlowSettings()
    alerts: AlertSettings = AlertSettings()
    training: TrainingSettings = TrainingSettings()
    http: HttpSettings = HttpSettings()
    # A rule that names a subject is wrong where there are none, too.
    subjects: dict[str, Subject] = Field(default={}, validate_default=True)
    matching: MatchingSettings = MatchingSettings()

    @field_validator("subjects")
    @classmethod
    def _names_can_be_shown(cls, value: dict[str, Subject]) -> dict[str, Subject]:
        for name in value:
            if not name or name != clean_line(name, MAX_NAME) or "|" in name:
                shown = repr(name[:MAX_NAME])
                raise ValueError(f"{shown}: a name is one line of 1 to {MAX_NAME} visible characters without '|'")
        return value

    @field_validator("subjects")
    @classmethod
    def _rules_name_subjects(
        cls, value: dict[str, SubjectSettings], info: ValidationInfo
    ) -> dict[str, SubjectSettings]:
        alerts = info.data.get("alerts")
        for number, rule in enumerate(alerts.overrides if alerts else []):
            for pattern in rule.keys:
                name = pattern.removeprefix("subject:").partition("|")[0]
                if pattern.startswith("subject:") and not set(name) & set("*?[") and name not in value:
                    raise ValueError(
                        f"alerts.overrides, entry {number + 1} names {pattern!r}, but no subject is {name!r}"
                    )
        return value

    @property
    def embedded(self) -> bool:
        return self.kafka.bootstrap_servers == EMBEDDED
