"""`[alerts]`: the rule, whom it tells, and when not."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, time
from email.utils import parseaddr
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, ValidationInfo, field_validator

from pipeline.domain.counting import NegativeDefinition
from pipeline.settings.base import Section
from pipeline.settings.urls import checked_host, checked_url

_NAME = re.compile(r"[a-z0-9_-]{1,40}")
_MAILBOX = re.compile(r"[^@\s<>,;\"]{1,64}@[^@\s<>,;\"]{1,253}")


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a channel; write 1 to 40 of a-z, 0-9, _ and -")
    return name


ChannelName = Annotated[str, AfterValidator(_checked_name)]


def _checked_address(address: str) -> str:
    if not address.isprintable() or not _MAILBOX.fullmatch(parseaddr(address)[1]):
        raise ValueError(f"{address!r} is not an e-mail address; write name@host")
    return address


def _of_channel(info: ValidationInfo, check: Callable[[str], str], value: str) -> str:
    """The checked value; an error names the channel, which its place in the list does not."""
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"channel {info.data.get('name', '?')}: {error}") from None


class ChannelSettings(Section):
    """Where alerts go. What the kinds need besides `name`:

    - webhook (`body`: opinionwatch or alertmanager), alertmanager, slack, dingtalk, feishu, wecom: `url`; the
      webhook, dingtalk and feishu sign with `secret`
    - email: `host`, `port`, `sender`, `to`, and `username` and `secret` where the server wants them; `ca_file`
      names the certificate authority of a server whose certificate is private
    - log: nothing; for those whom a line in the log wakes

    A URL may hold a token: it is kept secret, and may come from `url_file`, as `secret` from `secret_file`. Only
    alerts of `severities` and `lanes` whose key matches one of `keys` go there.
    """

    name: ChannelName
    kind: Literal["webhook", "alertmanager", "slack", "dingtalk", "feishu", "wecom", "email", "log"]
    url: SecretStr = SecretStr("")
    url_file: str = ""
    secret: SecretStr = SecretStr("")
    secret_file: str = ""
    body: Literal["opinionwatch", "alertmanager"] = "opinionwatch"
    allow_private: bool = False
    timeout_s: float = Field(default=10.0, gt=0, le=60)
    language: Literal["en", "zh"] = "en"
    severities: list[Literal["warning", "critical"]] = Field(default=["warning", "critical"], min_length=1)
    keys: list[str] = Field(default=["*"], min_length=1)
    lanes: list[Literal["negative", "volume"]] = Field(default=["negative", "volume"], min_length=1)
    host: str = ""
    port: int = Field(default=587, ge=1, le=65535)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: str = ""
    sender: str = ""
    to: list[str] = []
    username: str = ""

    @field_validator("url")
    @classmethod
    def _url_is_sound(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if value.get_secret_value():
            _of_channel(info, checked_url, value.get_secret_value())
        return value

    @field_validator("host")
    @classmethod
    def _host_is_sound(cls, value: str, info: ValidationInfo) -> str:
        return _of_channel(info, checked_host, value) if value else value

    @field_validator("sender", "to")
    @classmethod
    def _addresses_are_sound(cls, value: str | list[str], info: ValidationInfo) -> str | list[str]:
        for address in [value] if isinstance(value, str) else value:
            if address or isinstance(value, list):
                _of_channel(info, _checked_address, address)
        return value


class QuietSettings(Section):
    """Warnings wait until `end`; times are HH:MM in `zone`, over midnight where `end` is not after `start`."""

    start: time
    end: time
    zone: str = "UTC"
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(
        default=["mon", "tue", "wed", "thu", "fri", "sat", "sun"], min_length=1
    )

    @field_validator("start", "end")
    @classmethod
    def _zone_stands_apart(cls, value: time) -> time:
        if value.tzinfo is not None:
            raise ValueError("give HH:MM without an offset, and the time zone in zone")
        return value

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, ZoneInfoNotFoundError):
            raise ValueError(f"no time zone {value!r}; e.g. Asia/Shanghai") from None
        return value


class MaintenanceSettings(Section):
    """Nothing is told of `keys` (patterns) from `start` to `end`, both with an offset."""

    start: AwareDatetime
    end: AwareDatetime
    keys: list[str] = Field(default=["*"], min_length=1)
    reason: str = ""

    @field_validator("end")
    @classmethod
    def _ends_after_its_start(cls, value: datetime, info: ValidationInfo) -> datetime:
        if (start := info.data.get("start")) is not None and value <= start:
            raise ValueError("a maintenance must end after its start")
        return value


class KeyOverrideSettings(Section):
    """For keys that a pattern of `keys` matches (`subject:Nova`, `topic:*`); the first rule that matches counts.

    `watch = false`: never an alert. `fire` and `critical` in place of the calibrated thresholds; `at_most = "warning"`;
    `min_negatives`, `min_lift` and `min_authors` above those of everybody.
    """

    keys: list[str] = Field(min_length=1)
    watch: bool = True
    fire: float | None = Field(default=None, gt=0)
    critical: float | None = Field(default=None, gt=0)
    at_most: Literal["warning", "critical"] = "critical"
    min_negatives: int | None = Field(default=None, ge=1)
    min_lift: float | None = Field(default=None, ge=1)
    min_authors: int | None = Field(default=None, ge=1, le=100)


class VolumeSettings(Section):
    """The volume lane (`alerting/volume.py`): more posts of a topic or subject than at this time of day before.

    Alerts of it say `lane: volume`; a channel takes them unless its `lanes` leave them out.
    """

    enabled: bool = False
    fire: float = Field(default=4.75, gt=0)
    critical: float = Field(default=7.0, gt=0)


class AlertSettings(Section):
    """The rule (`alerting/detector.py`) and where its alerts go; scores are -log10 of a tail probability.

    `fire` is the threshold until the index holds two weeks; from then on one per volume tier is calibrated every
    `calibrate_every_days` (0: never) to `target_false_alerts` episodes per key-week. There is no verdict while sources
    are silent beyond their habit that usually send `no_data_share` of the posts; `retired_sources` may be silent.
    A post whose label is one of `negative` counts as negative where its `negative_score` is `negative_from` or more.
    People are told only of what at least `min_authors` wrote; a post without an author counts as one more.
    Each of `sources` is a key of its own (`source:weibo`), and so is every subject in it (`subject:Nova|source:weibo`).
    """

    head: str = "sentiment"
    negative: list[str] = Field(default=["negative"], min_length=1)
    negative_from: float = Field(default=0.0, ge=0, le=1)
    fire: float = Field(default=4.0, gt=0)
    target_false_alerts: float = Field(default=0.1, ge=0)
    calibrate_every_days: float = Field(default=7.0, ge=0, le=3650)
    critical: float = Field(default=6.0, gt=0)
    min_negatives: int = Field(default=10, ge=1)
    min_lift: float = Field(default=1.5, ge=1)
    min_authors: int = Field(default=1, ge=1, le=100)
    renotify_s: float = Field(default=4 * 3600.0, gt=0, le=366 * 86_400)
    evaluate_every_s: float = Field(default=1.0, gt=0, le=3600)
    idle_s: float = Field(default=15.0, gt=0, le=86_400)
    no_data_after_s: float = Field(default=300.0, gt=0, le=7 * 86_400)
    no_data_share: float = Field(default=0.5, gt=0, le=1)
    retired_sources: list[str] = []
    sources: list[Annotated[str, Field(min_length=1)]] = Field(default=[], max_length=100)
    channels: list[ChannelSettings] = []
    overrides: list[KeyOverrideSettings] = []
    volume: VolumeSettings = VolumeSettings()
    group_above: int = Field(default=5, ge=1)
    quiet: list[QuietSettings] = []
    maintenance: list[MaintenanceSettings] = []

    @property
    def counting(self) -> NegativeDefinition:
        """What the store counts as negative."""
        return NegativeDefinition(self.head, tuple(self.negative), tuple(sorted(set(self.sources))), self.negative_from)

    @field_validator("overrides")
    @classmethod
    def _rules_ask_for_more(cls, value: list[KeyOverrideSettings], info: ValidationInfo) -> list[KeyOverrideSettings]:
        for number, rule in enumerate(value):
            for name in ("min_negatives", "min_lift", "min_authors"):
                own, everybodys = getattr(rule, name), info.data.get(name)
                if own is not None and everybodys is not None and own < everybodys:
                    raise ValueError(
                        f"override {number + 1}: {name} {own} is less than alerts.{name} {everybodys}, which every key "
                        f"must reach; lower that one and raise it by an override for the others"
                    )
        return value
