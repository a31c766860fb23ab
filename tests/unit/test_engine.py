"""The engine: long texts, memory that runs out, answers that do not depend on batch mates."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import load_bundle
from models.batching import GPU_SHAPES
from models.cache import LruCache
from models.engine import OnnxEngine, usable_cores
from models.graph import MENTION_INPUTS
from models.inference import OutOfMemoryError
from models.runtimes import CUDA_PROVIDER, OUTPUTS, EngineError, Session, bound, open_runtime
from models.truncation import MAX_WINDOWS, pieces
from pipeline.settings import STARTER

TEXTS = ["good", "手机坏了，客服不回复", "a longer text about a hotel that was fine " * 3, "x"]


@given(
    st.lists(st.integers(5, 99), max_size=200), st.integers(5, 40), st.sampled_from(["head", "head_tail", "windows"])
)
def test_pieces_fit_keep_the_ends_and_read_in_order(inner: list[int], room: int, how: Any) -> None:
    found = pieces([1, *inner, 2], room, how)
    assert all(2 <= len(p) <= room and (p[0], p[-1]) == (1, 2) for p in found)
    read = [i for p in found for i in p[1:-1]]
    if len(inner) + 2 <= room:
        assert read == inner
    elif how == "head":
        assert read == inner[: room - 2]
    elif how == "windows":
        assert read == inner[: MAX_WINDOWS * (room - 2)]
    else:
        assert len(found) == 1
        assert read[-1] == inner[-1]
        assert read[0] == inner[0]


@pytest.fixture(scope="module")
def engine() -> OnnxEngine:
    return load_bundle(STARTER, device="cpu")


def test_labels_do_not_depend_on_batch_mates(engine: OnnxEngine) -> None:
    alone = [engine.predict([t])[0] for t in TEXTS]
    for prediction, one in zip(engine.predict(TEXTS * 5), alone * 5, strict=True):
        for head in one.heads:
            got, expected = (list(p.probabilities(head).values()) for p in (prediction, one))
            assert np.allclose(got, expected, atol=1e-4), "scales are fixed, and padding is masked"
            assert prediction.label(head) == one.label(head)


@pytest.mark.parametrize("how", ["head_tail", "windows"])
def test_the_end_of_a_long_text_can_be_read(how: Any) -> None:
    plain, observation = load_bundle(STARTER, device="cpu"), load_bundle(STARTER, device="cpu", long_texts=how)
    dull = "The meeting about the schedule of the road works took place on Tuesday in the town hall. " * 12
    angry = dull + "Awful, the worst disaster ever, I hate this terrible broken company, shame on them! " * 5
    before, after = (e.predict([angry])[0].probabilities("sentiment")["negative"] for e in (plain, observation))
    assert after > before + 0.1
    assert plain.predict(["good"])[0].score("sentiment") == observation.predict(["good"])[0].score("sentiment")


ARENA_FULL = "Failed to allocate memory for requested buffer of size 1"
LIMIT_REACHED = "Available memory of 9 is smaller than requested bytes of 10"


def short_of_memory(run: Any, rows: int, says: str = ARENA_FULL) -> Any:
    """Stands for a device with memory for `rows` texts."""

    def refuses(inputs: dict[str, Any]) -> Any:
        if len(inputs["input_ids"]) > rows:
            raise RuntimeError(says)
        return run(inputs)

    return refuses


@pytest.mark.parametrize(("rows", "says"), [(1, ARENA_FULL), (3, LIMIT_REACHED)])
def test_a_batch_that_does_not_fit_is_halved(rows: int, says: str) -> None:
    engine = load_bundle(STARTER, device="cpu")
    expected = [p.label("topic") for p in engine.predict(TEXTS * 4)]
    engine._inference.session = engine._inference.session._replace(
        run=short_of_memory(engine._inference.session.run, rows, says)
    )
    assert [p.label("topic") for p in engine.predict(TEXTS * 4)] == expected


def test_where_not_one_text_fits_the_session_is_built_anew_once_then_it_gives_up() -> None:
    engine = load_bundle(STARTER, device="cpu")
    good, built = engine._inference.session, []

    def build() -> Session:
        built.append(1)
        return good._replace(name="rebuilt")

    engine._inference._build = build
    engine._inference.session = good._replace(run=short_of_memory(good.run, 0))
    assert len(engine.predict(TEXTS)) == len(TEXTS)
    assert built == [1]
    assert engine.provider == "rebuilt"
    engine._inference.session = good._replace(run=short_of_memory(good.run, 0))
    with pytest.raises(OutOfMemoryError):
        engine.predict(TEXTS)
    assert built == [1]


def test_both_runtimes_give_the_same_labels_and_say_their_names() -> None:
    one, other = (load_bundle(STARTER, device="cpu", runtime=r) for r in ("onnxruntime", "openvino"))
    assert (one.provider, other.provider) == ("CPUExecutionProvider", "OpenVINO")
    for ours, theirs in zip(one.predict(TEXTS * 3), other.predict(TEXTS * 3), strict=True):
        for head in ours.heads:
            got, expected = (list(p.probabilities(head).values()) for p in (theirs, ours))
            assert np.allclose(got, expected, atol=0.03)
            assert ours.label(head) == theirs.label(head) or ours.score(head) < 0.55


STARTS = """
import sys, threading
from models import load_bundle
from models.runtimes import import_openvino
request, threads = import_openvino().InferRequest, []
plain = request.infer
def infer(self, *given):
    threads.append(threading.current_thread().name)
    return plain(self, *given)
