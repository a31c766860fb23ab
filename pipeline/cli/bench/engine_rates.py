"""Texts per second of the engine and of its alternatives, in turn on the same texts."""

from __future__ import annotations

import random
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.classify.model_provider import open_classifier
from pipeline.cli.bench.items import distinct_items, text_of_item
from pipeline.cli.terminal import err
from pipeline.cli.training.extra import extra_train, refusing
from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.settings import ModelSettings

if TYPE_CHECKING:
    from training.baselines import Labels

#: Texts that each engine sees before it is timed; NNCF finds its scales on them (300 is its own default).
_WARM_UP = 300
#: More texts than this are not read from a file.
_MAX_ITEMS = 100_000


@dataclass(frozen=True, slots=True)
class Rate:
    """Texts per second of one engine; `spread` is the lowest and the highest repetition.

    `agreement_with_fp32` is the share of labels that are the same, in [0, 1] (None: no fp32 engine ran).
    """

    texts_per_s: float
    spread: tuple[float, float]
    engine_is_faster_by: float
    agreement_with_fp32: float | None


@dataclass(frozen=True, slots=True)
class EngineRates:
    """The rates of every engine by name, and how close our own comes to the roof of matrix products (in G/s)."""

    model: str
    runs_on: str
    texts: int
    mean_tokens: float
    tokens_per_s: int
    padding_share: float
    peak_mb: int
    gemm_roof_g_per_s: dict[str, float]
    share_of_int8_roof: float
    share_of_int8_roof_without_padding: float
    engines: dict[str, Rate]


def engine_rates(model: ModelSettings, names: Sequence[str], data: Path | None, texts: int, repeat: int) -> EngineRates:
    """Medians over `repeat` repetitions with `texts` texts each; raises `Fatal` for a name that does not exist."""
    with extra_train():
        from training import baselines

    every, rng = [text_of_item(item) for item in distinct_items(data, _MAX_ITEMS)], random.Random(17)  # noqa: S311
    texts = min(texts, len(every))
    if unknown := [name for name in names if name not in baselines.NAMES]:
        raise Fatal(
            f"--against {unknown[0]!r} does not exist", f"write one of {', '.join(baselines.NAMES)}", EXIT_USAGE
        )
    peers = refusing(lambda: baselines.open_baselines(Path(model.bundle), names))
    ours = open_classifier(model)
    runners = {"engine": lambda given: baselines.labels_of(ours, given), **peers.by_name}
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    agreements: dict[str, list[float]] = {name: [] for name in runners}
    warm = rng.sample(every, min(_WARM_UP, len(every)))
    for run in runners.values():
        run(warm)
    tokens, padded = ours.tokens, ours.padded_tokens
    for number in range(repeat):
        chosen = rng.sample(every, texts)
        labels: dict[str, Labels] = {}
        for name, run in runners.items():
            started = time.perf_counter()
            labels[name] = run(chosen)
            seconds[name].append(time.perf_counter() - started)
        if reference := labels.get("ort-fp32", labels.get("torch-fp32")):
            for name, own in labels.items():
                agreements[name].append(_agreement(own, reference))
        err.print(f"{number + 1}/{repeat}")
    mean_tokens, mean_padded = (ours.tokens - tokens) / repeat, (ours.padded_tokens - padded) / repeat
    roof = {precision: baselines.gemm_roof(precision) for precision in ("int8", "fp32")}
    median = statistics.median(seconds["engine"])

    def share(done: float) -> float:
        return round(float(done * peers.parameters / median / 1e9 / roof["int8"]), 3)

    return EngineRates(
        model=f"{ours.name} {ours.version}",
        runs_on=ours.provider,
        texts=texts,
        mean_tokens=round(mean_tokens / texts, 1),
        tokens_per_s=round(mean_tokens / median),
        padding_share=round(1 - mean_tokens / mean_padded, 4),
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        gemm_roof_g_per_s={precision: round(value, 1) for precision, value in roof.items()},
        share_of_int8_roof=share(mean_padded),
        share_of_int8_roof_without_padding=share(mean_tokens),
        engines={
            name: Rate(
                texts_per_s=round(texts / statistics.median(spent), 1),
                spread=(round(texts / max(spent), 1), round(texts / min(spent), 1)),
                engine_is_faster_by=round(statistics.median(spent) / median, 2),
                agreement_with_fp32=round(statistics.mean(agreements[name]), 4) if agreements[name] else None,
            )
            for name, spent in seconds.items()
        },
    )


def _agreement(one: Labels, other: Labels) -> float:
    """Share of the labels, over all heads, that are the same."""
    return statistics.mean(float((one[head] == other[head]).mean()) for head in other)
