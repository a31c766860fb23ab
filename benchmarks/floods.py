"""`python -m benchmarks.floods`: what a few accounts can hide from the alert rule, and what they can make of nothing.

Twelve keys of the simulator for each cell of the tables, 100 posts an hour and 20 % of them negative. A *flood* adds
positive posts while the negatives are three times as many as usual for six hours; a *rant* adds negative posts while
nothing happens. The added posts are `volume` times the usual posts of six hours, evenly spread over the accounts.
People's own posts have an author each. The rule counts every post, and then at most a few of each voice
(`alerts.posts_per_voice`), by the function that the alert role uses.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from benchmarks.detector import TARGET
from benchmarks.simulator import BUCKET_S, SPIKE, START, Counts, Process, Simulated, joined, simulate
from models.families import families
from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.counting.voices import capped
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.backtest import calibrate, episodes, negative_scores, thresholds
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.domain.counting import Cell
from pipeline.domain.voices import Negativity, VoicePost

KEYS, POSTS_PER_H = 12, 100.0
ACCOUNTS, VOLUMES = (1, 10, 50, 500), (0.25, 0.75, 1.0, 2.0, 3.0)
_HOUR, _WEEKS = 3600 // BUCKET_S, 4
#: The rule reads the histories by the hour, which is a quarter of the work and finds the same.
_RULE = DetectorConfig.every(3600)
_STATEMENT = (
    "the battery of my phone lasts two full days and the camera takes wonderful pictures even at night, so I can only "
    "recommend this model to everybody who is looking for a new phone this year"
).split()


@dataclass(frozen=True)
class Manner:
    """How the accounts write: `lead` buckets before the crisis, for `length` buckets; `copies` differ in one word."""

    name: str
    lead: int = 0
    length: int = SPIKE
    copies: bool = False


MANNERS = (
    Manner("over the six hours"),
    Manner("sudden, within one hour", lead=0, length=_HOUR),
    Manner("slow, from two days before", lead=48 * _HOUR, length=48 * _HOUR + SPIKE),
    Manner("near-copies, an account each", copies=True),
)


def attack(rng: random.Random, manner: Manner, accounts: int, posts: int, *, negative: bool) -> Iterator[VoicePost]:
    """The posts of the accounts; bucket 0 is the first that they write in."""
    read = Negativity(negative, float(negative))
    for number in range(posts):
        author = f"account{number % accounts}"
        words = list(_STATEMENT)
        if manner.copies:
            author = f"account{number}"
            words[rng.randrange(len(words))] = f"other{rng.randrange(10**6)}"
        names = families(" ".join(words)) if manner.copies else ()
        bucket = rng.randrange(manner.length) * BUCKET_S
        yield VoicePost(f"{number:07}", bucket, "key", "forum", author, names, read, {})


def with_attack(case: Simulated, begins: Counts, manner: Manner, volumes: Sequence[tuple[int, float]], kind: str,
                most: int, seed: int) -> Simulated:  # fmt: skip
    """The case with an attack on each of its keys, key k by the accounts and the volume `volumes[k]`."""
    posts, negatives = case.history.posts.copy(), case.history.negatives.copy()
    for key, (accounts, volume) in enumerate(volumes):
        rng = random.Random(f"{seed} {kind} {manner.name} {key}")
        hours = max(1, (manner.length if manner.lead else SPIKE) // _HOUR)
        written = list(attack(rng, manner, accounts, round(volume * POSTS_PER_H * hours), negative=kind == "rant"))
        first = int(begins[key]) - manner.lead
        at = int(START.timestamp()) + first * BUCKET_S
        written = [post._replace(bucket=at + post.bucket) for post in written]
        for cell in _cells(written, most):
            posts[key, (cell.bucket - at) // BUCKET_S + first] += cell.posts
            negatives[key, (cell.bucket - at) // BUCKET_S + first] += cell.negatives
    return replace(case, history=replace(case.history, posts=posts, negatives=negatives))


def _cells(posts: Sequence[VoicePost], most: int) -> list[Cell]:
    """The counts of the posts, of each voice at most `most` (0: all)."""
    counts: dict[int, tuple[int, int]] = {}
    for post in posts:
        n, k = counts.get(post.bucket, (0, 0))
        counts[post.bucket] = n + 1, k + post.whole.negative
    cells = [Cell(bucket, "key", "", n, k, score_sum=float(k)) for bucket, (n, k) in counts.items()]
    return capped(cells, posts, most) if most else cells


def by_the_hour(history: CountHistory) -> CountHistory:
    posts, negatives = (a.reshape(len(a), -1, _HOUR).sum(2) for a in (history.posts, history.negatives))
    return CountHistory(history.keys, history.start, 3600, posts, negatives)


def alerted(case: Simulated, begins: Counts, by_tier: dict[str, Threshold]) -> list[bool]:
    """Whether each key alerts by the end of the sixth full hour after its bucket in `begins`."""
    history = by_the_hour(case.history)
    found = [False] * len(history.keys)
    scores = negative_scores(history, _RULE)
    for episode in episodes(history, scores, thresholds(history, 4.0, by_tier), Policy()):
        key = history.keys.index(episode.key)
        begin = START + timedelta(seconds=int(begins[key]) * BUCKET_S)
        found[key] |= timedelta(0) < episode.fired_at - begin <= timedelta(hours=7)
    return found


def table(
    kind: str, manner: Manner, by_tier: dict[str, Threshold], most: int, seed: int
) -> dict[tuple[int, float], int]:
    """How many of the keys alert, by number of accounts and volume."""
    process = Process("beta-binomial", POSTS_PER_H, step=True)
    cells = [(accounts, volume) for accounts in ACCOUNTS for volume in VOLUMES]
    case = joined([simulate(process, 3, seed + n, keys=KEYS, weeks=_WEEKS) for n in range(len(cells))])
    begins = case.spikes
    if kind == "rant":
        case = replace(
            joined([simulate(process, 1, seed + n, keys=KEYS, weeks=_WEEKS) for n in range(len(cells))]), spikes=begins
        )
    per_key = [cell for cell in cells for _ in range(KEYS)]
    found = alerted(with_attack(case, begins, manner, per_key, kind, most, seed), begins, by_tier)
    return {cell: sum(found[n * KEYS : (n + 1) * KEYS]) for n, cell in enumerate(cells)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floods")
    parser.add_argument("--most", type=int, nargs="+", default=[0, 3], help="posts per voice, 0: all")
    parser.add_argument("--seed", type=int, default=101)
    asked = parser.parse_args()
    quiet = by_the_hour(simulate(Process("beta-binomial", POSTS_PER_H, step=True), 1, 0, keys=120, weeks=6).history)
    by_tier = calibrate(quiet, negative_scores(quiet, _RULE), TARGET)
    print(f"threshold {max(t.fire for t in by_tier.values()):.1f}, {KEYS} keys per number; volumes: "
          f"{', '.join(f'+{v:.0%}' for v in VOLUMES)}")  # fmt: skip
    for kind, what in (("flood", "crises found"), ("rant", "alerts made")):
        for manner in MANNERS:
            print(f"{kind}, {manner.name}: {what}", flush=True)
            for most in asked.most:
                counts = table(kind, manner, by_tier, most, asked.seed)
                for accounts in ACCOUNTS:
                    row = "  ".join(f"{counts[accounts, volume]:2}" for volume in VOLUMES)
                    print(
                        f"  {accounts:4} accounts, {f'{most} a voice' if most else 'every post':10}  {row}", flush=True
                    )


if __name__ == "__main__":
    main()