request.infer = infer
engine = load_bundle(sys.argv[1], device="cpu", runtime="openvino", threads=4)
assert len(engine.predict(["good", "a longer text about a hotel", "x", "手机坏了"] * 40)) == 160
import openvino.tools.ovc as ovc
print(threads[0], len(set(threads)) > 2, sys.modules["openvino_telemetry"], ovc.telemetry)
"""


def test_openvino_is_first_called_by_one_thread_and_tells_nobody() -> None:
    """Two streams whose first calls met stood still for ever; its import sent an event from a fork of the process."""
    command = [sys.executable, "-c", STARTS, str(STARTER)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("MainThread True None <openvino.tools.ovc.telemetry_stub"), done.stderr[-2000:]


def test_a_runtime_that_cannot_run_the_graph_says_so() -> None:
    with pytest.raises(EngineError, match="operators of ONNX Runtime. Set model.runtime to onnxruntime"):
        open_runtime(b"", "cpu", "openvino", 1, standard=False)
    with pytest.raises(EngineError, match=r"set model\.device to cpu"):
        open_runtime(b"", "cuda", "openvino", 1, standard=True)


def test_a_gpu_that_does_not_start_is_refused_where_asked_for_and_told_elsewhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """onnxruntime-gpu without driver or CUDA libraries takes the CPU and says nothing."""
    monkeypatch.setattr("models.runtimes._has_cuda", lambda: True)
    model = (STARTER / "model.int8.onnx").read_bytes()
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        with pytest.raises(EngineError, match="CUDA does not start: see 'nvidia-smi'"):
            open_runtime(model, "cuda", "onnxruntime", 1, standard=True)
        assert open_runtime(model, "auto", "onnxruntime", 1, standard=True).name == "CPUExecutionProvider"
    assert "runs on the CPU although onnxruntime-gpu is installed" in caplog.text


def test_an_int8_bundle_on_a_gpu_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def on_gpu(*given: Any, **options: Any) -> Session:
        return open_runtime(*given, **options)._replace(name=CUDA_PROVIDER)

    load_bundle(STARTER, device="cpu")
    assert caplog.text == ""
    monkeypatch.setattr("models.engine.open_runtime", on_gpu)
    load_bundle(STARTER, device="cpu")
    assert "starter is int8, which suits a CPU" in caplog.text
    assert "--for-gpu" in caplog.text


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 40)), max_size=80))
def test_the_cache_never_weighs_more_than_its_bound(puts: list[tuple[int, int]]) -> None:
    cache: LruCache[int, int] = LruCache(100, lambda v: v)
    for key, value in puts:
        cache.put(key, value)
        assert cache.weight <= 100
        assert cache.get(key) == value


def test_inputs_and_outputs_bound_to_a_device_give_the_same_logits() -> None:
    """The GPU's way of calling, on the CPU; it has not run on a GPU."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(STARTER / "model.int8.onnx"), providers=["CPUExecutionProvider"])
    ids, mask = np.array([[1, 5, 9, 2], [1, 7, 2, 0]]), np.array([[1, 1, 1, 1], [1, 1, 1, 0]])
    places = dict(zip(MENTION_INPUTS, np.array([[0, 1], [1, 1], [3, 2]]), strict=True))
    inputs = {"input_ids": ids, "attention_mask": mask, **places}
    plain = session.run(list(OUTPUTS), inputs)
    found = bound(session, "cpu", OUTPUTS)(inputs)
    assert all(np.array_equal(one, other) for one, other in zip(found, plain, strict=True))


