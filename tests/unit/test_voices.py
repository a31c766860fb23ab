"""No voice is loud: what one author, or one family of near-copies, counts at most."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pipeline.alerting.counting.overlap import counts_outside
from pipeline.alerting.counting.table import CountTable, scopes_of
from pipeline.alerting.counting.voices import WINDOW_S, capped, window_start
from pipeline.domain.counting import BUCKET_S, Cell, Scope
from pipeline.domain.voices import Negativity, VoicePost

SOURCES = ("weibo",)
_READ = st.builds(Negativity, st.booleans(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
_POSTS = st.lists(
    st.builds(
        VoicePost,
        id=st.uuids().map(str),
        bucket=st.integers(0, 3 * WINDOW_S // BUCKET_S - 1).map(lambda number: number * BUCKET_S),
        topic=st.sampled_from(["autos", "tech"]),
        source=st.sampled_from(["weibo", "forum"]),
        author=st.sampled_from(["", "ann", "bob"]),
        families=st.lists(st.sampled_from(["f0", "f1", "f2"]), max_size=3, unique=True).map(tuple),
        whole=_READ,
        toward=st.dictionaries(st.sampled_from(["Nova", "Kestrel"]), _READ, max_size=2),
    ),
    max_size=40,
    unique_by=lambda post: post.id,
)
_MOST = st.integers(1, 4)


def cells_of(posts: Sequence[VoicePost], sources: Sequence[str] = SOURCES) -> list[Cell]:
    """What a store counts of these posts."""
    found: dict[tuple[int, str, str, str], list[float]] = {}
    for post in posts:
        places = [((post.bucket, post.topic, "", ""), post.whole)]
        places += [((post.bucket, post.topic, subject, ""), read) for subject, read in post.toward.items()]
        if post.source in sources:
            places += [((post.bucket, post.topic, "", post.source), post.whole)]
            places += [((post.bucket, "", subject, post.source), read) for subject, read in post.toward.items()]
        for place, read in places:
            sums = found.setdefault(place, [0, 0, 0.0])
            for at, value in enumerate((1, read.negative, read.score)):
                sums[at] += value
    return [
        Cell(bucket, topic, subject, int(n), int(k), source, total)
        for (bucket, topic, subject, source), (n, k, total) in found.items()
    ]


def per_key(cells: Sequence[Cell]) -> dict[tuple[int, Scope], tuple[int, int, float]]:
    """Posts, negatives and score sums by window and key."""
    found: dict[tuple[int, Scope], tuple[int, int, float]] = {}
    for cell in cells:
        for scope in scopes_of(cell):
            key = window_start(cell.bucket), scope
            before = found.get(key, (0, 0, 0.0))
            found[key] = before[0] + cell.posts, before[1] + cell.negatives, before[2] + cell.score_sum
    return found


@given(_POSTS, _MOST)
def test_capping_only_takes_away_and_leaves_sound_counts(posts: list[VoicePost], most: int) -> None:
    before = cells_of(posts)
    after = capped(before, posts, most, SOURCES)
    assert len(before) == len(after)
    for was, cell in zip(before, after, strict=True):
        assert (was.bucket, was.topic, was.subject, was.source) == (cell.bucket, cell.topic, cell.subject, cell.source)
        assert 0 <= cell.negatives <= cell.posts <= was.posts
        assert cell.negatives <= was.negatives
        assert 0.0 <= cell.score_sum <= min(was.score_sum + 1e-9, cell.posts)


@given(_POSTS, _MOST)
def test_no_voice_counts_more_than_the_most(posts: list[VoicePost], most: int) -> None:
    """A feed of one author alone is a key with at most that number of posts."""
    for voice in ("ann", "bob"):
        mine = [post for post in posts if post.author == voice]
        for n, _, _ in per_key(capped(cells_of(mine), mine, most, SOURCES)).values():
            assert n <= most
    for family in ("f0", "f1", "f2"):
        mine = [post for post in posts if family in post.families]
        for n, _, _ in per_key(capped(cells_of(mine), mine, most, SOURCES)).values():
            assert n <= most


@given(_POSTS, _MOST)
def test_nothing_changes_where_no_voice_is_loud(posts: list[VoicePost], most: int) -> None:
    counted: Counter[tuple[int, str]] = Counter()
    quiet = []
    for post in posts:
        taken = [(window_start(post.bucket), voice) for voice in post.voices]
        if all(counted[one] < most for one in taken):
            counted.update(taken)
            quiet.append(post)
    cells = cells_of(quiet)
    assert capped(cells, quiet, most, SOURCES) == cells


@given(_POSTS, _MOST, st.randoms(use_true_random=False))
def test_the_order_of_the_posts_does_not_matter(posts: list[VoicePost], most: int, rng: random.Random) -> None:
    cells, shuffled = cells_of(posts), [*posts, *posts[:3]]
    rng.shuffle(shuffled)
    assert capped(cells, posts, most, SOURCES) == capped(cells, shuffled, most, SOURCES)


@given(_POSTS, _MOST)
def test_only_the_posts_of_loud_voices_need_to_be_known(posts: list[VoicePost], most: int) -> None:
    """A store reports the voices that have more than `most` posts of a key in a window; the others change nothing."""
    written: Counter[tuple[int, Scope, str]] = Counter()
    for post in posts:
        scopes = [Scope(post.topic), Scope("", "", post.source), *(Scope("", subject) for subject in post.toward)]
        written.update((window_start(post.bucket), scope, voice) for scope in scopes for voice in post.voices)
    loud = {(window, voice) for (window, _, voice), n in written.items() if n > most}
    reported = [post for post in posts if any((window_start(post.bucket), voice) in loud for voice in post.voices)]
    cells = cells_of(posts)
    assert capped(cells, posts, most, SOURCES) == capped(cells, reported, most, SOURCES)


@given(_POSTS, _MOST)
def test_posts_of_nobody_stay(posts: list[VoicePost], most: int) -> None:
    nobody = [post._replace(author="", families=()) for post in posts]
    cells = cells_of(nobody)
    assert capped(cells, nobody, most, SOURCES) == cells


def test_the_first_posts_count_and_the_next_window_begins_again() -> None:
    reads = [Negativity(True, 1.0), Negativity(False, 0.25)]
    posts = [
        VoicePost(f"{i:03}", i * BUCKET_S, "autos", "forum", "ann", (), reads[i % 2], {"Nova": reads[(i + 1) % 2]})
        for i in range(2 * WINDOW_S // BUCKET_S)
    ]
    after = per_key(capped(cells_of(posts), posts, 3))
    assert {key: value[:2] for key, value in after.items()} == {
        (window, scope): counts
        for window in (0, WINDOW_S)
        for scope, counts in (
            (Scope("autos"), (3, 2)),
            (Scope("", "Nova"), (3, 1)),
            (Scope("autos", "Nova"), (3, 1)),
        )
    }


def test_an_author_of_one_subject_is_still_heard_on_another() -> None:
    bad = Negativity(True, 1.0)
    posts = [VoicePost(f"{i}", 0, "autos", "forum", "ann", (), bad, {"Nova": bad}) for i in range(9)]
    posts += [VoicePost(f"x{i}", 0, "tech", "forum", "ann", (), bad, {"Kestrel": bad}) for i in range(2)]
    found = per_key(capped(cells_of(posts), posts, 3))
    assert found[0, Scope("", "Nova")] == (3, 3, 3.0)
    assert found[0, Scope("", "Kestrel")] == (2, 2, 2.0)


def test_a_rant_spread_over_topics_counts_once_for_its_subject() -> None:
    bad = Negativity(True, 1.0)
    posts = [VoicePost(f"{i:02}", 0, f"topic{i}", "forum", "ann", (), bad, {"Nova": bad}) for i in range(14)]
    found = per_key(capped(cells_of(posts), posts, 3))
    assert found[0, Scope("", "Nova")] == (3, 3, 3.0)
    assert sum(n for (_, scope), (n, _, _) in found.items() if scope.topic and scope.subject) == 3


def test_what_a_topic_has_outside_a_subject_has_no_more_negatives_than_posts() -> None:
    """The author counts for the topic by what is not about Nova, and for Nova by what comes later."""
    bad, good = Negativity(True, 1.0), Negativity(False, 0.0)
    posts = [VoicePost(f"a{i}", 0, "autos", "forum", "ann", (), bad, {}) for i in range(3)]
    posts += [VoicePost(f"b{i}", 0, "autos", "forum", "ann", (), good, {"Nova": good}) for i in range(3)]
    table = CountTable(1)
    table.advance(BUCKET_S)
    table.refill(capped(cells_of(posts), posts, 3), 0)
    assert counts_outside(table, Scope("autos"), Scope("", "Nova"), slice(0, 1)) == (0, 0, 0.0)
