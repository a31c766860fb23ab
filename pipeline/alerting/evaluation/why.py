"""Why a key alerts or does not: the observation, each gate that is shut, and who was notified. Pure.

The answer is one JSON object (`explanation`), and a page of text made from it (`why_lines`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from pipeline.alerting.evaluation.negative_lane import KeyVerdict
from pipeline.domain.alert import Alert
from pipeline.domain.counting import BUCKET_S

#: Verdicts, as they stand in the JSON.
ALERTING, INHIBITED, FIRES, QUIET = "alerting", "inhibited", "fires", "no alert"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known besides the counts.

    `alert` is the newest document of the key that began by the time asked for, and `notified` describes the state of
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


def explanation(seen: KeyVerdict, around: Surroundings) -> dict[str, Any]:
    """`verdict` is one of this module's four; `reasons` are the gates that are shut, the deciding one first."""
    observation, best = seen.observation, max(seen.windows, key=lambda w: (w.score, w.window))
    evaluated = around.evaluated_to is not None and observation.at <= around.evaluated_to
    running = around.alert is not None and _open_at(around.alert, observation.at)
    inhibited_by = seen.inhibited_by or seen.subject_within
    if running or (seen.episode and not seen.episode.inhibited_by):
        verdict = ALERTING
    elif inhibited_by:
        verdict = INHIBITED
    else:
        verdict = FIRES if seen.fires else QUIET
    return {
        "key": seen.key,
        "at": observation.at.isoformat(),
        "verdict": verdict,
        "reasons": [{"gate": gate, "says": says} for gate, says in _reasons(seen, around, verdict, evaluated)],
        "observed": best.negatives,
        "posts": best.posts,
        "expected": round(best.expected, 2),
        "window_s": best.window * BUCKET_S,
        "usual_share": observation.baseline,
        "lift": round(best.negatives / (observation.baseline * best.posts), 2) if best.posts else 0.0,
        "score": observation.score,
        "fire": seen.threshold.fire,
        "tier": seen.tier,
        "cold": observation.cold,
        "rule": {k: v for k, v in asdict(seen.override).items() if k != "keys" and v is not None},
        "inhibited_by": inhibited_by,
        "learning": seen.learning,
        "windows": [
            {
                "window_s": w.window * BUCKET_S,
                "observed": w.negatives,
                "posts": w.posts,
                "expected": round(w.expected, 2),
                "score": round(w.score, 3),
                "shut": [
                    gate for gate, shut in (("min_negatives", w.few), ("min_lift", w.flat), ("cold", w.cold)) if shut
                ],
            }
            for w in seen.windows
        ],
        "evaluated": evaluated,
        "evaluated_to": around.evaluated_to.isoformat() if around.evaluated_to else None,
        "lag": dict(around.lag),
        "source_outage": list(around.outage),
        "alert": {"id": around.alert.id, "state": "open" if running else around.alert.state} if around.alert else None,
        "notified": around.notified,
        "days": [{"day": day, "posts": n, "observed": k} for day, (n, k) in around.days.items()],
    }


def _reasons(seen: KeyVerdict, around: Surroundings, verdict: str, evaluated: bool) -> list[tuple[str, str]]:
    found = _gates(seen, verdict)
    if verdict in {ALERTING, FIRES} and around.authors and around.authors[0] < around.authors[1]:
        wrote, needed = around.authors
        found.append(("min_authors", f"{wrote} of the {needed} authors that it takes wrote these posts"))
    if verdict == ALERTING and around.notified:
        found.append(("notification", around.notified))
    if not evaluated:
        to = f"has judged up to {_moment(around.evaluated_to)}" if around.evaluated_to else "has judged nothing yet"
        found.append(("evaluated", f"the alert role {to}: is 'opinionwatch run alert' up, and does it keep pace?"))
        found += [
            ("lag", f"{n} records of {partition} are not indexed yet") for partition, n in around.lag.items() if n
        ]
    if around.outage:
        found.append(("source_outage", f"no data from {', '.join(around.outage[:5])}"))
    if verdict == FIRES and evaluated:
        found.append(("late", "it fires on what the index holds now; some posts came after their hours were judged"))
    return found


