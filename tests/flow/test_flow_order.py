"""Batches overlap and never overtake; what the flow measures of them; what its cache may answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from models.engine import Encoded
from models.heads import Prediction
from pipeline.classify.codec import decode
from pipeline.classify.dead_letter_limit import DeadLetterLimit
from pipeline.classify.progress_tracker import ProgressTracker
from pipeline.classify.retries import Retries
from pipeline.classify.stage import ClassifyStage
from pipeline.classify.start_offsets import StartOffsets
from pipeline.classify.subjects import SubjectMatcher
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import Fatal
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import Outcome, ScoredPost
from pipeline.domain.progress import Progress
from pipeline.kafka.start_offset import PartitionBounds
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import HEADS, START, DummyClassifier, record
from tests.flow.test_flow import Recorder, Rig, records, run


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.executor.shutdown()
    made.store.close()


def test_batches_are_indexed_in_the_order_in_which_they_came_however_long_each_stage_takes(rig: Rig) -> None:
    """The second batch is inferred long before the first is indexed: it must wait for its turn."""
    rng, infer, index, order = random.Random(3), rig.classifier.infer, rig.store.index, list[int]()

    def slow_infer(encoded: Encoded) -> list[Prediction]:
        time.sleep(rng.choice([0.0, 0.02]))
        return infer(encoded)

    def slow_index(posts: Any, *more: Any) -> list[Outcome]:
        order.append(posts[0].post.origin.offset)
        time.sleep(rng.choice([0.0, 0.03]))
        return index(posts, *more)

    rig.classifier.infer = slow_infer  # type: ignore[method-assign]
    rig.store.index = slow_index  # type: ignore[method-assign, assignment]
    items = records(60)

    async def overlapping() -> None:
        await asyncio.gather(*(rig.flow.process(items[i : i + 5]) for i in range(0, 60, 5)))

    run(overlapping())
    assert order == list(range(0, 60, 5))
    told = [p.next_offset for p in rig.log.progress]
    assert told == sorted(told)


def test_a_batch_keeps_the_inference_turn_until_it_has_the_index_turn(rig: Rig) -> None:
    """Else the third batch could pass the second while both wait for the first one's write."""
    items, begun, begun_at_write = records(30), list[int](), list[int]()
    infer, index = rig.classifier.infer, rig.store.index

    def counted(encoded: Encoded) -> list[Prediction]:
        begun.append(len(begun))
        return infer(encoded)

    def blocked(posts: Any, *more: Any) -> list[Outcome]:
        time.sleep(0.05)
        begun_at_write.append(len(begun))
        return index(posts, *more)

    rig.classifier.infer = counted  # type: ignore[method-assign]
    rig.store.index = blocked  # type: ignore[method-assign, assignment]

    async def overlapping() -> None:
        await asyncio.gather(*(rig.flow.process(items[i : i + 10]) for i in (0, 10, 20)))

    run(overlapping())
    assert begun_at_write == [2, 3, 3], "the third batch is inferred only after the second has the index turn"


def test_the_age_of_the_oldest_post_of_a_batch_is_observed(rig: Rig) -> None:
    """`now` of the rig is START; the posts were published half an hour and ten minutes before it."""
    run(rig.flow.process([record(0, text="old", minute=-30), record(1, text="new", minute=-10)]))
    assert rig.value("published_to_indexed_seconds_count") == 1
    assert rig.value("published_to_indexed_seconds_sum") == 1800.0
    assert rig.value("received_to_indexed_seconds_count") == 1


def test_labels_of_the_model_before_are_not_served_from_the_cache(rig: Rig) -> None:
    class Newer(DummyClassifier):
        version = "2"

        @staticmethod
        def _one(text: str) -> Prediction:
            old = DummyClassifier._one(text)
            return Prediction(HEADS, {h: np.array([*old.probabilities(h).values()]) for h in HEADS}, "dummy", "2")

    classify_stage = ClassifyStage(rig.classifier, SubjectMatcher({}), NegativeDefinition(), rig.metrics, 1_000_000)

    def labelled(offset: int) -> ScoredPost:
        prepared = classify_stage.prepare([record(offset, text="bad nova")])
        [(_, scored)] = classify_stage.finish(classify_stage.infer(prepared))
        assert isinstance(scored, ScoredPost)
        return scored

    assert [labelled(0).model_version, labelled(1).model_version] == ["1", "1"]
    assert rig.classifier.texts == ["bad nova"], "the second answer is the cache's"
    classify_stage.classifier = newer = Newer()
    assert labelled(2).model_version == "2"
    assert newer.texts == ["bad nova"]


def test_a_share_of_dead_letters_stops_a_worker_long_before_its_limit() -> None:
    guard = DeadLetterLimit(1_000_000, 0.5)
    for _ in range(20):
        guard.admit(40, 100)
    with pytest.raises(Fatal, match="dead-letter limit"):
        for _ in range(20):
            guard.admit(90, 100)


def test_posts_that_the_store_rejects_count_against_the_dead_letter_limit(tmp_path: Path) -> None:
    made = Rig(tmp_path, limit=2)
    made.store.rejected = {0, 1, 2}
    with pytest.raises(Fatal, match="dead-letter limit"):
        run(made.flow.process([record(n, text=f"t{n}") for n in range(5)]))
    assert made.dead.letters == [], "the limit is checked before the first letter is sent"
    made.executor.shutdown()
    made.store.close()


def test_records_of_a_topic_that_was_created_again_count_in_its_own_progress(tmp_path: Path) -> None:
    """The ledger was loaded again after a rebalance: it has only the former log."""
    store, metrics, executor = (
        SqliteStore(tmp_path / "store.sqlite"),
        Metrics(CollectorRegistry()),
        ThreadPoolExecutor(1),
    )
    store.setup()
    former = Progress("opinion.forum", 0, 5, 5, START, indexed=5, log="c/1", reported_at=START)
    store.save_progress([former])
    topic, retries = Recorder(), Retries(executor, metrics, asyncio.sleep)
    topic.partition_count = {"opinion.forum": 3}.__getitem__  # type: ignore[method-assign, assignment]
    tracker = ProgressTracker(
        store=store,
        topic=topic,
        start_offsets=StartOffsets("stop", metrics),
        retries=retries,
        metrics=metrics,
        horizon=lambda: START + timedelta(days=1),
        now=lambda: START,
    )
    items = [record(n, text=f"t{n}") for n in range(3)]

    async def replaced() -> None:
        bounds = {("opinion.forum", 0): PartitionBounds(5, 0, 3, "c/2")}
        assert await tracker.resolve(bounds) == {("opinion.forum", 0): 0}
        tracker.take(items)
        assert tracker.in_flight == 3
        tracker.invalidate()
        await tracker.record([(item, Outcome.INDEXED, decode(item)) for item in items])

    run(replaced())
    assert tracker.in_flight == 0
    (said,) = topic.progress
    assert (said.log, said.next_offset, said.indexed, said.partitions, said.in_flight) == ("c/2", 3, 3, 3, 0)
    assert {p.log: p.indexed for p in store.all_progress()} == {"c/1": 5, "c/2": 3}
    executor.shutdown()
    store.close()
