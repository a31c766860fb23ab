"""The sentiment toward each subject of a text, by a toy bundle on real runtimes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import load_bundle
from models.batching import FEW_SHAPES, mention_arrays
from models.bundle import BundleError
from models.drift import Watch, profile
from models.engine import OnnxEngine
from models.heads import TOWARD, TOWARD_LABELS, Head, Prediction, TargetPrediction, with_toward
from models.inference import Inference
from models.mentions import MAX_MENTIONS, Batch, Place
from models.runtimes import EngineError, Session
from models.tokenizer import MAX_TARGET_WINDOWS, BundleTokenizer
from pipeline.settings import STARTER
from tests.toy_bundle import toy_bundle, toy_graph, toy_manifest

TEXT = "Nova is terrible, but honestly I think that Kestrel is great"
MENTIONS = {"Nova": [(0, 4)], "Kestrel": [(44, 51)]}
TOKENIZER = (STARTER / "tokenizer.json").read_text("utf-8")


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OnnxEngine:
    return load_bundle(toy_bundle(tmp_path_factory.mktemp("toy")), device="cpu", runtime=request.param, threads=2)


def labels(prediction: Prediction) -> dict[str, str]:
    return {subject: toward.label for subject, toward in prediction.toward.items()}


def test_one_pass_judges_the_text_and_every_subject(engine: OnnxEngine) -> None:
    assert list(engine.heads) == ["sentiment"]
    assert engine.toward is not None
    tokens = engine.tokens
    (found,) = engine.predict([TEXT], [MENTIONS])
    assert engine.tokens - tokens == sum(map(len, engine.encode([TEXT]).rows[0])), "the text is read once"
    assert labels(found) == {"Nova": "negative", "Kestrel": "positive"}
    nova = found.toward["Nova"]
    assert tuple(nova.probabilities) == TOWARD_LABELS
    assert sum(nova.probabilities.values()) == pytest.approx(1)
    assert nova.score == nova.probabilities["negative"]
    assert not nova.whole_text
    assert found.heads == ("sentiment",)


def test_texts_with_and_without_mentions_share_batches(engine: OnnxEngine) -> None:
    texts = ["good", TEXT, "x" * 40, TEXT, f"so, {TEXT}", "bad " * 9] * 7
    mentions: list[Any] = [{}, MENTIONS, {}, {}, {"Kestrel": [(48, 55)]}, {"all": [(0, 3)]}] * 7
    found = engine.predict(texts, mentions)
    alone = [engine.predict([text], [spans])[0] for text, spans in zip(texts[:6], mentions[:6], strict=True)] * 7
    assert [labels(p) for p in found] == [labels(p) for p in alone]
    assert [p.label("sentiment") for p in found] == [p.label("sentiment") for p in alone]
    assert [p.label("sentiment") for p in found] == [p.label("sentiment") for p in engine.predict(texts)]
    assert engine.predict(texts)[1].toward == {}
    assert engine.predict([], []) == []


def test_a_part_of_what_was_encoded_keeps_its_mentions(engine: OnnxEngine) -> None:
    encoded = engine.encode(["good", TEXT, "bad"], [{}, MENTIONS, {}])
    first, second = engine.infer(encoded.only([2, 1]))
    assert first.toward == {}
    assert labels(second) == {"Nova": "negative", "Kestrel": "positive"}
    assert encoded.only([1]).mentions == [MENTIONS]


def test_several_mentions_count_by_the_mean_of_their_logits(engine: OnnxEngine) -> None:
    text = "Nova is terrible. Nova is great. Nova is great."
    spans = [(0, 4), (18, 22), (33, 37)]
    (found,) = engine.predict([text], [{"Nova": spans, **{str(i): [span] for i, span in enumerate(spans)}}])
    assert labels(found) == {"Nova": "positive", "0": "negative", "1": "positive", "2": "positive"}
    logits = np.mean([np.log(list(found.toward[str(i)].probabilities.values())) for i in range(3)], axis=0)
    expected = np.exp(logits) / np.exp(logits).sum()
    assert np.allclose(list(found.toward["Nova"].probabilities.values()), expected, atol=1e-5)


def test_a_mention_beyond_the_limit_gets_a_window_that_does_not_change_the_text(engine: OnnxEngine) -> None:
    dull = "the road works in the town hall took place on Tuesday " * 40
    text = f"good {dull}Nova is terrible {dull}"
    at = text.index("Nova")
    tokens = engine.tokens
    (found,) = engine.predict([text], [{"Nova": [(at, at + 4)], "first": [(0, 4)]}])
    assert engine.tokens - tokens <= 2 * 32
    assert labels(found) == {"Nova": "negative", "first": "positive"}
    assert not found.toward["Nova"].whole_text
    assert found.probabilities("sentiment") == engine.predict([text])[0].probabilities("sentiment")


def test_far_subjects_share_windows_and_windows_are_few(engine: OnnxEngine) -> None:
    dull = "the road works in the town hall took place on Tuesday " * 40
    text, mentions = "good " + dull, {}
    for i in range(8):
        for name in ("Nova", "Kestrel"):
            mentions[f"{name}{i}"] = [(len(text), len(text) + len(name))]
            text += f"{name} is {'bad' if name == 'Nova' else 'good'} "
        text += dull
    tokens = engine.tokens
    (found,) = engine.predict([text], [mentions])
    assert engine.tokens - tokens <= (1 + MAX_TARGET_WINDOWS) * 32
    assert len(found.toward) == 16
    judged = {name: toward for name, toward in found.toward.items() if not toward.whole_text}
    assert set(judged) == {f"{name}{i}" for i in range(4) for name in ("Nova", "Kestrel")}
    assert all(toward.label == ("negative" if name[0] == "N" else "positive") for name, toward in judged.items())
    assert found.toward["Nova7"].label == found.label("sentiment")


def test_a_mention_that_the_normalisation_removes_is_judged_by_the_whole_text(engine: OnnxEngine) -> None:
    text = "all of it is bad \u200b\u200b"
    (found,) = engine.predict([text], [{"Ghost": [(17, 19)], "None": []}])
    for toward in found.toward.values():
        assert toward.whole_text
        assert (toward.label, toward.score) == ("negative", found.score("sentiment"))


@pytest.mark.parametrize("how", ["head", "head_tail", "windows"])
def test_every_way_of_reading_long_texts_finds_the_mentions(how: Any, tmp_path: Path) -> None:
    engine = load_bundle(toy_bundle(tmp_path), device="cpu", long_texts=how)
    dull = "road works " * 30
    text = f"Nova is bad {dull} Kestrel is great {dull} Wren is bad"
    mentions = {name: [(text.index(name), text.index(name) + len(name))] for name in ("Nova", "Kestrel", "Wren")}
    (found,) = engine.predict([text], [mentions])
    assert labels(found) == {"Nova": "negative", "Kestrel": "positive", "Wren": "negative"}
    assert not any(toward.whole_text for toward in found.toward.values())


def test_a_batch_that_does_not_fit_is_halved_with_its_mentions(tmp_path: Path) -> None:
    engine = load_bundle(toy_bundle(tmp_path), device="cpu")
    texts, mentions = [f"{TEXT} {i}" for i in range(9)], [MENTIONS] * 9
    expected = [labels(p) for p in engine.predict(texts, mentions)]
    session = engine._inference.session

    def refuses(inputs: dict[str, Any]) -> Any:
        if len(inputs["input_ids"]) > 1:
            raise RuntimeError("Failed to allocate memory")
        return session.run(inputs)

    engine._inference.session = session._replace(run=refuses)
    assert [labels(p) for p in engine.predict(texts, mentions)] == expected


def test_runtimes_get_few_numbers_of_mentions_and_at_least_one() -> None:
    assert mention_arrays([]).tolist() == [[0], [0], [1]]
    assert {mention_arrays([(0, 1, 2)] * n, FEW_SHAPES.mentions).shape[1] for n in range(1, 65)} == {
        1, 8, 16, 32, 64,
    }  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=20), st.integers(2, 10))
def test_halves_of_a_batch_have_all_mentions_in_order(places: list[tuple[int, int]], rows: int) -> None:
    mentions = [Place(row % rows, start, start + 1) for row, start in sorted(places)]
    mentions.sort(key=lambda place: place.row)
    first, second = Batch([[i] for i in range(rows)], mentions).halves()
    half = len(first.rows)
    assert first.rows + second.rows == [[i] for i in range(rows)]
    assert first.mentions + [p._replace(row=p.row + half) for p in second.mentions] == mentions


PIECES = [
    "Nova", " is ", "terrible", "诺瓦手机", "坏了", "，", "Ｎｏｖａ", " ", "\n", "http://t.cn/A1 ", "@bob_and_more ",
    "é", "ﬁsh", "e\u0301", "\u3164", "😀", "x" * 70, "\u00a0", "  ", "㍿", "İ",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=40), st.data())
def test_tokens_of_a_mention_hold_its_characters(parts: list[str], data: st.DataObject) -> None:
    tokenizer = BUNDLED
    at = data.draw(st.integers(0, len(parts) - 1))
    start = len("".join(parts[:at]))
    text, span = "".join(parts), (start, start + len(parts[at]))
    ((rows, targets),) = tokenizer.encode_mentions([text], [{"s": [span]}])
    assert rows == tokenizer.encode([text])[0], "mentions do not change what is read"
    every = rows + targets.windows
    for place in targets.places["s"]:
        assert 0 < place.start < place.end < len(every[place.row]) <= 24
        if parts[at] in {"Nova", "terrible", "诺瓦手机", "坏了"} and place.end < len(every[place.row]) - 1:
            read = "".join(DECODED[i] for i in every[place.row][place.start : place.end])
            assert parts[at].lower() in read.replace("▁", "")


BUNDLED = BundleTokenizer(TOKENIZER, 24)
DECODED = {i: piece for piece, i in BUNDLED._tokenizer.get_vocab().items()}


def test_offsets_survive_the_normaliser_of_the_bundle() -> None:
    text = "  Ｎｏｖａ 手机 坏了 http://t.cn/A1?b=2 @bob_x  \u0130stanbul Nova\u3000诺瓦 e\u0301clair"
    words = ["Ｎｏｖａ", "手机", "坏了", "\u0130stanbul", "Nova", "诺瓦", "e\u0301clair"]
    tokenizer = BundleTokenizer(TOKENIZER, 128)
    spans = {word: [(text.index(word), text.index(word) + len(word))] for word in words}
    ((rows, targets),) = tokenizer.encode_mentions([text], [spans])
    read = {
        word: "".join(DECODED[i] for p in found for i in rows[p.row][p.start : p.end]).strip("▁")
        for word, found in targets.places.items()
    }
    assert read == {
        "Ｎｏｖａ": "nova", "手机": "手机", "坏了": "坏了", "\u0130stanbul": "istanbul", "Nova": "nova", "诺瓦": "诺瓦",
        "e\u0301clair": "eclair",
    }  # fmt: skip


def test_of_very_many_mentions_of_one_subject_the_first_are_judged(engine: OnnxEngine) -> None:
    text = "Nova " * 30
    spans = [(i * 5, i * 5 + 4) for i in range(30)]
    encoded = engine.encode([text], [{"Nova": spans}])
    assert 0 < len(encoded.targets[0].places["Nova"]) <= MAX_MENTIONS


def test_a_post_that_names_every_subject_takes_a_bounded_time() -> None:
    text = "Nova " * 60_000
    mentions = {str(i): [(at, at + 4) for at in range(5 * i, 5 * i + 100, 5)] for i in range(0, 50_000, 5)}
    started = time.process_time()
    ((rows, targets),) = BUNDLED.encode_mentions([text], [mentions])
    assert time.process_time() - started < 2
    assert len(rows) == 1
    assert len(targets.windows) == MAX_TARGET_WINDOWS
    assert len(targets.places) == 10_000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heads": [{"name": "toward", "labels": ["negative", "positive"], "temperature": 1}]},
         "head toward has the classes negative, positive; it must have negative, neutral, positive"),
        ({"heads": [{"name": "toward", "labels": ["positive", "neutral", "negative"], "temperature": 1}]},
         "it must have negative, neutral, positive, in this order"),
        ({"graph": toy_graph(toward=False)}, "has no input mention_row, no input mention_start, no input mention_end"),
        ({"toward": False, "graph": toy_graph()}, "but the manifest has no head toward"),
        ({"golden": toy_manifest(toward=False)["golden"]}, "no golden text checks head toward"),
        ({"heads": [*toy_manifest(toward=False)["heads"],
                    {"name": "toward", "labels": list(TOWARD_LABELS), "temperature": 1, "combine": "loudest"}]},
         "combine"),
        ({"golden": [{**toy_manifest()["golden"][0], "toward": [{"from": 0, "to": 4, "probabilities": [1, 0, 0]}]}]},
         "golden text 0, head 'toward': probability off"),
        ({"golden": [{**toy_manifest()["golden"][0], "toward": [{"from": 90, "to": 91, "probabilities": [1, 0, 0]}]}]},
         "the model reads no token at its mention number 0"),
    ],
)  # fmt: skip
def test_a_bundle_with_another_head_toward_is_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(toy_bundle(tmp_path, **fields), device="cpu")


def test_a_bundle_without_the_head_ignores_mentions(tmp_path: Path) -> None:
    engine = load_bundle(toy_bundle(tmp_path, toward=False), device="cpu")
    assert engine.toward is None
    (found,) = engine.predict([TEXT], [MENTIONS])
    assert found.toward == {}
    assert found.probabilities("sentiment") == engine.predict([TEXT])[0].probabilities("sentiment")


def test_a_graph_that_returns_another_number_of_mentions_is_an_error() -> None:
    def run(inputs: dict[str, Any]) -> Any:
        return [np.zeros((len(inputs["input_ids"]), 3), np.float32), np.zeros((1, 3), np.float32)]

    inference = Inference(lambda: Session(run, "short", 1), 16, toward=True)
    with pytest.raises(EngineError, match="toward 2 mentions"):
        inference.run([[1, 2]], [Place(0, 0, 1), Place(0, 1, 2)])


def test_the_whole_text_stands_in_only_where_its_classes_are_the_same() -> None:
    head = Head(TOWARD, TOWARD_LABELS)
    mood = Head("sentiment", ("bad", "good"))
    other = Prediction({"sentiment": mood}, {"sentiment": np.array([0.4, 0.6], np.float32)})
    with_toward([other], head, np.empty((0, 3), np.float32), [{"Nova": ()}])
    assert other.toward == {}


def test_the_cache_counts_the_predictions_toward_subjects() -> None:
    head = Head("mood", ("bad", "good"))
    toward = {str(i): TargetPrediction("neutral", 1.0, {"neutral": 1.0}) for i in range(10)}
    values = {"mood": np.array([0.4, 0.6], np.float32)}
    plain, judged = Prediction({"mood": head}, values), Prediction({"mood": head}, values, toward=toward)
    assert 10 * 400 <= judged.size_bytes() - plain.size_bytes() <= 10 * 800


def test_drift_is_watched_toward_subjects_as_well(engine: OnnxEngine) -> None:
    predictions = engine.predict([TEXT, "good"], [MENTIONS, {}])
    found = profile([TEXT, "good"], predictions, 0.0)
    assert found.classes[TOWARD] == {"negative": 0.5, "positive": 0.5}
    assert sum(found.confidence[TOWARD]) == pytest.approx(1)
    assert TOWARD not in profile(["good"], predictions[1:], 0.0).classes
    told: dict[str, float] = {}
    watch = Watch({TOWARD: {"negative": 1.0}, "sentiment": {"positive": 1.0}}, told.__setitem__, every=1)
    watch.add(predictions)
    assert set(told) == {TOWARD, "sentiment"}