def test_padding_to_fewer_shapes_changes_no_label(engine: OnnxEngine) -> None:
    stepped = load_bundle(STARTER, device="cpu")
    widths: list[int] = []
    run = stepped._inference.session.run

    def seen(inputs: dict[str, Any]) -> Any:
        widths.append(inputs["input_ids"].shape[1])
        return run(inputs)

    stepped._inference.session = stepped._inference.session._replace(run=seen, shapes=GPU_SHAPES)
    # Sums of another length round otherwise, and an int8 activation may then fall to the other side.
    for one, other in zip(engine.predict(TEXTS * 3), stepped.predict(TEXTS * 3), strict=True):
        for head in engine.heads:
            assert one.label(head) == other.label(head)
            here, there = (list(p.probabilities(head).values()) for p in (one, other))
            assert np.allclose(here, there, atol=5e-3, rtol=0)
    assert widths
    assert {w % 32 for w in widths} == {0}


def test_what_is_tokenised_by_one_model_is_not_inferred_by_another(engine: OnnxEngine) -> None:
    encoded = engine.encode(TEXTS)
    assert encoded.engine is engine
    assert encoded.only([2, 0]).texts == [TEXTS[2], TEXTS[0]]
    some = engine.infer(encoded.only([2, 0]))
    assert [p.label("topic") for p in some] == [engine.predict([TEXTS[i]])[0].label("topic") for i in (2, 0)]


def test_batches_run_side_by_side_in_as_many_streams_as_there_are() -> None:
    engine = load_bundle(STARTER, device="cpu")
    run, both = engine._inference.session.run, threading.Barrier(2, timeout=10)
    engine._inference.session = engine._inference.session._replace(
        run=lambda inputs: (both.wait(), run(inputs))[1], streams=2
    )
    engine._inference._pool = ThreadPoolExecutor(2)
    engine.tune(8)
    assert len(engine.predict(["good", "bad"])) == 2, "one batch waits for the other to begin"
    threads: list[str] = []
    engine._inference.session = engine._inference.session._replace(
        run=lambda inputs: (threads.append(threading.current_thread().name), run(inputs))[1]
    )
    engine.predict(["good"])
    engine._inference.session = engine._inference.session._replace(streams=1)
    engine.predict(["good", "bad"])
    assert set(threads) == {threading.current_thread().name}, "one batch or one stream needs no other thread"


def test_after_a_batch_that_did_not_fit_batches_are_half_as_large() -> None:
    engine = load_bundle(STARTER, device="cpu")
    sizes: list[int] = []
    run = engine._inference.session.run

    def seen(inputs: dict[str, Any]) -> Any:
        sizes.append(inputs["input_ids"].size)
        if len(sizes) == 1:
            raise RuntimeError(ARENA_FULL)
        return run(inputs)

    engine._inference.session = engine._inference.session._replace(run=seen, streams=1)
    engine.tune(240)
    engine.predict(["good"] * 400)
    sizes.clear()
    sizes.append(0)
    engine.predict(["good"] * 400)
    assert 80 < max(sizes) <= 120


def test_tokens_are_counted_with_and_without_their_padding() -> None:
    engine = load_bundle(STARTER, device="cpu")
    engine._inference.session = engine._inference.session._replace(streams=1)
    encoded = engine.encode(["good", "good " * 30])
    short, long = (len(parts[0]) for parts in encoded.rows)
    engine.tune(10_000)
    tokens, padded = engine.tokens, engine.padded_tokens
    engine.infer(encoded)
    assert engine.tokens - tokens == short + long
    assert engine.padded_tokens - padded == 2 * engine._inference.session.shapes.width(long)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("1600000 100000", 8),
        ("?", 8),
    ],
)
def test_cores_are_those_of_the_affinity_within_the_quota(
    monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_: quota)
    assert usable_cores() == cores