def _gates(seen: KeyVerdict, verdict: str) -> list[tuple[str, str]]:
    """The gates that are shut, by the window with the highest score before gates."""
    fire, rule = seen.threshold.fire, seen.override
    best = max(seen.windows, key=lambda w: (w.score, w.window))
    shut: list[tuple[str, str]] = []
    if not rule.watch:
        shut.append(("watch", "alerts.overrides says watch = false for this key"))
    if verdict == INHIBITED:
        by = seen.inhibited_by
        shut.append(
            ("inhibited", f"the open alert {by} explains it: without the posts of that key this one does not fire")
            if by
            else ("subject_within", f"it rises only because {seen.subject_within} does: that key alerts")
        )
    if not best.posts:
        shut.append(("no_posts", "the key has no posts in the last 6 hours"))
    if best.few:
        shut.append(("min_negatives", f"{best.negatives} negatives: alerts.min_negatives asks for more"))
    if best.flat and best.posts:
        shut.append(("min_lift", "that is less above the usual share than alerts.min_lift asks for"))
    if best.cold:
        shut.append(("cold", "the key is younger than a week: it takes 50 posts, 40 % of them negative"))
    if seen.observation.score < fire and best.score < fire:
        source = "its rule" if rule.fire is not None else f"keys with {seen.tier}"
        shut.append(("threshold", f"score {best.score:.1f} is below {fire:.1f}, the threshold of {source}"))
    if seen.observation.score >= fire and rule.watch and not seen.admitted:
        shut.append(("rule", "its entry in alerts.overrides asks for more negatives or a higher lift"))
    return shut


def _open_at(alert: Alert, at: datetime) -> bool:
    return alert.resolved_at is None or at < alert.resolved_at


def why_lines(told: Mapping[str, Any]) -> list[str]:
    """The answer for a terminal.

    >>> why_lines({"key": "topic:a", "at": "2026-11-27T20:15:00+00:00", "verdict": "no alert", "reasons": [],
    ...     "observed": 3, "posts": 9, "expected": 2.0, "window_s": 3600, "usual_share": 0.2, "lift": 1.67,
    ...     "score": 0.0, "fire": 4.0, "windows": [], "days": [], "alert": None, "learning": True, "notified": ""})[:2]
    ['topic:a, 27 Nov 20:15 UTC: no alert', '  3 of 9 posts negative in 1 h, 2.0 expected, usual share 20 %']
    """
    lines = [
        f"{told['key']}, {_moment(datetime.fromisoformat(told['at']))}: {told['verdict']}",
        f"  {told['observed']} of {told['posts']} posts negative in {told['window_s'] // 3600} h, "
        f"{told['expected']:.1f} expected, usual share {told['usual_share']:.0%}".replace("%", " %"),
        f"  score {told['score']:.1f}, fires at {told['fire']:.1f}",
        *(f"  {reason['gate']}: {reason['says']}" for reason in told["reasons"]),
    ]
    if not told["learning"]:
        lines.append("  learning: the baseline is not learned from these hours, an episode ran")
    if told["alert"]:
        state = told["notified"] or "nothing is known of its messages"
        lines.append(f"  last alert: {told['alert']['id']}, {told['alert']['state']}; {state}")
    lines += [
        f"  {w['window_s'] // 3600} h: {w['observed']} of {w['posts']}, {w['expected']:.1f} expected, "
        f"score {w['score']:.1f}" + (f" (shut: {', '.join(w['shut'])})" if w["shut"] else "")
        for w in told["windows"]
    ]
    return lines + [
        f"  {day['day']}: {day['observed']} of {day['posts']} negative"
        + (f" ({day['observed'] / day['posts']:.0%})".replace("%", " %") if day["posts"] else "")
        for day in told["days"]
    ]


def near(key: str, known: Sequence[str]) -> list[str]:
    """Known keys that somebody may have meant.

    >>> near("Nova", ["topic:autos", "subject:Nova", "subject:Nova|topic:autos"])[0]
    'subject:Nova'
    """
    part = [k for k in sorted(known, key=len) if key.casefold() in k.casefold()]
    lower = {k.casefold(): k for k in known}
    close = [lower[k] for k in get_close_matches(key.casefold(), lower, n=5, cutoff=0.6)]
    return list(dict.fromkeys([*part, *close]))[:5]


def _moment(at: datetime) -> str:
    return f"{at:%d %b %H:%M} UTC"
