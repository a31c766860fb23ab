"""`python -m benchmarks.gpu DATA.jsonl`: the engine on an NVIDIA GPU, beside torch, in turns; needs onnxruntime-gpu.

DATA is what `benchmarks.mixed` writes. A model of BERT-base's shape (random weights: speed does not ask) and the
starter, whose labels are compared with fp32 on the CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from models.batching import by_length
from models.bundle import load_bundle
from models.engine import OnnxEngine
from models.heads import Head
from models.runtimes import INPUTS, Run, open_runtime
from models.tokenizer import BundleTokenizer
from training.bundle.export import export_onnx, fuse
from training.data.tensors import pad
from training.network.encoder import Classifier
from training.train import export, export_for_gpu

PARTS = ("fixed", "mixed", "starter", "processes")
HEADS = {"label": ["a", "b", "c"]}
BATCHES, TOKENS, TEXTS = (64, 128, 256, 512), 128, 4096
#: A memory limit in MB, and a number of tokens whose batch does not fit into it.
LITTLE_MB, TOO_LARGE = 150, 262_144
INT8_BUDGET = 4096
VARIANTS = {"fp16": {"half": True}, "fp16-packed": {"half": True, "packed": True}}
#: Workers on one card, each with so much of its memory, for so long.
WORKERS, WORKER_MB, WORKER_S = (1, 2, 4), 4000, 6.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("data", type=Path, help="JSONL of posts")
    parser.add_argument("--bundle", type=Path, default=Path("models/starter"))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    given = parser.parse_args()
    texts = [json.loads(line)["text"] for line in given.data.read_text("utf-8").splitlines()]
    tokenizer_json = (given.bundle / "tokenizer.json").read_text("utf-8")
    roof = gemm_roof()
    print(f"{torch.cuda.get_device_name()}: fp16 matrix product of 8192 at {roof / 1e12:.0f} TFLOP/s", flush=True)
    with tempfile.TemporaryDirectory() as work:
        if {"fixed", "mixed"} & set(given.parts):
            base(given.parts, Path(work), tokenizer_json, texts, roof, given.repeat)
        if "starter" in given.parts:
            starter(given.bundle, Path(work), texts, given.repeat)
        if "processes" in given.parts:
            made = export_for_gpu(given.bundle, Path(work) / "processes")
            processes("starter made for a GPU", made, texts)


def base(parts: Sequence[str], work: Path, tokenizer_json: str, texts: Sequence[str], roof: float, repeat: int) -> None:
    """BERT-base's shape: at a fixed width, and texts of mixed lengths to labels."""
    model = bert_base(Tokenizer.from_str(tokenizer_json).get_vocab_size())
    plain = export_onnx(model, work)
    graphs = {name: fuse(plain, model, **how) for name, how in VARIANTS.items()}
    if "fixed" in parts:
        fixed_width(model, graphs, roof, repeat)
    if "mixed" in parts:
        for name, graph in graphs.items():
            heads = [Head(h, tuple(labels)) for h, labels in HEADS.items()]
            tokenizer = BundleTokenizer(tokenizer_json, TOKENS)
            engine = OnnxEngine(
                name="base", version="0", heads=heads, tokenizer=tokenizer, model=graph.read_bytes(), device="cuda"
            )
            mixed(f"BERT-base {name}", engine, texts, repeat)
        torch_mixed(model, tokenizer_json, texts, repeat)


def fixed_width(model: Classifier, graphs: dict[str, Path], roof: float, repeat: int) -> None:
    """Texts of 128 tokens: token ids in host memory to logits in host memory."""
    runs: dict[str, Run] = {
        name: open_runtime(graph.read_bytes(), "cuda", "onnxruntime", 1, standard=False).run
        for name, graph in graphs.items()
    }
    runs["torch fp16"] = torch_run(model)
    flop = 2 * sum(m.weight.numel() for m in model.encoder.modules() if isinstance(m, torch.nn.Linear)) * TOKENS
    rng = np.random.default_rng(0)
    for size in BATCHES:
        ids, times = rng.integers(5, 20_000, (size, TOKENS)), TEXTS // size
        inputs = dict(zip(INPUTS, (ids, np.ones_like(ids)), strict=True))
        ways: dict[str, Callable[[], None]] = {
            name: partial(repeated, run, inputs, times) for name, run in runs.items()
        }
        for name, seconds in in_turns(ways, repeat).items():
            rate = [times * size / s for s in seconds]
            share = statistics.median(rate) * flop / roof
            show(f"BERT-base, {TOKENS} tokens, batch {size}, {name}", rate, f"{share:.0%} of the roof")


def mixed(name: str, engine: OnnxEngine, texts: Sequence[str], repeat: int) -> None:
    """Texts of mixed lengths to predictions, one process: the next are tokenised while some are inferred."""
    engine.tune()
    with ThreadPoolExecutor(1) as pool:

        def run() -> None:
            chunks = [texts[i : i + 2048] for i in range(0, len(texts), 2048)]
            ahead = pool.submit(engine.encode, chunks[0])
            for following in [*chunks[1:], []]:
                encoded = ahead.result()
                ahead = pool.submit(engine.encode, following)
                engine.infer(encoded)

        found = in_turns({name: run}, repeat)[name]
    tokens = engine.tokens / max(1, engine.padded_tokens)
    more = f"padding {1 - tokens:.0%}, batches of {engine.budget_tokens} tokens"
    show(f"{name}, texts to labels", [len(texts) / s for s in found], more)
    alone = sorted(timed(partial(engine.predict, [text])) for text in texts[:400])
    print(f"{name}, a lone text: median {alone[200] * 1000:.2f} ms, p99 {alone[396] * 1000:.2f} ms", flush=True)


