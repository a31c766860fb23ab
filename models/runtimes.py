"""What runs the graph: ONNX Runtime on CPU or CUDA, or OpenVINO on CPU, behind one call."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Device = Literal["auto", "cpu", "cuda"]
Runtime = Literal["auto", "onnxruntime", "openvino"]
Ids = NDArray[np.int64]
#: int64[texts, tokens] ids and mask -> float32[texts, classes] logits.
Run = Callable[[Ids, Ids], NDArray[np.float32]]


class EngineError(RuntimeError):
    """The engine cannot start or answered nonsense; the message says the remedy."""


def open_runtime(
    model: bytes | Path, device: Device, runtime: Runtime, threads: int, *, standard: bool
) -> tuple[Run, str]:
    """The graph ready to run, and the name of what runs it.

    `auto` takes OpenVINO on a CPU where it is installed and the graph is of `standard` operators: it is faster there
    (`opinionwatch bench engine --against ort-int8`). Raises `EngineError` for what is asked for and not there.
    """
    if runtime == "openvino" and not standard:
        raise EngineError("OpenVINO cannot run this bundle: its graph has operators of ONNX Runtime; use onnxruntime")
    if runtime == "openvino" and device == "cuda":
        raise EngineError("OpenVINO runs on the CPU here: set model.device to cpu, or model.runtime to onnxruntime")
    if runtime == "openvino" or (runtime == "auto" and device != "cuda" and standard and _prefers_openvino(device)):
        return _openvino(model, threads), "OpenVINO"
    return _onnxruntime(model, device, threads)


def _prefers_openvino(device: Device) -> bool:
    return find_spec("openvino") is not None and not (device == "auto" and _has_cuda())


def _has_cuda() -> bool:
    if find_spec("onnxruntime") is None:
        return False
    import onnxruntime as ort

    return "CUDAExecutionProvider" in ort.get_available_providers()


def _openvino(model: bytes | Path, threads: int) -> Run:
    try:
        import openvino
    except ImportError as error:
        raise EngineError("openvino is missing: pip install 'opinionwatch[openvino]'") from error
    core = openvino.Core()
    graph = core.read_model(model) if isinstance(model, bytes) else core.read_model(str(model))
    # f32 beside the int8 products: bfloat16 would move the labels from those of the golden texts.
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = core.compile_model(graph, "CPU", options)
    request = compiled.create_infer_request()

    def run(ids: Ids, mask: Ids) -> NDArray[np.float32]:
        return np.array(request.infer({"input_ids": ids, "attention_mask": mask})[0])

    return run


def _onnxruntime(model: bytes | Path, device: Device, threads: int) -> tuple[Run, str]:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise EngineError("onnxruntime is missing: pip install 'opinionwatch[cpu]' (or [gpu])") from error
    ort.set_default_logger_severity(4)
    if device == "cuda" and not _has_cuda():
        raise EngineError("device 'cuda' was asked for, but this onnxruntime has no CUDA: install opinionwatch[gpu]")
    providers = ["CPUExecutionProvider"]
    if device != "cpu" and _has_cuda():
        providers.insert(0, "CUDAExecutionProvider")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    source = model if isinstance(model, bytes) else str(model)
    session = ort.InferenceSession(source, options, providers=providers)

    def run(ids: Ids, mask: Ids) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
        return logits

    return run, str(session.get_providers()[0])
