"""Small parts that every model uses: the cache, heads, truncation, tokens, shapes of batches."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer

from models import load_bundle, runtimes
from models.batching import FEW_SHAPES, GPU_SHAPES, balance_batches, by_length, padded
from models.bundle import HeadEntry
from models.cache import LruCache
from models.heads import Head, Prediction, predictions
from models.inference import memory_is_short
from models.runtimes import EngineError
from models.tokenizer import BundleTokenizer
from models.truncation import MAX_WINDOWS, pieces, reach
from pipeline.settings import STARTER

TOKENIZER = (STARTER / "tokenizer.json").read_text("utf-8")


def test_the_cache_keeps_what_weighs_exactly_its_capacity_and_nothing_heavier() -> None:
    cache: LruCache[str, int] = LruCache(10, lambda value: value)
    cache.put("a", 10)
    assert (cache.get("a"), cache.weight, len(cache)) == (10, 10, 1)
    cache.put("a", 11)
    assert cache.get("a") is None, "a value that does not fit leaves no older one in its place"
    assert (cache.weight, len(cache)) == (0, 0)


def test_what_was_used_last_stays() -> None:
    cache: LruCache[str, int] = LruCache(2)
    for key in ("a", "b"):
        cache.put(key, 1)
    cache.put("a", 2)
    cache.put("c", 3)
    assert [cache.get(key) for key in "abc"] == [2, None, 3]


@pytest.mark.parametrize(
    ("labels", "temperature", "words"),
    [(("a",), 1.0, "at least two labels, has 1"), (("a", "b", "a"), 1.0, "twice"), (("a", "b"), 0.0, "> 0")],
)
def test_a_head_that_cannot_be_one_is_refused(labels: tuple[str, ...], temperature: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Head("mood", labels, temperature)


def test_a_head_of_a_manifest_has_a_plain_name_and_a_temperature_up_to_100() -> None:
    assert HeadEntry(name="mood", labels=["a", "b"], temperature=100).temperature == 100
    for change in ({"temperature": 100.5}, {"temperature": 0}, {"labels": ["a"]}, {"name": "Mood"}, {"name": "m" * 41}):
        with pytest.raises(ValueError, match=next(iter(change))):
            HeadEntry(**{"name": "mood", "labels": ["a", "b"], "temperature": 1, **change})  # type: ignore[arg-type]


def test_probabilities_are_a_softmax_at_the_temperature_and_parts_of_a_text_are_averaged() -> None:
    heads = {"mood": Head("mood", ("bad", "good"), 2.0), "topic": Head("topic", ("x", "y", "z"))}
    logits = np.array([[4, 0, 1, 1, 3], [0, 2, 5, 0, 0], [1, 1, 0, 2, 0]], np.float32)

    def softmax(row: np.ndarray) -> np.ndarray:
        shares: np.ndarray = np.exp(row) / np.exp(row).sum()
        return shares

    first, second = predictions(heads, logits, [2, 1], "m", "7")
    mood = (softmax(logits[0, :2] / 2) + softmax(logits[1, :2] / 2)) / 2
    topic = (softmax(logits[0, 2:]) + softmax(logits[1, 2:])) / 2
    assert first.probabilities("mood") == pytest.approx(dict(zip(("bad", "good"), mood, strict=True)))
    assert first.probabilities("topic") == pytest.approx(dict(zip("xyz", topic, strict=True)))
    assert first.label("mood") == "bad"
    assert first.score("mood") == pytest.approx(mood[0])
    assert second.label("topic") == "y"
    assert second.probabilities("mood") == pytest.approx({"bad": 0.5, "good": 0.5})
    assert (first.model_name, first.model_version, first.heads) == ("m", "7", ("mood", "topic"))
    assert predictions(heads, np.empty((0, 5), np.float32), [], "m", "7") == []


def test_a_head_abstains_where_its_most_probable_class_is_improbable() -> None:
    heads = {"topic": Head("topic", ("x", "y"), abstain_below=0.75), "mood": Head("mood", ("bad", "good"))}
    probabilities = np.array([[0.75, 0.25], [0.74, 0.26]], np.float32)
    sure, unsure = (Prediction(heads, {"topic": row, "mood": row}) for row in probabilities)
    assert [sure.label("topic"), unsure.label("topic")] == ["x", "other"]
    assert unsure.most_probable("topic") == "x"
    assert unsure.score("topic") == pytest.approx(0.74)
    assert unsure.probabilities("topic") == pytest.approx({"x": 0.74, "y": 0.26})
    assert unsure.label("mood") == "bad", "the other heads of the text decide by themselves"


def test_a_person_may_answer_other_where_the_head_may() -> None:
    head = HeadEntry(name="topic", labels=["x", "y"], temperature=1)
    assert head.answers == ["x", "y"]
    assert head.model_copy(update={"abstain_below": 0.4}).answers == ["x", "y", "other"]
    own = HeadEntry(name="topic", labels=["x", "other"], temperature=1, abstain_below=0.4)
    assert own.answers == ["x", "other"]


def test_a_threshold_that_no_class_could_reach_is_refused() -> None:
    for value in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="abstain_below"):
            Head("topic", ("x", "y"), abstain_below=value)
        with pytest.raises(ValueError, match="abstain_below"):
            HeadEntry(name="topic", labels=["x", "y"], temperature=1, abstain_below=value)


def test_a_prediction_says_what_it_weighs_and_takes_the_largest_by_itself() -> None:
    heads = {"mood": Head("mood", ("bad", "good"))}
    small = Prediction(heads, {"mood": np.array([0.4, 0.6], np.float32)})
    large = Prediction(heads, {"mood": np.zeros(1000, np.float32)})
    assert small.label("mood") == "good"
    assert large.size_bytes() - small.size_bytes() == 998 * 4
    assert 800 < small.size_bytes() < 1200


def test_a_long_text_keeps_its_beginning_its_end_or_its_windows() -> None:
    ids = [1, *range(10, 30), 2]
    assert pieces(ids, 22, "head") == [ids]
    assert pieces(ids, 6, "head") == [[1, 10, 11, 12, 13, 2]]
    assert pieces(ids, 6, "head_tail") == [[1, 10, 11, 12, 29, 2]]
    assert pieces(ids, 10, "head_tail") == [[1, *range(10, 16), 28, 29, 2]]
    assert pieces(ids, 4, "head_tail") == [[1, 10, 29, 2]], "at least one token of the end"
    assert pieces(ids, 6, "windows") == [[1, *range(at, at + 4), 2] for at in (10, 14, 18, 22)]
    assert pieces(ids, 18, "windows") == [[1, *range(10, 26), 2], [1, *range(26, 30), 2]]
    assert MAX_WINDOWS == 4
    assert [reach("head"), reach("windows"), reach("head_tail")] == [1, 4, 8]


def test_as_much_of_a_text_is_tokenised_as_the_model_can_read() -> None:
    head, windows = BundleTokenizer(TOKENIZER, 16), BundleTokenizer(TOKENIZER, 16, "windows")
    assert [len(row) for row in head.encode(["good " * 500])[0]] == [16]
    assert [len(row) for row in windows.encode(["good " * 500])[0]] == [16] * 4
    assert head.encode(["x" * 191 + " good"]) == head.encode(["x" * 191 + " bad news"]), "twelve characters a token"
    assert len(head.encode(["good", "bad"])) == 2


def test_unknown_tokens_are_a_share_of_those_between_the_special_ones() -> None:
    tokenizer = BundleTokenizer(TOKENIZER, 16)
    assert tokenizer.unknown_share([]) == 0
    assert tokenizer.unknown_share([""]) == 0
    assert tokenizer.unknown_share(["good"]) == 0
    word, rare = ["good"], ["\U00013000"]
    known, unknown = (len(tokenizer.encode(text)[0][0]) - 2 for text in (word, rare))
    assert tokenizer.unknown_share(rare) == pytest.approx(1 / unknown)
    assert tokenizer.unknown_share([*word, *rare]) == pytest.approx(1 / (known + unknown))


def test_widths_are_the_next_of_few() -> None:
    steps = sorted({16 * whole + rest for whole in range(4) for rest in (0, 4, 8)} - {0} | {64})
    steps += [80, 96, 112, 128, *range(160, 600, 32)]
    assert [FEW_SHAPES.width(n) for n in range(1, 513)] == [next(s for s in steps if s >= n) for n in range(1, 513)]
    assert [GPU_SHAPES.width(n) for n in (1, 32, 33, 64)] == [32, 32, 64, 64]
    rows = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
    assert [FEW_SHAPES.rows(n) for n in range(1, 65)] == [max(r for r in rows if r <= n) for n in range(1, 65)]


def test_batches_fill_their_budget() -> None:
    assert list(by_length([4, 4, 4, 4], 8)) == [[0, 1], [2, 3]]
    assert list(by_length([1] * 7, 7, FEW_SHAPES.rows)) == [[0, 1, 2, 3, 4, 5], [6]]
    assert list(by_length([], 8)) == []


def test_streams_get_groups_alike() -> None:
    assert [len(g) for g in balance_batches([4] * 30, 40, 1)] == [10, 10, 10], "one stream needs no sharing"
    assert [len(g) for g in balance_batches([4] * 10, 40, 2)] == [5, 5]
    assert [len(g) for g in balance_batches([4], 40, 2)] == [1]
    assert [len(g) for g in balance_batches([10] * 6, 30, 3)] == [2, 2, 2]
    assert [len(g) for g in balance_batches([10] * 5, 40, 4)] == [4, 1], "five are not shared evenly by four"


def test_rows_are_padded_with_nothing_that_is_read() -> None:
    ids, mask = padded([[5], [6, 7, 8]], lambda width: width + 1)
    assert ids.tolist() == [[5, 0, 0, 0], [6, 7, 8, 0]]
    assert mask.tolist() == [[1, 0, 0, 0], [1, 1, 1, 0]]
    assert ids.dtype == mask.dtype == np.int64


def test_memory_that_is_short_is_told_by_what_runtimes_say() -> None:
    assert memory_is_short(MemoryError())
    assert memory_is_short(RuntimeError("CUDA error: device lost"))
    assert memory_is_short(RuntimeError("std::bad_alloc"))
    assert not memory_is_short(RuntimeError("shape mismatch"))


def test_a_tokenizer_that_was_saved_with_padding_pads_nothing() -> None:
    padding = Tokenizer.from_str(TOKENIZER)
    padding.enable_padding(length=16)
    short, long = BundleTokenizer(padding.to_str(), 16).encode(["good", "good news of a good phone"])
    assert len(short[0]) < len(long[0]) < 16


def test_a_runtime_is_chosen_by_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(runtimes, "_openvino", lambda *_: opened.append("openvino"))
    monkeypatch.setattr(runtimes, "_onnxruntime", lambda *_: opened.append("onnxruntime"))

    def choose(device: str, *, cuda: bool, standard: bool = True, runtime: str = "auto") -> str:
        monkeypatch.setattr(runtimes, "_has_cuda", lambda: cuda)
        runtimes.open_runtime(b"", device, runtime, 1, standard=standard)  # type: ignore[arg-type]
        return opened[-1]

    assert choose("auto", cuda=False) == "openvino"
    assert choose("cpu", cuda=True) == "openvino"
    assert choose("auto", cuda=True) == "onnxruntime", "a GPU goes before"
    assert choose("auto", cuda=False, standard=False) == "onnxruntime", "OpenVINO knows the standard's operators only"
    assert choose("auto", cuda=False, runtime="onnxruntime") == "onnxruntime"
    monkeypatch.setattr(runtimes, "find_spec", lambda _: None)
    assert choose("auto", cuda=False) == "onnxruntime"
    for device, standard, words in (("cpu", False, "operators of ONNX Runtime"), ("cuda", True, "runs on the CPU")):
        with pytest.raises(EngineError, match=words):
            choose(device, cuda=False, standard=standard, runtime="openvino")


def test_an_engine_on_a_cpu_that_was_asked_for_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    engine = load_bundle(STARTER, device="cpu", runtime="onnxruntime")
    assert engine.provider == "CPUExecutionProvider"
    assert caplog.text == ""
