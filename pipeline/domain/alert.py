"""The alert: what the index keeps of one episode, what every channel sends, and what people say of it. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.domain.alert_evidence import (
    AppliedThreshold,
    EvidencePost,
    LastHour,
    PeakCounts,
    Series,
    SourceProfile,
)
from pipeline.domain.alert_voices import LoudestVoices
from pipeline.domain.counting import EVERYTHING, Scope
from pipeline.domain.delivery import Delivery, FalseAlarm, NotificationStatus

WARNING, CRITICAL = "warning", "critical"
OPEN, RESOLVED = "open", "resolved"
#: What an alert is about: the negative share, or how many posts there are.
NEGATIVE, VOLUME = "negative", "volume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert; it is made from an episode, and every change gives a new one. Times are event times.

    `key` and `scope` name the posts that it is about, `sequence` counts its transitions from 0. `related` are the keys
    that it inhibits, `source_profile`, `series` and `last_hour` are None if nobody counted them. It is `disputed` if
    its `loudest_voices` (None: no voice is loud) decide whether its counts have risen. `note` says why it was closed
    without an end. `revision` counts the writes (None: release 0.10.0 or older wrote it). `unknown` keeps the fields of
    a newer release.
    """

    id: str
    key: str
    started_at: datetime
    updated_at: datetime
    resolved_at: datetime | None = None
    lane: str = NEGATIVE
    scope: Scope = EVERYTHING
    severity: str = WARNING
    state: str = OPEN
    peak: PeakCounts = PeakCounts()
    threshold: AppliedThreshold = AppliedThreshold()
    sequence: int = 0
    related: tuple[str, ...] = ()
    model: str = ""
    query: str = ""
    evidence: tuple[EvidencePost, ...] = ()
    terms: tuple[str, ...] = ()
    source_profile: SourceProfile | None = None
    series: Series | None = None
    last_hour: LastHour | None = None
    loudest_voices: LoudestVoices | None = None
    disputed: bool = False
    note: str = ""
    notifications: NotificationStatus = NotificationStatus()
    false_alarm: FalseAlarm | None = None
    revision: int | None = None
    unknown: JsonObject = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        return self.state == OPEN

    @property
    def level(self) -> str:
        """What people should know now: `resolved`, or the severity of an open alert."""
        return RESOLVED if self.state == RESOLVED else self.severity

    @property
    def toward(self) -> str:
        """The subject toward which its posts are negative; empty if they were judged by the whole text."""
        return self.scope.subject if self.lane == NEGATIVE and any(post.toward for post in self.evidence) else ""

    def may_replace(self, there: Alert) -> bool:
        """Whether this alert may take the place of the one that the store has.

        An alert with a `revision` must be the successor of the stored revision. One without comes from an older
        release; it must be at least as far along, judged by its transition and by whether anybody was notified.
        """
        if self.revision is not None:
            return (there.revision or 0) < self.revision
        return there._progress() <= self._progress()

    def _progress(self) -> tuple[int, int, bool]:
        return self.revision or 0, self.sequence, not self.notifications.pending

    def for_receivers(self) -> Alert:
        """The alert without what only its channels and its store need to know."""
        return replace(self, notifications=self.notifications.times_only(), revision=None)

    def to_json(self) -> JsonObject:
        """The document of `opinion-alerts`, whose id is not part of it."""
        status, peak, threshold = self.notifications, self.peak, self.threshold
        return {
            "lane": self.lane,
            "key": self.key,
            **asdict(self.scope),
            "severity": self.severity,
            "state": self.state,
            "started_at": self.started_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
            "resolved_at": _iso(self.resolved_at),
            "first_notified_at": _iso(status.first_at),
            "last_notified_at": _iso(status.last_at),
            "observed": peak.observed,
            "expected": peak.expected,
            "posts": peak.posts,
            "share": peak.share,
            "expected_share": peak.expected_share,
            "lift": peak.lift,
            "score": peak.score,
            "tier": threshold.tier,
            "fire": threshold.fire,
            "false_alerts_per_key_week": threshold.false_alerts_per_key_week,
            "window_s": peak.window_s,
            "cold": peak.cold,
            "sequence": self.sequence,
            "related": list(self.related),
            "model": self.model,
            "query": self.query,
            "evidence": [post.to_json() for post in self.evidence],
            "terms": list(self.terms),
            "spread": self.source_profile.to_json() if self.source_profile else {},
            "series": self.series.to_json() if self.series else {},
            "last_hour": self.last_hour.to_json() if self.last_hour else {},
            "note": self.note,
            **_known({
                "false_alerts_low": threshold.false_alerts_low,
                "false_alerts_high": threshold.false_alerts_high,
                "counted": peak.counted,
                "share_low": peak.share_low,
                "share_high": peak.share_high,
                "negative_mean": peak.negative_mean,
                "other_mean": peak.other_mean,
                "notifications": None if status.deliveries is None else [d.to_json() for d in status.deliveries],
                "pending": None if status.pending is None else list(status.pending),
                "held": status.held,
                "unnotified": status.unnotified,
                "revision": self.revision,
                "false_alarm": self.false_alarm.to_json() if self.false_alarm else None,
                "loudest_voices": self.loudest_voices.to_json() if self.loudest_voices else None,
                "disputed": self.disputed or None,
            }),
            **self.unknown,
        }  # fmt: skip

    def to_json_with_id(self) -> JsonObject:
        """The document as lists and receivers give it."""
        return {**self.to_json(), "id": self.id}

    @classmethod
    def from_json(cls, alert_id: str, value: JsonObject) -> Alert:
        """Reads what any release wrote; raises `ValueError` for what is not an alert."""
        try:
            return cls._read(alert_id, JsonReader(value))
        except (KeyError, ValueError) as error:
            raise ValueError(f"alert {alert_id}: {type(error).__name__} {error}") from None

    @classmethod
    def _read(cls, alert_id: str, fields: JsonReader) -> Alert:
        """Takes every known field: what is left is unknown."""
        fields.text("id", "")
        started_at = fields.time("started_at")
        false_alarm, profile = fields.object("false_alarm"), fields.object("spread")
        series, last_hour = fields.object("series"), fields.object("last_hour")
        voices = fields.object("loudest_voices")
        return cls(
            id=alert_id,
            lane=fields.text("lane", NEGATIVE),
            key=fields.text("key", ""),
            scope=_scope(fields),
            severity=fields.text("severity", WARNING),
            state=fields.text("state", OPEN),
            started_at=started_at,
            updated_at=fields.time("updated_at", started_at),
            resolved_at=fields.time_or_none("resolved_at"),
            peak=_peak(fields),
            threshold=_threshold(fields),
            sequence=fields.whole("sequence", 0),
            related=fields.texts("related"),
            model=fields.text("model", ""),
            query=fields.text("query", ""),
            evidence=tuple(EvidencePost.from_json(post) for post in fields.objects("evidence")),
            terms=fields.texts("terms"),
            source_profile=SourceProfile.from_json(profile) if profile else None,
            series=Series.from_json(series) if series else None,
            last_hour=LastHour.from_json(last_hour) if last_hour else None,
            loudest_voices=LoudestVoices.from_json(voices) if voices else None,
            disputed=fields.flag("disputed", default=False),
            note=fields.text("note", ""),
            notifications=_status(fields),
            false_alarm=FalseAlarm.from_json(false_alarm) if false_alarm else None,
            revision=fields.whole_or_none("revision"),
            unknown=fields.rest,
        )


