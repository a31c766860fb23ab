"""Posts from clocks that are ahead move nobody's verdict: a crisis is told as soon as without them."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.alerting.counting.watermark import Watermark
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.classify.codec import decode
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.ledger import Ledger
from pipeline.domain.post import Outcome, Record, ScoredPost
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, record, scored

DAYS = 9
BEGIN = DAYS * 1440
CRISIS = BEGIN + 120


def minutes_to_the_alert(folder: Path, ahead: int, every: int, *, producer: bool) -> int:
    """Posts are indexed as they come; one in `every` minutes has a clock `ahead` minutes ahead.

    With `producer` it is the producer's clock, which stamps the record.
    """
    rng = random.Random(5)
    store = SqliteStore(folder / "s.sqlite")
    store.setup()

    def post(n: int, minute: float, negative: float) -> ScoredPost:
        sentiment = "negative" if rng.random() < negative else "neutral"
        return scored(n, minute=minute, text=f"t{n}", sentiment=sentiment, subjects=["Nova"])

    past = sorted(rng.uniform(0, BEGIN) for _ in range(DAYS * 24 * 20))
    store.index([post(n, at, 0.15) for n, at in enumerate(past)], START, 1)
    evaluator = Evaluator(store, NegativeDefinition(), DetectorConfig(), Policy())
    evaluator.resume()
    list(evaluator.advance(START + timedelta(minutes=BEGIN)))
    mark, ledger, n = Watermark(15.0, ["opinion.forum"]), Ledger({}), len(past)
    for minute in range(BEGIN, CRISIS + 90):
        came = [minute + rng.random() for _ in range(rng.choice([0, 1]))]
        batch = [(post(n + i, at, 0.15), 0) for i, at in enumerate(came)]
        if minute >= CRISIS:
            batch += [(post(n + 10 + i, minute + rng.random(), 1.0), 0) for i in range(2)]
        if every and minute % every == every - 1:
            batch.append((scored(n + 20, minute=minute + ahead, text=f"t{n}", sentiment="neutral"), ahead))
        store.index([item for item, _ in batch], START, 1)
        now = START + timedelta(minutes=minute + 1)
        for offset, (item, fast) in enumerate(batch, n):
            stamped = record(offset, minute=minute + (fast if producer else 0))
            published = item.post.event_time.isoformat()
            came_in: Record = record(offset, published_at=published)._replace(timestamp_ms=stamped.timestamp_ms)
            ledger.record([(came_in, Outcome.INDEXED, decode(came_in))], now)
        n += 30
        ledger.select_log(("opinion.forum", 0), "cluster/1f")
        mark.update(
            [ledger.report(("opinion.forum", 0), end_offset=n, in_flight=0, partitions=1, position=n)], minute * 60
        )
        if (reached := mark.at(minute * 60.0)) is None:
            continue
        for events in evaluator.advance(reached):
            evaluator.save()
            if minute >= CRISIS and any(e.transition.value == "opened" for e in events):
                return minute - CRISIS
    raise AssertionError("never told")


@pytest.mark.parametrize("producer", [False, True])
@pytest.mark.parametrize(("ahead", "every"), [(30, 30), (59, 60), (7, 5), (10**7, 10)])
def test_a_crisis_is_told_as_soon_as_without_clocks_that_are_ahead(
    tmp_path: Path, ahead: int, every: int, producer: bool
) -> None:
    told = minutes_to_the_alert(tmp_path, ahead, every, producer=producer)
    assert told <= 20
