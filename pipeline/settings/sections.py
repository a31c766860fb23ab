"""All sections of the settings except `[alerts]`, and the settings as a whole."""

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
#: By role; `all` uses the port of classify.
METRICS_PORTS = {"classify": 9108, "alert": 9109, "console": 9110, "all": 9108}
Topic = Annotated[str, AfterValidator(check_topic)]


class KafkaSettings(Section):
    """The brokers and topics. `bootstrap_servers` is `embedded` or `host:port,...`.

    `on_deleted` decides what a worker does if retention has deleted records that it had not read: `stop` reports how
    many, `skip` continues without them. `instance` enables static membership: a worker that returns under this name
    within `session_timeout_s` keeps its partitions, so that a rolling restart moves none. `setup` creates topics with
    `partitions` and `replication`.
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
    """The store. `url` is `sqlite:///path` or `http(s)://[user@]host:port`; it must not contain the password.

    Elasticsearch gets one index of posts per `period`. Posts from before the date `backfill_before` share one index per
    year. `opinionwatch setup` chooses that date if it is not set: 90 days before it first runs, or 7 days if `period`
    is `hour`.
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
    """The model and the device that runs it.

    If `registry` (a folder or an fsspec URL) is set, the version that `alias` names there serves instead of `bundle`;
    workers look for a new version every `poll_s` and switch to it while they run. The `challenger` labels a
    `shadow_share` of the posts as well. If `trusted_keys` (Ed25519 public keys in base64) are set, workers load only
    bundles that one of them signed. `long_texts` selects how texts beyond the limit of the model are read. Repeated
    texts are answered from a cache of `cache_mb`.
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
                    f"key {number} is not an Ed25519 public key; 'opinionwatch models keygen' prints one"
                ) from None
        return value


class FlowSettings(Section):
    """Micro-batches of the classify role, and its limits for dead letters.

    A batch holds at most `batch_records` and closes after `batch_wait_s`; a worker processes `in_flight` of them at
    once. A worker stops after `dead_letter_limit` letters of all workers within `dead_letter_window_s`, unless less
    than 1 % of its records are dead letters. It also stops if more than `dead_letter_share` of its last 2,000 records
    are dead letters.
    """

    batch_records: int = Field(default=512, ge=1, le=10_000)
    batch_wait_s: float = Field(default=0.05, gt=0, le=60)
    in_flight: int = Field(default=4, ge=1, le=16)
    dead_letter_limit: int = Field(default=10_000, ge=1)
    dead_letter_window_s: float = Field(default=3600.0, ge=60, le=7 * 86_400)
    dead_letter_share: float = Field(default=0.5, gt=0, le=1)


class TrainingSettings(Section):
    """The retraining job, which keeps its files in the folder `work`.

    `data` and `golden` are labelled files, and `recipe` is a TOML file of hyperparameters (empty:
    `training/configs/retrain.toml`). The golden set decides whether a new model may serve, so keep it fixed. For every
    new label the job trains on `rehearsal` posts of the index as well, so that the model keeps its knowledge.

    The gate refuses a challenger whose accuracy is lower by more than `worse_by`, or that recalls a class worse by more
    than `class_falls_by`. `promote = "by_hand"` leaves the promotion to a person. Before the promotion, the job
    relabels the last `relabel_days` of the index (0: none), so that the baseline of the alert rule moves with the
    model. The private key in the file `signing_key` signs new bundles; `for_gpu` adds the graph that a GPU runs.
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
    """The console on `console_port`, and /metrics, /livez and /readyz on `metrics_port` (0: off).

    If `metrics_port` is not set, each role uses its own port, so that one machine can run all roles: classify and all
    9108, alert 9109, console 9110.

    The console has no login. It listens on an address other than loopback only if `behind_proxy` states that a proxy
    authenticates its users, or if `allowed_hosts` lists the names under which people open it (for a port that a
    container publishes on the loopback address of its host: `["localhost", "127.0.0.1"]`). Both servers answer
    requests for loopback names and for these names; the console answers requests for other names only behind a proxy.
    """

    host: str = "127.0.0.1"
    behind_proxy: bool = False
    allowed_hosts: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\[\]-]{1,253}$")]] = []
    console_port: int = Field(default=8080, ge=0, le=65535)
    metrics_port: int | None = Field(default=None, ge=0, le=65535)

    def metrics_port_of(self, role: str) -> int:
        return METRICS_PORTS[role] if self.metrics_port is None else self.metrics_port


class MatchingSettings(Section):
    """How keywords are compared. `fold_chinese` treats traditional and simplified characters as equal."""

    fold_chinese: bool = True


def _findable(keywords: list[str]) -> list[str]:
    for keyword in keywords:
        keyword_text(keyword)
    return keywords


class SubjectSettings(Section):
    """A watched subject, `[subjects.NAME]`: a text names it if it contains one of the keywords in `any`.

    A keyword inside a phrase of `not` does not count: with `any = ["nova"]` and `not = ["nova scotia"]`, "Nova Scotia"
    does not name the subject, and "my Nova in Nova Scotia" does. `NAME = ["nova", ...]` in `[subjects]` is short for
    `any` alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    any: Annotated[list[str], Field(min_length=1), AfterValidator(_findable)]
    not_: Annotated[list[str], AfterValidator(_findable)] = Field(default=[], alias="not")

    @model_validator(mode="after")
    def _keywords_can_be_found(self) -> Self:
        excepted = set(map(keyword_text, self.not_))
        if never := next((k for k in self.any if keyword_text(k) in excepted), None):
            raise ValueError(
                f"keyword {never!r} is also in 'not', so that it can never be found; remove it from one of them"
            )
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
    """All settings; `opinionwatch config show` prints them."""

    kafka: KafkaSettings = KafkaSettings()
    store: StoreSettings = StoreSettings()
    model: ModelSettings = ModelSettings()
    flow: FlowSettings = FlowSettings()
    alerts: AlertSettings = AlertSettings()
    training: TrainingSettings = TrainingSettings()
    http: HttpSettings = HttpSettings()
    # Validated even where it is empty: an override may name a subject that does not exist.
    subjects: dict[str, Subject] = Field(default={}, validate_default=True)
    matching: MatchingSettings = MatchingSettings()

    @field_validator("subjects")
    @classmethod
    def _names_can_be_shown(cls, value: dict[str, Subject]) -> dict[str, Subject]:
        for name in value:
            if not name or name != clean_line(name, MAX_NAME) or "|" in name:
                shown = repr(name[:MAX_NAME])
                raise ValueError(
                    f"{shown} cannot name a subject; write one line of 1 to {MAX_NAME} visible characters without '|'"
                )
        return value

    @field_validator("subjects")
    @classmethod
    def _overrides_name_subjects(
        cls, value: dict[str, SubjectSettings], info: ValidationInfo
    ) -> dict[str, SubjectSettings]:
        alerts = info.data.get("alerts")
        for number, override in enumerate(alerts.overrides if alerts else []):
            for pattern in override.keys:
                name = pattern.removeprefix("subject:").partition("|")[0]
                if pattern.startswith("subject:") and not set(name) & set("*?[") and name not in value:
                    raise ValueError(
                        f"alerts.overrides, entry {number + 1} names {pattern!r}, but no subject is {name!r}"
                    )
        return value

    @property
    def embedded(self) -> bool:
        return self.kafka.bootstrap_servers == EMBEDDED
