"""`opinionwatch bench engine`: its options, and how it prints the rates."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter

if TYPE_CHECKING:
    from pipeline.cli.bench.engine_rates import EngineRates


def engine(
    against: Annotated[
        str,
        typer.Option(
            "--against",
            help="Compare with: pipeline, pipeline-32, torch-fp32, torch-bf16, ort-fp32, ort-int8, openvino-nncf.",
        ),
    ] = "pipeline,pipeline-32,torch-fp32,ort-fp32,ort-int8",
    data: Annotated[
        Path | None, typer.Option("--data", help="Read the posts of this JSONL file (default: the demo's posts).")
    ] = None,
    texts: Annotated[int, typer.Option("--texts", min=32, help="Measure with this many texts per repetition.")] = 600,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Repeat the measurement this many times.")] = 3,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Compare the texts per second of the engine with its alternatives, with their agreement and the GEMM roof.

    The engines run in turn. Each repetition has other texts, as a stream has, so that an engine also pays for texts
    of new lengths.

    Example: opinionwatch bench engine --against pipeline,ort-fp32 --repeat 5
    """
    from pipeline.cli.bench.engine_rates import engine_rates
    from pipeline.service.logs import configure

    configure(logging.ERROR)
    names = [name for name in against.split(",") if name]
    found = engine_rates(settings_of(config).model, names, data, texts, repeat)
    Presenter(as_json).show(asdict(found), _lines(found))


def _lines(found: EngineRates) -> Iterator[str]:
    for name, rate in found.engines.items():
        agreement = "-" if rate.agreement_with_fp32 is None else f"{rate.agreement_with_fp32:.3f}"
        low, high = rate.spread
        yield (
            f"{name:12} {rate.texts_per_s:8.1f} texts/s ({low:.0f} to {high:.0f})   "
            f"engine x{rate.engine_is_faster_by:.2f}   agrees with fp32 {agreement}"
        )
    roof = found.gemm_roof_g_per_s
    yield (
        f"{found.model} on {found.runs_on}, {found.texts} texts of {found.mean_tokens} tokens, "
        f"{found.tokens_per_s} tokens/s, "
        f"padding {found.padding_share:.1%}, {found.share_of_int8_roof:.0%} of the int8 GEMM roof, "
        f"{found.share_of_int8_roof_without_padding:.0%} without the padding "
        f"({roof['int8']:.0f} G/s; fp32 {roof['fp32']:.0f})"
    )
