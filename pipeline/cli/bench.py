"""`opinionwatch bench engine|flow|detector`: figures side by side in one run."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

from models.engine import OnnxEngine
from models.text import content_hash
from pipeline.classify.codec import decode
from pipeline.classify.model_provider import open_classifier
from pipeline.cli.common import AsJson, Config, err, out, print_json, settings_of
from pipeline.cli.training import refusing, training
from pipeline.demo.feed import Item, generate
from pipeline.demo.play import Session, play, read_feed
from pipeline.domain.errors import EXIT_USAGE, Fatal, Poison
from pipeline.domain.post import Origin, Record
from pipeline.service.logs import configure
from pipeline.settings import Settings

#: Texts that each engine sees before it is timed; NNCF's scales are found on them (300 is its own default).
_WARM_UP = 300
app = typer.Typer(help="Measurements: ratios, medians and spread from one run.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Measurements."""


@app.command()
def flow(
    feed: Annotated[Path | None, typer.Option("--feed", help="JSONL of posts (default: the demo's).")] = None,
    posts: Annotated[int, typer.Option("--posts", min=100, help="Distinct posts a repetition.")] = 4000,
    repeat: Annotated[int, typer.Option("--repeat", min=1)] = 3,
    reposts: Annotated[
        float, typer.Option("--reposts", min=0, max=0.9, help="Also a stream of which this share are reposts.")
    ] = 0.0,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Posts a second through the classify role (broker, flow, store) against the bare engine on the same texts.

    Example: opinionwatch bench flow --repeat 5
    """
    configure(logging.ERROR)
    settings = settings_of(config)
    items = _distinct(generate() if feed is None else read_feed(feed, "opinion.forum", err.print), posts)
    rows: list[dict[str, float]] = []
    for number in range(repeat):
        bare, whole = _alone(_bare, settings, items), _alone(_whole, settings, items)
        row = {"engine_posts_per_s": bare, "flow_posts_per_s": whole, "ratio": whole / bare}
        if reposts:
            again = _alone(_whole, settings, with_reposts(items, reposts))
            row |= {"with_reposts_posts_per_s": again, "with_reposts_ratio": again / whole}
        rows.append(row)
        err.print(f"{number + 1}/{repeat}: engine {bare:.0f}/s, flow {whole:.0f}/s, ratio {whole / bare:.2f}")
    summary: dict[str, Any] = {"posts": len(items), "model": settings.model.bundle}
    for name in rows[0]:
        values = sorted(row[name] for row in rows)
        summary[name] = {"median": round(statistics.median(values), 3), "min": values[0], "max": values[-1]}
    if as_json:
        print_json(summary)
        return
    out.print(f"{summary['posts']} distinct posts, {repeat} repetitions, {summary['model']}")
    for name in rows[0]:
        s = summary[name]
        out.print(f"{name:25} median {s['median']:.2f}  (min {s['min']:.2f}, max {s['max']:.2f})")


@app.command()
def engine(
    against: Annotated[
        str,
        typer.Option(
            "--against", help="pipeline, pipeline-32, torch-fp32, torch-bf16, ort-fp32, ort-int8, openvino-nncf."
        ),
    ] = "pipeline,pipeline-32,torch-fp32,ort-fp32,ort-int8",
    data: Annotated[Path | None, typer.Option("--data", help="JSONL of posts (default: the demo's).")] = None,
    texts: Annotated[int, typer.Option("--texts", min=32)] = 600,
    repeat: Annotated[int, typer.Option("--repeat", min=1)] = 3,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Texts a second of the engine beside what one would use instead, in turns, with agreement and the GEMM roof.

    Each repetition has other texts, as a stream has: what an engine does for texts of new lengths counts.

    Example: opinionwatch bench engine --against pipeline,ort-fp32 --repeat 5
    """
    configure(logging.ERROR)
    settings = settings_of(config)
    items = _distinct(generate() if data is None else read_feed(data, "opinion.forum", err.print), 100_000)
    every, rng = [_text(item) for item in items], random.Random(17)  # noqa: S311
    texts = min(texts, len(every))
    names = [n for n in against.split(",") if n]
    peers = training("baselines")
    if unknown := [n for n in names if n not in peers.NAMES]:
        raise Fatal(f"--against {unknown[0]!r}", f"there are {', '.join(peers.NAMES)}", EXIT_USAGE)
    made = refusing(lambda: peers.open_baselines(Path(settings.model.bundle), names))
    ours: Any = open_classifier(settings.model)
    runners = {"engine": lambda given: peers.labels_of(ours, given), **made.by_name}
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    agreements: dict[str, list[float]] = {name: [] for name in runners}
    warm = rng.sample(every, min(_WARM_UP, len(every)))
    for run in runners.values():
        run(warm)
    tokens, padded = ours.tokens, ours.padded_tokens
    for number in range(repeat):
        chosen, said = rng.sample(every, texts), dict[str, Any]()
        for name, run in runners.items():
            started = time.perf_counter()
            said[name] = run(chosen)
            seconds[name].append(time.perf_counter() - started)
        if reference := said.get("ort-fp32", said.get("torch-fp32")):
            for name, labels in said.items():
                agreements[name].append(_agreement(labels, reference))
        err.print(f"{number + 1}/{repeat}")
    tokens, padded = (ours.tokens - tokens) / repeat, (ours.padded_tokens - padded) / repeat
    roof = {p: peers.gemm_roof(p) for p in ("int8", "fp32")}
    median = statistics.median(seconds["engine"])

    def share(done: float) -> float:
        return round(float(done * made.parameters / median / 1e9 / roof["int8"]), 3)

    rows: dict[str, dict[str, Any]] = {
        name: {
            "texts_per_s": round(texts / statistics.median(s), 1),
            "spread": [round(texts / max(s), 1), round(texts / min(s), 1)],
            "engine_is_faster_by": round(statistics.median(s) / median, 2),
            "agreement_with_fp32": round(statistics.mean(agreements[name]), 4) if agreements[name] else None,
        }
        for name, s in seconds.items()
    }
    found = {
        "model": f"{ours.name} {ours.version}",
        "runs_on": ours.provider,
        "texts": texts,
        "mean_tokens": round(tokens / texts, 1),
        "tokens_per_s": round(tokens / median),
        "padding_share": round(1 - tokens / padded, 4),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "gemm_roof_g_per_s": {p: round(v, 1) for p, v in roof.items()},
        "share_of_int8_roof": share(padded),
        "share_of_int8_roof_without_padding": share(tokens),
        "engines": rows,
    }
    if as_json:
        print_json(found)
        return
    for name, row in rows.items():
        agreement = "-" if row["agreement_with_fp32"] is None else f"{row['agreement_with_fp32']:.3f}"
        out.print(
            f"{name:12} {row['texts_per_s']:8.1f} texts/s ({row['spread'][0]:.0f} to {row['spread'][1]:.0f})   "
            f"engine x{row['engine_is_faster_by']:.2f}   agrees with fp32 {agreement}"
        )
    out.print(
        f"{found['model']} on {found['runs_on']}, {found['texts']} texts of {found['mean_tokens']} tokens, "
        f"{found['tokens_per_s']} tokens/s, "
        f"padding {found['padding_share']:.1%}, {found['share_of_int8_roof']:.0%} of the int8 GEMM roof, "
        f"{found['share_of_int8_roof_without_padding']:.0%} without the padding "
        f"({roof['int8']:.0f} G/s; fp32 {roof['fp32']:.0f})"
    )


@app.command()
def detector(as_json: AsJson = False) -> None:
    """The alert rule beside the baseline to beat and peers' rules, on simulated streams; runs from a checkout.

    Example: opinionwatch bench detector
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "benchmarks" / "detector.py").exists():
        raise Fatal("the simulator is not installed", "run it from a checkout of opinionwatch", EXIT_USAGE)
    command = [sys.executable, "-m", "benchmarks.detector", *(["--json"] if as_json else [])]
    raise typer.Exit(subprocess.run(command, cwd=root, check=False).returncode)  # noqa: S603


def _agreement(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Share of the labels, over all heads, that are the same."""
    same = [float((one[h] == other[h]).mean()) for h in other]
    return statistics.mean(same)


def _distinct(items: list[Item], limit: int) -> list[Item]:
    kept: dict[str, Item] = {}
    for item in items:
        try:
            text = _text(item)
        except Poison:
            continue
        kept.setdefault(content_hash(text), item)
    return list(kept.values())[:limit]


def with_reposts(items: list[Item], share: float) -> list[Item]:
    """As many posts, of which `share` say what an earlier one of them said, at any time after it."""
    rng = random.Random(23)  # noqa: S311
    fresh = items[: max(1, round(len(items) * (1 - share)))]
    placed = [(place / len(fresh), item) for place, item in enumerate(fresh)]
    for number in range(len(items) - len(fresh)):
        place, original = placed[rng.randrange(len(fresh))]
        post = json.loads(original.value)
        post |= {"id": f"repost-{number}", "text": f"RT @someone: {_text(original)}", "title": ""}
        made = replace(items[0], value=json.dumps(post, ensure_ascii=False).encode())
        placed.append((rng.uniform(place, 1), made))
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]


