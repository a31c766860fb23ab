"""The runtimes of a graph behind one call: ONNX Runtime on CPU or CUDA, or OpenVINO on CPU.

On a CPU several batches run concurrently on one thread each, rather than one after another on all cores: the threads of
a single batch would wait for each other after every small operator.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import cache
from importlib.util import find_spec
from io import StringIO
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.batching import ANY_SHAPE, FEW_SHAPES, GPU_SHAPES, Shapes
from models.graph import MENTION_INPUTS
from models.heads import TOWARD

log = logging.getLogger(__name__)
Device = Literal["auto", "cpu", "cuda"]
Runtime = Literal["auto", "onnxruntime", "openvino"]
Ids = NDArray[np.int64]
#: The inputs of the graph by name -> its outputs in the order of `OUTPUTS`: float32[rows, classes] logits, and where
#: the graph reads mentions, float32[mentions, 3] logits toward them.
Run = Callable[[dict[str, Ids]], list[NDArray[np.float32]]]
INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("logits", TOWARD)
CUDA_PROVIDER = "CUDAExecutionProvider"
_MOST_STREAMS = 8


class Session(NamedTuple):
    """Up to `streams` threads may call `run` at the same time, with batches whose widths and rows are of `shapes`."""

    run: Run
    name: str
    streams: int
    shapes: Shapes = ANY_SHAPE


class EngineError(RuntimeError):
    """The engine cannot start, or returned an invalid result; the message names the remedy."""


def open_runtime(
    model: bytes,
    device: Device,
    runtime: Runtime,
    threads: int,
    *,
    standard: bool,
    gpu_memory_mb: int = 0,
    toward: bool = False,
) -> Session:
    """Opens the graph on `threads` >= 1 threads in total, or on a GPU with at most `gpu_memory_mb` MB (0: no limit).

    With `toward` the graph reads mentions. On a CPU, `auto` takes OpenVINO where it is installed and the graph has
    `standard` operators only, because it is faster (`opinionwatch bench engine --against ort-int8`). Raises
    `EngineError` where the runtime or the device that was asked for is missing.
    """
    if runtime == "openvino" and not standard:
        raise EngineError(
            "OpenVINO cannot run this bundle: its graph has operators of ONNX Runtime. Set model.runtime to onnxruntime"
        )
    if runtime == "openvino" and device == "cuda":
        raise EngineError("OpenVINO runs on the CPU only; set model.device to cpu, or model.runtime to onnxruntime")
    if runtime == "openvino" or (runtime == "auto" and device != "cuda" and standard and _prefers_openvino(device)):
        return _openvino(model, threads, toward)
    return _onnxruntime(model, device, threads, gpu_memory_mb, toward)


def _outputs(toward: bool) -> list[str]:
    return list(OUTPUTS if toward else OUTPUTS[:1])


def _prefers_openvino(device: Device) -> bool:
    return find_spec("openvino") is not None and not wants_cuda(device)


def wants_cuda(device: Device) -> bool:
    """Whether to run a graph on CUDA; whether CUDA works shows only when the graph starts."""
    return device != "cpu" and _has_cuda()


def _has_cuda() -> bool:
    if find_spec("onnxruntime") is None:
        return False
    import onnxruntime as ort

    return CUDA_PROVIDER in ort.get_available_providers()


@cache
def _preload_cuda() -> None:
    """Loads the CUDA libraries that pip installed, once: the system's loader does not search their folder."""
    import onnxruntime as ort

    with redirect_stdout(StringIO()):  # it prints what it does not find; whether CUDA starts is seen later
        ort.preload_dlls()