def _scope(fields: JsonReader) -> Scope:
    return Scope(fields.text("topic", ""), fields.text("subject", ""), fields.text("source", ""))


def _peak(fields: JsonReader) -> PeakCounts:
    return PeakCounts(
        observed=fields.whole("observed", 0),
        expected=fields.number("expected", 0.0),
        posts=fields.whole("posts", 0),
        share=fields.number_or_none("share"),
        expected_share=fields.number_or_none("expected_share"),
        lift=fields.number("lift", 0.0),
        score=fields.number("score", 0.0),
        window_s=fields.whole("window_s", 3600),
        cold=fields.flag("cold", default=False),
        counted=fields.whole_or_none("counted"),
        share_low=fields.number_or_none("share_low"),
        share_high=fields.number_or_none("share_high"),
        negative_mean=fields.number_or_none("negative_mean"),
        other_mean=fields.number_or_none("other_mean"),
    )


def _threshold(fields: JsonReader) -> AppliedThreshold:
    return AppliedThreshold(
        tier=fields.text("tier", ""),
        fire=fields.number("fire", 0.0),
        false_alerts_per_key_week=fields.number_or_none("false_alerts_per_key_week"),
        false_alerts_low=fields.number_or_none("false_alerts_low"),
        false_alerts_high=fields.number_or_none("false_alerts_high"),
    )


def _status(fields: JsonReader) -> NotificationStatus:
    reached_channels, listed = fields.has("notifications"), fields.has("pending")
    deliveries = tuple(Delivery.from_json(each) for each in fields.objects("notifications"))
    pending = fields.texts("pending")
    return NotificationStatus(
        first_at=fields.time_or_none("first_notified_at"),
        last_at=fields.time_or_none("last_notified_at"),
        deliveries=deliveries if reached_channels else None,
        pending=pending if listed else None,
        held=fields.text_or_none("held"),
        unnotified=fields.text_or_none("unnotified"),
    )


def _known(fields: JsonObject) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