def torch_mixed(model: Classifier, tokenizer_json: str, texts: Sequence[str], repeat: int) -> None:
    """What one would write with torch: sorted by length in batches of 32,768 tokens, and 32 unsorted at a time."""
    tokenizer, run = Tokenizer.from_str(tokenizer_json), torch_run(model)
    tokenizer.enable_truncation(TOKENS)

    def run_all(groups: Callable[[list[int]], Iterable[Sequence[int]]]) -> None:
        rows = [e.ids for e in tokenizer.encode_batch(list(texts))]
        for group in groups([len(row) for row in rows]):
            arrays = (t.numpy() for t in pad([rows[i] for i in group]))
            run(dict(zip(INPUTS, arrays, strict=True)))

    def unsorted(lengths: list[int]) -> list[range]:
        return [range(i, min(i + 32, len(lengths))) for i in range(0, len(lengths), 32)]

    ways = {"by length": lambda: run_all(lambda n: by_length(n, 32_768)), "32 unsorted": lambda: run_all(unsorted)}
    for name, seconds in in_turns(ways, repeat).items():
        show(f"BERT-base torch fp16, {name}, texts to logits", [len(texts) / s for s in seconds], "")


def starter(bundle: Path, work: Path, texts: Sequence[str], repeat: int) -> None:
    """Speed, agreement with fp32 on the CPU, batch mates, and a memory limit that the batches do not fit into."""
    exact = load_bundle(export(bundle, work / "fp32", "fp32"), "cpu")
    sample = texts[:1000]
    wanted = classes(exact, sample)
    as_it_is = load_bundle(bundle, "cuda")
    as_it_is.tune(INT8_BUDGET)
    as_it_is.predict(sample)
    show("starter as it is (int8), texts to labels", [len(sample) / timed(lambda: as_it_is.predict(sample))], "")
    folders = {
        "fp16": export(bundle, work / "fp16", "fp16"),
        "made for a GPU": export_for_gpu(bundle, work / "gpu"),
    }
    for name, folder in folders.items():
        engine = load_bundle(folder, "cuda")
        mixed(f"starter {name}", engine, texts, repeat)
        same = np.mean([a == b for a, b in zip(classes(engine, sample), wanted, strict=True)])
        alone = [engine.predict([t])[0] for t in sample[:200]]
        among = engine.predict(sample[:200])
        moved = max(abs(a.score(h) - b.score(h)) for a, b in zip(alone, among, strict=True) for h in a.heads)
        print(f"starter {name}: {same:.4f} of the labels as fp32 on the CPU; alone or among others: {moved:.1e}")
        small = load_bundle(folder, "cuda", gpu_memory_mb=LITTLE_MB)
        small.tune(TOO_LARGE)
        equal = np.mean([a == b for a, b in zip(classes(small, sample), classes(engine, sample), strict=True)])
        print(
            f"starter {name}: with {LITTLE_MB} MB, batches of {TOO_LARGE} tokens went down to {small.budget_tokens}, "
            f"{equal:.4f} of the labels the same",
            flush=True,
        )


def processes(name: str, folder: Path, texts: Sequence[str]) -> None:
    """Several processes on one card at the same time: what each does, and all together."""
    context = get_context("spawn")
    for count in WORKERS:
        barrier, found = context.Barrier(count), context.Queue()
        workers = [context.Process(target=_work, args=(folder, texts, barrier, found)) for _ in range(count)]
        for worker in workers:
            worker.start()
        rates = sorted(found.get() for _ in workers)
        for worker in workers:
            worker.join()
        each = ", ".join(f"{rate:,.0f}" for rate in rates)
        print(f"{name}, processes at once {count}: {sum(rates):,.0f} texts/s together ({each})", flush=True)


def _work(folder: Path, texts: Sequence[str], barrier: Any, found: Any) -> None:
    engine = load_bundle(folder, "cuda", gpu_memory_mb=WORKER_MB)
    engine.tune()
    engine.predict(texts)
    barrier.wait()
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < WORKER_S:
        for i in range(0, len(texts), 2048):
            done += len(engine.predict(texts[i : i + 2048]))
    found.put(done / (time.perf_counter() - started))


def bert_base(vocabulary: int) -> Classifier:
    torch.manual_seed(0)
    encoder = BertModel(BertConfig(vocab_size=vocabulary), add_pooling_layer=False)
    return Classifier(encoder, HEADS, 0.0).eval()


def torch_run(model: Classifier) -> Run:
    model.encoder.set_attn_implementation("sdpa")
    on_gpu = model.half().cuda()

    def run(inputs: dict[str, Any]) -> Any:
        with torch.inference_mode():
            on_card = (torch.from_numpy(inputs[name]).cuda() for name in INPUTS)
            return [on_gpu(*on_card).cpu().numpy()]

    return run


def repeated(run: Run, inputs: dict[str, Any], times: int) -> None:
    for _ in range(times):
        run(inputs)


def classes(engine: OnnxEngine, texts: Sequence[str]) -> list[str]:
    return [p.label(h) for p in engine.predict(texts) for h in p.heads]


def gemm_roof() -> float:
    """Operations a second of torch's fp16 matrix product on random data."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        a @ b
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - started)


def in_turns(ways: dict[str, Callable[[], None]], repeat: int) -> dict[str, list[float]]:
    """Seconds per way, `repeat` of each, in turns, after one that does not count."""
    for run in ways.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeat):
        for name, run in ways.items():
            found[name].append(timed(run))
    return found


def timed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def show(name: str, rates: Sequence[float], more: str) -> None:
    print(
        f"{name}: {statistics.median(rates):,.0f} texts/s ({min(rates):,.0f} to {max(rates):,.0f})  {more}", flush=True
    )


if __name__ == "__main__":
    main()
