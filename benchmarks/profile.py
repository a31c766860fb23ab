"""`python -m benchmarks.profile mixed.jsonl [--nodes]`: where the time of an inference goes, by operator or by node.

The starter on OpenVINO's own clock, one stream of one thread, texts sorted by length as in serving. What is no product
of int8 cannot come near the int8 roof: its share is the distance to it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from models import load_bundle
from models.batching import by_length, padded
from models.bundle import read_manifest
from models.inference import BUDGET_TOKENS
from models.runtimes import import_openvino
from pipeline.settings import STARTER

REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile")
    parser.add_argument("data", type=Path, help="posts as JSON lines")
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--nodes", action="store_true", help="each node of the graph by itself")
    given = parser.parse_args()
    with given.data.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for _, line in zip(range(given.texts), lines, strict=False)]
    encoded = load_bundle(STARTER, device="cpu").encode(texts)
    rows = [row for parts in encoded.rows for row in parts]
    core = import_openvino().Core()
    graph = core.read_model(str(STARTER / read_manifest(STARTER).model_file))
    options = {"PERF_COUNT": True, "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(graph, "CPU", options).create_infer_request()
    seconds: Counter[tuple[str, str]] = Counter()
    wall = 0.0
    for repeat in range(REPEATS + 1):
        for group in by_length([len(row) for row in rows], BUDGET_TOKENS):
            ids, mask = padded([rows[i] for i in group])
            started = time.perf_counter()
            request.infer({"input_ids": ids, "attention_mask": mask})
            if repeat:  # the first round plans
                wall += time.perf_counter() - started
                for node in request.profiling_info:
                    kind = node.exec_type.rpartition("_")[2]
                    name = node.node_name if given.nodes else node.node_type
                    seconds[name, kind] += node.real_time.total_seconds()
    measured = sum(seconds.values())
    print(f"{wall / REPEATS:.3f} s for {len(rows)} rows, {measured / wall:.0%} of it in operators")
    for (name, kind), spent in seconds.most_common(24):
        print(f"{spent / measured:6.1%}  {name} ({kind})")


if __name__ == "__main__":
    main()