def import_openvino() -> Any:
    """The module, without the telemetry event that its import would send to its makers from a forked process.

    Raises `EngineError` where it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise EngineError("openvino is missing: pip install 'opinionwatch[openvino]'") from error
    return openvino


def _openvino(model: bytes, threads: int, toward: bool) -> Session:
    core = import_openvino().Core()
    graph = core.read_model(model)
    streams = min(threads, _MOST_STREAMS)
    # bfloat16 next to the int8 products would change labels against those of the golden texts.
    options: dict[str, str | int] = {
        "NUM_STREAMS": streams,
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = core.compile_model(graph, "CPU", options)
    idle: SimpleQueue[Any] = SimpleQueue()
    for _ in range(streams):
        idle.put(compiled.create_infer_request())

    outputs = _outputs(toward)

    def run(inputs: dict[str, Ids]) -> list[NDArray[np.float32]]:
        request = idle.get()
        try:
            results = request.infer(inputs)
            return [np.array(results[name]) for name in outputs]
        finally:
            idle.put(request)

    # The first call sets up its binding to numpy, and two concurrent first calls deadlock.
    one: dict[str, Ids] = dict.fromkeys(INPUTS, np.ones((1, 2), np.int64))
    run(one | dict(zip(MENTION_INPUTS, np.array([[0], [0], [1]]), strict=True)) if toward else one)
    return Session(run, "OpenVINO", streams, FEW_SHAPES)


def _onnxruntime(model: bytes, device: Device, threads: int, gpu_memory_mb: int, toward: bool) -> Session:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise EngineError("onnxruntime is missing: pip install 'opinionwatch[cpu]' (or [gpu])") from error
    ort.set_default_logger_severity(4)
    if device == "cuda" and not _has_cuda():
        raise EngineError("model.device is cuda, but this onnxruntime is built without CUDA; install opinionwatch[gpu]")
    streams = min(threads, _MOST_STREAMS)
    providers: list[Any] = ["CPUExecutionProvider"]
    on_cuda = wants_cuda(device)
    if on_cuda:
        _preload_cuda()
        cuda: dict[str, str | int] = {"arena_extend_strategy": "kSameAsRequested"}
        cuda |= {"gpu_mem_limit": gpu_memory_mb * 1_000_000} if gpu_memory_mb else {}
        providers.insert(0, (CUDA_PROVIDER, cuda))
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads // streams
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # The graph was checked as ONNX, so the session must not read it in ONNX Runtime's own format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session = ort.InferenceSession(model, options, providers=providers)
    except ort.capi.onnxruntime_pybind11_state.NotImplemented as error:
        missing = re.search(r"kernel for ([\w.]+)", str(error))
        raise EngineError(
            f"operator {missing[1] if missing else 'of this graph'} does not run on this machine: a packed bundle "
            "needs a GPU and opinionwatch[gpu]. Export it as fp16, or use the int8 bundle"
        ) from None
    name = str(session.get_providers()[0])
    if on_cuda and name != CUDA_PROVIDER:
        why = "CUDA does not start: see 'nvidia-smi', and install opinionwatch[gpu] for the CUDA libraries"
        if device == "cuda":
            raise EngineError(f"model.device is cuda, but {why}")
        log.warning("the model runs on the CPU although onnxruntime-gpu is installed: %s", why)
    outputs = _outputs(toward)
    if name == CUDA_PROVIDER:
        return Session(bound(session, "cuda", outputs), name, 1, GPU_SHAPES)

    def run(inputs: dict[str, Ids]) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = session.run(outputs, inputs)
        return found

    return Session(run, name, streams)


def bound(session: Any, device: str, outputs: Sequence[str]) -> Run:
    """A `Run` that copies the inputs to `device` ("cuda" or "cpu") by IO binding, and copies only the outputs back."""
    import onnxruntime as ort

    def run(inputs: dict[str, Ids]) -> list[NDArray[np.float32]]:
        binding = session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value, device, 0))
        for name in outputs:
            binding.bind_output(name, device, 0)
        session.run_with_iobinding(binding)
        found: list[NDArray[np.float32]] = binding.copy_outputs_to_cpu()
        return found

    return run
