"""Whether an alert depends on its loudest voices: the counts of its window with and without them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pipeline.alerting.counting.table import scopes_of
from pipeline.alerting.detection.tail import exceeds_lift
from pipeline.alerting.evaluation.episodes import Observation
from pipeline.domain.alert import VOLUME
from pipeline.domain.alert_voices import LoudestVoices
from pipeline.domain.counting import Cell, Scope
from pipeline.domain.voices import VoicePost

#: A surge is this many times the usual posts, as in the volume rule.
_SURGE = 2.0


def loudest_voices(scope: Scope, cells: Iterable[Cell], posts: Iterable[VoicePost], least: int) -> LoudestVoices | None:
    """The voices with at least `least` posts of the key, and the counts without them; None where there are none.

    `cells` count every post of the window, and `posts` are all posts of the voices that are so loud.
    """
    mine = [post for post in posts if post.belongs_to(scope)]
    written = Counter(voice for post in mine for voice in post.voices)
    loudest = {voice for voice, count in written.items() if count >= least}
    if not loudest:
        return None
    counted = [cell for cell in cells if scope in scopes_of(cell)]
    n, k = sum(cell.posts for cell in counted), sum(cell.negatives for cell in counted)
    theirs = [post.read_for(scope) for post in mine if not loudest.isdisjoint(post.voices)]
    without = max(0, n - len(theirs))
    return LoudestVoices(
        authors=sum(voice.startswith("author ") for voice in loudest),
        families=sum(voice.startswith("family ") for voice in loudest),
        posts=n,
        negatives=k,
        posts_without=without,
        negatives_without=min(without, max(0, k - sum(read.negative for read in theirs))),
    )


def is_disputed(lane: str, peak: Observation, voices: LoudestVoices | None, min_lift: float) -> bool:
    """Whether the counts of all posts and those without the loudest voices disagree on whether there is a rise."""
    if voices is None:
        return False
    if lane == VOLUME:
        return (voices.posts >= _SURGE * peak.expected) != (voices.posts_without >= _SURGE * peak.expected)
    every, without = exceeds_lift(
        [voices.negatives, voices.negatives_without], [voices.posts, voices.posts_without], peak.baseline, min_lift
    ).tolist()
    return (every and voices.negatives > 0) != (without and voices.negatives_without > 0)
