"""The limits of the classify role at their edges: backlog, dead letters, bugs, JSON."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from models.engine import Encoded
from models.heads import Prediction
from pipeline.classify.backlog import BacklogEstimator
from pipeline.classify.dead_letter_limit import DeadLetterLimit
from pipeline.classify.dead_lettering import DeadLettering
from pipeline.classify.isolation import BUG, MIN_BUGS, Bug, BugLimit, isolate_bugs, poison_of
from pipeline.classify.json_object import json_object, shown
from pipeline.classify.retries import Retries
from pipeline.classify.stage import ClassifyStage
from pipeline.classify.stage_order import StageOrder
from pipeline.classify.subjects import SubjectMatcher
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import Fatal, Poison, Transient
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import ScoredPost
from tests.builders import DummyClassifier, record


def test_the_backlog_is_what_waits_at_the_moving_average_less_the_preparation() -> None:
    backlog = BacklogEstimator()
    assert backlog.slack_s(0.0) == 0
    backlog.taken(100, now=0.0)
    backlog.prepared(0.2)
    backlog.inferred(100, 2.0, now=2.0)
    assert backlog.slack_s(2.0) == 0, "nothing waits"
    backlog.taken(50, now=10.0)
    assert backlog.slack_s(10.0) == pytest.approx(50 * 0.02 - 1.5 * 0.2)
    backlog.taken(50, now=10.5)
    assert backlog.slack_s(10.5) == pytest.approx(11.0 + 50 * 0.02 - 10.5 - 0.3), "the second waits for the first"
    backlog.inferred(50, 3.0, now=13.0)
    per_record = 0.02 + 0.3 * (0.06 - 0.02)
    assert backlog.slack_s(13.0) == pytest.approx(50 * per_record - 0.3)
    backlog.inferred(50, 0.0, now=20.0)
    assert backlog.slack_s(20.0) == 0
    backlog.inferred(0, 1.0, now=21.0)
    assert backlog.slack_s(21.0) == 0, "an empty batch divides by nothing"


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def test_a_share_of_poison_counts_from_a_thousand_records_on() -> None:
    limit = DeadLetterLimit(10**9, share=0.5, clock=Clock())
    limit.admit(999, 999)
    with pytest.raises(Fatal, match="1000 of the last 1000 records"):
        limit.admit(1, 1)
    limit = DeadLetterLimit(10**9, share=0.5, clock=Clock())
    limit.admit(500, 1000)
    limit.admit(0, 10)
    with pytest.raises(Fatal):
        limit.admit(300, 500)


def test_older_records_count_half_once_two_thousand_were_seen() -> None:
    limit = DeadLetterLimit(10**9, share=0.5, clock=Clock())
    limit.admit(0, 2000)
    limit.admit(999, 999)
    with pytest.raises(Fatal, match="1002 of the last 2002 records"):
        limit.admit(3, 3)


def test_the_limit_holds_for_letters_within_the_window_of_a_feed_that_is_not_healthy() -> None:
    clock = Clock()
    limit = DeadLetterLimit(10, share=1.0, window_s=60.0, clock=clock)
    limit.admit(10, 100)
    limit.admit(0, 100)
    with pytest.raises(Fatal, match="11 dead letters within 60 s"):
        limit.admit(1, 1)
    clock.s = 61
    limit.observe_total(0)
    limit.admit(10, 100)
    healthy = DeadLetterLimit(10, share=1.0, clock=Clock())
    healthy.admit(11, 1100)
    with pytest.raises(Fatal):
        healthy.admit(1, 1)


def test_letters_of_other_workers_count_as_they_were_observed_and_those_sent_since() -> None:
    clock = Clock()
    limit = DeadLetterLimit(1000, share=1.0, window_s=600.0, clock=clock)
    assert limit.needs_total(), "before the first letter"
    limit.observe_total(990)
    assert not limit.needs_total()
    limit.admit(10, 100)
    assert not limit.needs_total(), "a hundredth of the limit may go unobserved"
    clock.s = 10.1
    assert limit.needs_total(), "after a sixtieth of the window"
    clock.s = 0.0
    with pytest.raises(Fatal, match="1001 dead letters"):
        limit.admit(1, 10)
    limit.observe_total(0)
    limit.admit(11, 100)
    assert limit.needs_total(), "more than a hundredth of the limit"
    limit.observe_total(11)
    clock.s = 100.0
    assert not limit.needs_total(), "nothing was sent since"


def failing(bad: set[int]) -> tuple[list[int], object]:
    calls: list[int] = []

    def call(items: list[int]) -> list[int]:
        calls.append(len(items))
        if bad & set(items):
            raise ValueError("bad")
        return items

    return calls, call


def test_where_the_first_twenty_all_fail_no_item_is_at_fault() -> None:
    assert MIN_BUGS == 20
    _, call = failing(set(range(19)))
    found = isolate_bugs(list(range(40)), call)  # type: ignore[arg-type]
    assert [isinstance(item, Bug) for item in found] == [True] * 19 + [False] * 21
    assert cast("list[Any]", found[19:]) == list(range(19, 40))
    _, call = failing(set(range(20)))
    with pytest.raises(ValueError, match="bad"):
        isolate_bugs(list(range(40)), call)  # type: ignore[arg-type]
    _, call = failing(set(range(1, 40)))
    assert sum(isinstance(item, Bug) for item in isolate_bugs(list(range(40)), call)) == 39  # type: ignore[arg-type]
    assert isolate_bugs([], call) == []  # type: ignore[arg-type]


def test_only_the_exceptions_that_are_named_are_bugs_of_an_item() -> None:
    def call(items: object) -> list[int]:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        isolate_bugs([1], call, (ValueError,))


def bugs(count: int) -> list[Poison]:
    return [poison_of(Bug(ValueError(str(n))), "infer", "t/0/1") for n in range(count)]


def test_twenty_bugs_that_are_over_half_of_the_records_end_the_process() -> None:
    limit = BugLimit()
    limit.admit(bugs(19), 19)
    with pytest.raises(ValueError, match="0"):
        limit.admit(bugs(1), 1)
    limit = BugLimit()
    limit.admit(bugs(20), 40)
    with pytest.raises(ValueError, match="0"):
        limit.admit(bugs(1), 1)
    limit = BugLimit()
    limit.admit([], 200)
    limit.admit(bugs(99), 99)
    with pytest.raises(ValueError, match="2"):
        limit.admit(bugs(3), 3)
    limit = BugLimit()
    limit.admit([Poison("decode", "not_json")] * 100, 100)
    limit.admit(bugs(19), 19)


def test_a_bug_is_a_poison_that_names_its_exception() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        poison = poison_of(Bug(error), "infer", "t/0/1")
    assert (poison.stage, poison.reason, str(poison)) == ("infer", BUG, "infer: bug: KeyError")
    assert isinstance(poison.__cause__, KeyError)


def reason_of(value: bytes) -> str:
    with pytest.raises(Poison) as refused:
        json_object(value)
    assert refused.value.stage == "decode"
    return refused.value.reason


def test_a_value_may_have_a_million_bytes() -> None:
    room = 1_000_000 - len(b'{"a":""}')
    assert json_object(b'{"a":"' + b"x" * room + b'"}')["a"] == "x" * room
    assert reason_of(b'{"a":"' + b"x" * (room + 1) + b'"}') == "too_large"


def test_a_value_may_nest_thirty_two_levels() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)

    assert "a" in json_object(nested(32))
    assert reason_of(nested(33)) == "too_deep"
    assert json_object(b'{"a":' + b"[" * 31 + b"]" * 31 + b"}")
    assert reason_of(b'{"a":' + b"[" * 32 + b"]" * 32 + b"}") == "too_deep"
    assert reason_of(b"[" * 20_000) == "too_deep"


def test_a_value_may_hold_twenty_thousand_objects_and_arrays() -> None:
    assert json_object(b'{"a":[' + b"{}," * 19_997 + b"{}]}")["a"] == [{}] * 19_998
    assert reason_of(b'{"a":[' + b"{}," * 19_998 + b"{}]}") == "too_many_values"
    assert json_object(b'{"a":"' + b"[" * 30_000 + b'"}')["a"] == "[" * 30_000, "brackets of a text are none"


def test_numbers_are_read_as_they_are_written() -> None:
    assert json_object(b'{"a":1234567890123456789012}') == {"a": 1234567890123456789012}
    assert json_object(b'{"a":9007199254740993}') == {"a": 9007199254740993}
    assert json_object(b'{"a":1.5}') == {"a": 1.5}


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"[1]", "not_object"), (b"3", "not_object"), (b"", "not_json"), (b"{", "not_json"), (b'{"a":NaN}', "not_json"),
     (b'{"a":"\xff"}', "not_utf8"), (b'{"a":-Infinity}', "not_json")],
)  # fmt: skip
def test_what_is_no_object_says_why(value: bytes, reason: str) -> None:
    assert reason_of(value) == reason


def test_a_value_is_shown_by_its_first_characters() -> None:
    assert shown("手机爆炸", 2) == "手机"
    assert shown({"a": [1, "手"]}, 100) == '{"a": [1, "手"]}'
    assert shown({"a": [1, 2]}, 5) == json.dumps({"a": [1, 2]})[:5]
    assert shown(["x" * 50] * 1000, 3) == '["x'


class Silent:
    """A dead-letter topic that does not know what was sent before."""

    async def send(self, letter: object) -> None:
        pass

    async def sent_within(self, seconds: float) -> int | None:
        return None


def retries(waits: list[float]) -> Retries:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    return Retries(ThreadPoolExecutor(1), Metrics(CollectorRegistry()), sleep)


def test_what_a_topic_does_not_know_counts_as_no_letters() -> None:
    letters = DeadLettering(Silent(), DeadLetterLimit(1, 1.0, clock=Clock()), retries([]), Metrics(CollectorRegistry()))

    async def admit() -> None:
        await letters.admit(1, 10)
        with pytest.raises(Fatal, match="2 dead letters"):
            await letters.admit(1, 10)

    asyncio.run(admit())


def test_a_retry_is_logged_at_first_then_seldom_and_named_while_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    waits: list[float] = []
    kept = retries(waits)
    stalled: list[str | None] = []

    async def call() -> str:
        stalled.append(kept.stalled)
        if len(stalled) <= 22:
            raise Transient("away")
        return "there"

    assert asyncio.run(kept.run("index", call)) == "there"
    assert stalled == [None, *["away"] * 22]
    assert (kept.stalled, len(waits)) == (None, 22)
    said = [r.getMessage() for r in caplog.records if "retrying" in r.getMessage()]
    assert [message.split("attempt=")[1].split()[0] for message in said] == ["1", "4", "11", "21"]


def test_batches_that_wait_for_inference_are_told_of_before_they_are_prepared() -> None:
    clock = Clock()
    order, seen = StageOrder(clock), []

    async def batch(seconds: float) -> None:
        async def prepare() -> None:
            seen.append(round(order.slack_s(), 2))
            clock.s += 1.0

        async def infer(_: None) -> None:
            clock.s += seconds

        async def index(_: None) -> None:
            seen.append(round(order.slack_s(), 2))

        await order.run(10, prepare=prepare, infer=infer, index=index)

    async def both() -> None:
        await batch(20.0)
        await batch(20.0)

    asyncio.run(both())
    assert seen == [0.0, 0.0, 18.5, 0.0], "ten records at two seconds less one and a half preparations"


class Counting(DummyClassifier):
    """Each batch has ten tokens and six of padding."""

    def infer(self, encoded: Encoded) -> list[Prediction]:
        self.tokens += 10
        self.padded_tokens += 16
        return super().infer(encoded)


def stage(negative: tuple[str, ...] = ("negative",), head: str = "sentiment") -> tuple[ClassifyStage, Metrics]:
    metrics = Metrics(CollectorRegistry())
    counting = NegativeDefinition(head=head, negative=negative)
    return ClassifyStage(Counting(), SubjectMatcher({"Nova": ["nova"]}), counting, metrics, 1 << 20), metrics


def test_tokens_are_counted_beside_their_padding_and_a_text_of_the_cache_costs_none() -> None:
    made, metrics = stage()
    for _ in range(2):
        made.infer(made.prepare([record(1, text="good nova"), record(2, text="good nova"), record(3, text="bad")]))
    samples = {
        s.name + str(s.labels.get("outcome", "")): s.value for f in metrics.registry.collect() for s in f.samples
    }
    assert (samples["opinionwatch_tokens_total"], samples["opinionwatch_padding_tokens_total"]) == (10, 6)
    assert samples["opinionwatch_cache_lookups_totalmiss"] == 2
    assert samples["opinionwatch_cache_lookups_totalhit"] == 1 + 3


def scored_by(made: ClassifyStage, text: str) -> ScoredPost:
    ((_, post),) = made.finish(made.infer(made.prepare([record(1, text=text)])))
    assert isinstance(post, ScoredPost)
    return post


def test_the_negative_score_is_the_sum_over_the_classes_that_count_as_negative() -> None:
    assert scored_by(stage()[0], "bad nova").negative_score == pytest.approx(0.8)
    assert scored_by(stage(("negative", "nobody says so"))[0], "fine").negative_score == pytest.approx(0.1)
    assert scored_by(stage(("negative", "positive"))[0], "fine").negative_score == pytest.approx(0.2)
    assert scored_by(stage(("negative", "neutral", "positive"))[0], "fine").negative_score <= 1.0
    post = scored_by(stage()[0], "bad nova")
    assert (post.labels["sentiment"], post.subjects, post.model_name, post.model_version) == (
        "negative", ("Nova",), "dummy", "1",
    )  # fmt: skip
    assert post.scores["sentiment"] == pytest.approx(0.8)


def test_a_head_that_the_model_does_not_have_is_named_with_those_that_it_has() -> None:
    with pytest.raises(Fatal, match=r"'mood' is not a head of model dummy 1 \(topic, sentiment\)"):
        scored_by(stage(head="mood")[0], "fine")