def _text(item: Item) -> str:
    return decode(Record(Origin(item.topic, 0, 0), item.timestamp_ms, item.value)).full_text


def _alone(measure: Callable[[Settings, list[Item]], float], settings: Settings, items: list[Item]) -> float:
    """In a process of its own, so that nothing of the measurement before is left running."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, settings, items).result()


def _bare(settings: Settings, items: list[Item]) -> float:
    classifier, texts = open_classifier(settings.model), [_text(item) for item in items]
    _classify(classifier, texts, settings.flow.batch_records)
    started = time.monotonic()
    _classify(classifier, texts, settings.flow.batch_records)
    return len(texts) / (time.monotonic() - started)


def _classify(classifier: OnnxEngine, texts: list[str], batch: int) -> None:
    """Once before it is timed: OpenVINO compiles each shape of a batch when it first comes, in its first minute."""
    for at in range(0, len(texts), batch):
        classifier.predict(texts[at : at + batch])


def _whole(settings: Settings, items: list[Item]) -> float:
    began = finished = 0.0

    @asynccontextmanager
    async def attend(session: Session) -> AsyncIterator[None]:
        """From the first record on: the embedded broker answers a fetch that found nothing only after 1.5 s."""
        nonlocal began, finished

        async def first() -> float:
            while not (session.workers.classify and session.workers.classify.flow.in_flight):
                await asyncio.sleep(0.002)
            return time.monotonic()

        waiting = asyncio.create_task(first())
        yield
        began, finished = await waiting, session.finished or time.monotonic()

    classifier = open_classifier(settings.model)
    _classify(classifier, [_text(item) for item in items], settings.flow.batch_records)
    summary = asyncio.run(play(settings, {}, items, classifier, seconds=0, attend=attend, alerting=False))
    return float(summary["consumed"] / (finished - began))
