"""Why a key alerts or does not: the observation, each gate that is shut, and the notifications. Pure.

An `Explanation` is either written as one JSON object or shown as a page of text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import NamedTuple

from models.json_types import JsonObject
from pipeline.alerting.detection.verdicts import WindowVerdict, best_window
from pipeline.alerting.evaluation.negative_lane import KeyVerdict
from pipeline.domain.alert import Alert
from pipeline.domain.counting import BUCKET_S

#: The outcomes, as they stand in the JSON.
ALERTING, INHIBITED, FIRES, QUIET = "alerting", "inhibited", "fires", "no alert"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known besides the counts.

    `alert` is the newest alert of the key that began by the time in question, and `notified` describes the state of
    its notifications. `lag` counts the records that wait per partition (`topic/partition`), and `outage` names the
    sources that send nothing. `authors` are the distinct authors of the posts and the required number, None where one
    is enough. `days` are posts and negatives per day, the oldest first. `evaluated_to` is the cursor of the alert role,
    None before its first evaluation.
    """

    alert: Alert | None
    notified: str
    lag: Mapping[str, int]
    outage: Sequence[str]
    authors: tuple[int, int] | None
    days: Mapping[str, tuple[int, int]]
    evaluated_to: datetime | None


class Reason(NamedTuple):
    """A gate that is shut, and a sentence about it."""

    gate: str
    says: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdict of the lane together with its surroundings."""

    verdict: KeyVerdict
    around: Surroundings

    @property
    def best(self) -> WindowVerdict:
        """The window with the highest score before gates."""
        return best_window(self.verdict.windows)

    @property
    def evaluated(self) -> bool:
        """Whether the alert role has evaluated that time already."""
        return self.around.evaluated_to is not None and self.verdict.observation.at <= self.around.evaluated_to

    @property
    def alert_was_open(self) -> bool:
        """Whether the alert of the key was open at that time."""
        alert = self.around.alert
        return alert is not None and (alert.resolved_at is None or self.verdict.observation.at < alert.resolved_at)

    @property
    def outcome(self) -> str:
        """`ALERTING`, `INHIBITED`, `FIRES` or `QUIET`."""
        episode = self.verdict.episode
        if self.alert_was_open or (episode and not episode.inhibited_by):
            return ALERTING
        if self.verdict.inhibited_by or self.verdict.subject_within:
            return INHIBITED
        return FIRES if self.verdict.fires else QUIET

    @property
    def reasons(self) -> list[Reason]:
        """The gates that are shut, the decisive one first."""
        return [*self._gates(), *self._circumstances()]

    def _gates(self) -> list[Reason]:
        verdict, best, fire = self.verdict, self.best, self.verdict.threshold.fire
        override = verdict.override
        shut: list[Reason] = []
        if not override.watch:
            says = "alerts.overrides has watch = false for this key, or does not name this key of posts without a topic"
            shut.append(Reason("watch", says))
        if self.outcome == INHIBITED and verdict.inhibited_by:
            says = f"alert {verdict.inhibited_by} inhibits it: without the posts of that key this one does not fire"
            shut.append(Reason("inhibited", says))
        elif self.outcome == INHIBITED:
            says = f"only the posts of {verdict.subject_within} make it rise, and that key alerts itself"
            shut.append(Reason("subject_within", says))
        if not best.posts:
            shut.append(Reason("no_posts", "the key has no posts in the last 6 hours"))
        if best.few:
            says = f"alerts.min_negatives requires more than {round(best.negatives, 1):g} negatives"
            shut.append(Reason("min_negatives", says))
        if best.flat and best.posts:
            shut.append(Reason("min_lift", "alerts.min_lift requires a higher share, compared with the usual one"))
        if best.cold:
            says = "the key is younger than a week and therefore needs 50 posts, 40 % of them negative"
            shut.append(Reason("cold", says))
        if verdict.observation.score < fire and best.score < fire:
            source = "its override" if override.fire is not None else f"keys with {verdict.tier}"
            says = f"score {best.score:.1f} is below {fire:.1f}, the threshold of {source}"
            shut.append(Reason("threshold", says))
        if verdict.observation.score >= fire and override.watch and not verdict.admitted:
            shut.append(Reason("rule", "its entry in alerts.overrides requires more negatives or a higher lift"))
        return shut

    def _circumstances(self) -> list[Reason]:
        around, outcome = self.around, self.outcome
        found: list[Reason] = []
        if outcome in {ALERTING, FIRES} and around.authors and around.authors[0] < around.authors[1]:
            wrote, needed = around.authors
            found.append(Reason("min_authors", f"{wrote} authors wrote these posts, and an alert needs {needed}"))
        if outcome == ALERTING and around.notified:
            found.append(Reason("notification", around.notified))
        if not self.evaluated:
            evaluated_to = around.evaluated_to
            to = f"has evaluated up to {_moment(evaluated_to)}" if evaluated_to else "has not evaluated anything yet"
            says = f"the alert role {to}; check that 'opinionwatch run alert' is running and keeps up"
            found.append(Reason("evaluated", says))
            waiting = {partition: n for partition, n in around.lag.items() if n}
            found += [Reason("lag", f"{n} records of {p} are not indexed yet") for p, n in waiting.items()]
        if around.outage:
            found.append(Reason("source_outage", f"no data from {', '.join(around.outage[:5])}"))
        if outcome == FIRES and self.evaluated:
            says = "it fires on what the index holds now; some posts came after the evaluation of their hours"
            found.append(Reason("late", says))
        return found

    def to_json(self) -> JsonObject:
        """The object that `alerts why --json` prints."""
        verdict, around, best = self.verdict, self.around, self.best
        observation, alert = verdict.observation, around.alert
        return {
            "key": verdict.key,
            "at": observation.at.isoformat(),
            "verdict": self.outcome,
            "reasons": [reason._asdict() for reason in self.reasons],
            "observed": round(best.negatives),
            "counted": best.counted,
            "estimate": self._estimate(),
            "posts": best.posts,
            "expected": round(best.expected, 2),
            "window_s": best.window * BUCKET_S,
            "usual_share": observation.baseline,
            "lift": round(best.negatives / (observation.baseline * best.posts), 2) if best.posts else 0.0,
            "score": observation.score,
            "fire": verdict.threshold.fire,
            "tier": verdict.tier,
            "cold": observation.cold,
            "rule": {k: v for k, v in asdict(verdict.override).items() if k != "keys" and v is not None},
            "inhibited_by": verdict.inhibited_by or verdict.subject_within,
            "learning": verdict.learning,
            "windows": [
                {
                    "window_s": window.window * BUCKET_S,
                    "observed": round(window.negatives),
                    "counted": window.counted,
                    "posts": window.posts,
                    "expected": round(window.expected, 2),
                    "score": round(window.score, 3),
                    "shut": _shut(window),
                }
                for window in verdict.windows
            ],
            "evaluated": self.evaluated,
            "evaluated_to": around.evaluated_to.isoformat() if around.evaluated_to else None,
            "lag": dict(around.lag),
            "source_outage": list(around.outage),
            "alert": {"id": alert.id, "state": self._alert_state(alert)} if alert else None,
            "notified": around.notified,
            "days": [{"day": day, "posts": n, "observed": k} for day, (n, k) in around.days.items()],
        }

    def lines(self) -> list[str]:
        """The page for a terminal."""
        verdict, around, best = self.verdict, self.around, self.best
        found = [
            f"{verdict.key}, {_moment(verdict.observation.at)}: {self.outcome}",
            f"  {best.negatives:.0f} of {best.posts} posts negative in {_hours(best)} h, {best.expected:.1f} expected, "
            f"usual share {_percent(verdict.observation.baseline)}",
            *self._estimate_lines(),
            f"  score {verdict.observation.score:.1f}, fires at {verdict.threshold.fire:.1f}",
            *(f"  {reason.gate}: {reason.says}" for reason in self.reasons),
        ]
        if not verdict.learning:
            found.append("  learning: the key does not learn from these hours, because an episode was open")
        if around.alert:
            notified = around.notified or "nothing is known of its notifications"
            found.append(f"  last alert: {around.alert.id}, {self._alert_state(around.alert)}; {notified}")
        found += [
            f"  {_hours(window)} h: {window.negatives:.0f} of {window.posts}, {window.expected:.1f} expected, "
            f"score {window.score:.1f}" + (f" (shut: {', '.join(shut)})" if (shut := _shut(window)) else "")
            for window in verdict.windows
        ]
        return found + [
            f"  {day}: {k} of {n} negative" + (f" ({_percent(k / n)})" if n else "")
            for day, (n, k) in around.days.items()
        ]

    def _estimate(self) -> JsonObject | None:
        """What the estimated negatives of the window rest on; None where labels are counted."""
        estimate = self.verdict.estimate
        return None if estimate is None else {name: round(value, 4) for name, value in asdict(estimate).items()}

    def _estimate_lines(self) -> list[str]:
        estimate = self.verdict.estimate
        if estimate is None:
            return []
        interval = f"{_percent(estimate.share_low)} to {_percent(estimate.share_high)}"
        return [f"  estimated: 80 % interval of the share {interval}; {self.best.counted} posts are labelled negative"]

    def _alert_state(self, alert: Alert) -> str:
        return "open" if self.alert_was_open else alert.state


def near(key: str, known: Sequence[str]) -> list[str]:
    """Known keys whose names resemble `key`, at most five.

    >>> near("Nova", ["topic:autos", "subject:Nova", "subject:Nova|topic:autos"])[0]
    'subject:Nova'
    """
    part = [k for k in sorted(known, key=len) if key.casefold() in k.casefold()]
    lower = {k.casefold(): k for k in known}
    close = [lower[k] for k in get_close_matches(key.casefold(), lower, n=5, cutoff=0.6)]
    return list(dict.fromkeys([*part, *close]))[:5]


def _shut(window: WindowVerdict) -> list[str]:
    """The gates of one window that are shut."""
    gates = (("min_negatives", window.few), ("min_lift", window.flat), ("cold", window.cold))
    return [gate for gate, shut in gates if shut]


def _hours(window: WindowVerdict) -> int:
    return window.window * BUCKET_S // 3600


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _moment(at: datetime) -> str:
    return f"{at:%d %b %H:%M} UTC"
