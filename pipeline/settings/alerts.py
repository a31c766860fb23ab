"""`[alerts]`: the alert rule, its channels, and the times when they stay silent."""

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
    """The checked value; an error names the channel, because an index in the list says little."""
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"channel {info.data.get('name', '?')}: {error}") from None


class ChannelSettings(Section):
    """A channel that receives alerts. In addition to `name`, each kind needs these settings:

    - webhook (`body`: opinionwatch or alertmanager), alertmanager, slack, dingtalk, feishu, wecom: `url`; webhook,
      dingtalk and feishu sign with `secret`
    - email: `host`, `port`, `sender` and `to`; `username` and `secret` if the server requires a login; `ca_file` if a
      private certificate authority signed the certificate of the server
    - log: nothing; the worker writes the alert to its log

    A URL may contain a token, so it is treated as a secret. `url_file` and `secret_file` read the values from files.
    The channel receives only alerts of its `severities` and `lanes` whose key matches one of its `keys`.
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


class QuietHoursSettings(Section):
    """Hours in which warnings wait until `end`; critical alerts go out.

    `start` and `end` are HH:MM in `zone`; the hours pass midnight if `end` is not after `start`.
    """

    start: time
    end: time
    zone: str = "UTC"
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(
        default=["mon", "tue", "wed", "thu", "fri", "sat", "sun"], min_length=1
    )

    @field_validator("start", "end")
    @classmethod
    def _has_no_offset(cls, value: time) -> time:
        if value.tzinfo is not None:
            raise ValueError("write HH:MM without an offset, and set zone to the time zone")
        return value

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, ZoneInfoNotFoundError):
            raise ValueError(f"{value!r} is not a time zone; write e.g. Asia/Shanghai") from None
        return value


class MaintenanceSettings(Section):
    """A maintenance window: no channel is notified about keys that match `keys` from `start` to `end`.

    Both times have an offset, e.g. 2026-11-27T20:00:00Z.
    """

    start: AwareDatetime
    end: AwareDatetime
    keys: list[str] = Field(default=["*"], min_length=1)
    reason: str = ""

    @field_validator("end")
    @classmethod
    def _ends_after_its_start(cls, value: datetime, info: ValidationInfo) -> datetime:
        if (start := info.data.get("start")) is not None and value <= start:
            raise ValueError("end must be later than start")
        return value


class KeyOverrideSettings(Section):
    """An override for the keys that match a pattern of `keys` (`subject:Nova`, `topic:*`); the first match applies.

    `watch = false` suppresses all alerts. `fire` and `critical` replace the calibrated thresholds. `at_most`
    caps the severity. `min_negatives`, `min_lift` and `min_authors` may only be stricter than those in `[alerts]`.
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
    """The volume lane: it alerts when a topic or subject has more posts than usual at that time of day.

    Its alerts have `lane: volume`. A channel receives them unless its `lanes` exclude them. `fire` and `critical` are
    scores, -log10 of a tail probability.
    """

    enabled: bool = False
    fire: float = Field(default=4.75, gt=0)
    critical: float = Field(default=7.0, gt=0)


class AlertSettings(Section):
    """The alert rule and the routing of its alerts. Scores are -log10 of a tail probability.

    A post counts as negative if `head` gives it one of the labels in `negative` and its `negative_score` is at least
    `negative_from`. A key alerts when its score reaches `fire`, and becomes critical at `critical`, if at least
    `min_negatives` posts are negative and their share is at least `min_lift` times the expected share. Where the bundle
    says what its scores mean, the negatives of a key are estimated from the scores of all its posts, and
    `negative_from` only changes the number of labels that an alert shows beside the estimate.

    `fire` applies until the index holds two weeks. From then on the worker calibrates one threshold per volume tier
    every `calibrate_every_days` (0: never) to `target_false_alerts` episodes per key-week.

    The rule reports "no data" instead of a verdict when the store or a partition has not answered for
    `no_data_after_s`, or when sources that usually send `no_data_share` of the posts have an outage. `retired_sources`
    may stay silent. A partition without lag holds an evaluation back for at most `idle_s` after its last post.

    Channels are notified only if at least `min_authors` people wrote the posts; a post without an author counts as
    one person. They are reminded every `renotify_s` until somebody acknowledges the alert. If more than `group_above`
    alerts start at once, they arrive as one message.

    One author counts at most `posts_per_voice` posts per key in each window of six hours, negative or not (0: all of
    them), and so does a family of near-copies. A post without an author counts by its families only.

    Each of `sources` is a key of its own (`source:weibo`), and so is every subject in it (`subject:Nova|source:weibo`).
    """

    head: str = "sentiment"
    negative: list[str] = Field(default=["negative"], min_length=1)
    negative_from: float = Field(default=0.0, ge=0, le=1)
    posts_per_voice: int = Field(default=3, ge=0, le=1000)
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
    quiet_hours: list[QuietHoursSettings] = []
    maintenance: list[MaintenanceSettings] = []

    @property
    def counting(self) -> NegativeDefinition:
        """The definition by which the store counts posts as negative."""
        sources = tuple(sorted(set(self.sources)))
        return NegativeDefinition(self.head, tuple(self.negative), sources, self.negative_from, self.posts_per_voice)

    @field_validator("overrides")
    @classmethod
    def _overrides_are_stricter(
        cls, value: list[KeyOverrideSettings], info: ValidationInfo
    ) -> list[KeyOverrideSettings]:
        for number, override in enumerate(value):
            for name in ("min_negatives", "min_lift", "min_authors"):
                own, common = getattr(override, name), info.data.get(name)
                if own is not None and common is not None and own < common:
                    raise ValueError(
                        f"override {number + 1}: {name} {own} is less than alerts.{name} {common}, which every key "
                        f"must reach; lower alerts.{name}, and raise it for all other keys by another override"
                    )
        return value
