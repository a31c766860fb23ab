"""The report of a training run as one HTML file that opens offline: tables and plots, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined

mpl.use("Agg")
from matplotlib import pyplot as plt

from training.data.dataset import Report
from training.evaluation.evaluate import SetScores
from training.evaluation.training_report import TrainingReport

WRONG_NEGATIVES = "wrong_negatives"
_FIGURES = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "calibration_error")
#: Figures for which lower is better.
_LESS = ("calibration_error", WRONG_NEGATIVES)
_MAX_CLASSES_DRAWN = 24


@dataclass(frozen=True, slots=True)
class _Figure:
    """A row of a set's table; `direction` is empty where the figure did not change."""

    name: str
    after: str
    interval: str
    before: str
    change: str
    direction: str


@dataclass(frozen=True, slots=True)
class _Set:
    """What the page shows of one validation or test set; `confusion` is a PNG in base64, empty for many classes."""

    key: str
    rows: int
    figures: list[_Figure]
    classes: list[list[str]]
    slices: list[list[str]]
    confusion: str


def write_report(report: TrainingReport, path: Path) -> None:
    """Writes the page."""
    page = (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            summary=_summary(report),
            sets=[_set(key, after, report.before.get(key)) for key, after in report.after.items()],
            noise_head=["head", *_kinds(report.robustness)],
            noise=_noise(report.robustness),
            classes=_classes(report.data) if report.data else [],
        )
    )
    path.write_text(page, "utf-8")


def _environment() -> Environment:
    return Environment(loader=PackageLoader("training"), autoescape=True, undefined=StrictUndefined)


def _summary(report: TrainingReport) -> list[list[str]]:
    return [
        ["base", report.base],
        ["training", f"{report.minutes:.1f} minutes, {report.peak_memory_mb} MB at the peak"],
        ["weights", f"{report.precision}; int8 gives {report.int8_agreement:.1%} of the labels of fp32"],
        ["parameters", f"{report.parameters:,}"],
        ["cost", f"{report.seconds_per_1000_posts:.2f} s per 1,000 posts in int8 on the machine that trained"],
    ]


def _set(key: str, after: SetScores, before: SetScores | None) -> _Set:
    figures = after.figures
    by_class = zip(after.classes, figures.precision, figures.recall, figures.f1, figures.confusion, strict=True)
    drawn = len(after.classes) <= _MAX_CLASSES_DRAWN
    values, values_before = _values(after), _values(before) if before else {}
    return _Set(
        key=key,
        rows=figures.rows,
        figures=[
            _figure(name, value, values_before.get(name), after.interval.get(name)) for name, value in values.items()
        ],
        classes=[[name, f"{p:.3f}", f"{r:.3f}", f"{f1:.3f}", str(sum(row))] for name, p, r, f1, row in by_class],
        slices=[[k, f"{x.accuracy:.3f}", f"{x.macro_f1:.3f}", str(x.rows)] for k, x in after.slices.items()],
        confusion=_confusion(after.classes, figures.confusion) if drawn else "",
    )


def _values(found: SetScores) -> dict[str, float]:
    """The figures that the page shows, by name."""
    shown = {name: float(getattr(found.figures, name)) for name in _FIGURES}
    return shown if found.wrong_negatives is None else {**shown, WRONG_NEGATIVES: found.wrong_negatives}


def _figure(name: str, after: float, before: float | None, interval: tuple[float, float] | None) -> _Figure:
    change = 0.0 if before is None else after - before
    better = (change > 0) == (name not in _LESS)
    return _Figure(
        name=name.replace("_", " "),
        after=f"{after:.4f}",
        interval=f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
        before="" if before is None else f"{before:.4f}",
        change="" if before is None else f"{change:+.4f}" if change else "0",
        direction=("up" if better else "down") if change else "",
    )


def _confusion(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    size = 2.2 + 0.42 * len(classes)
    figure, axes = plt.subplots(figsize=(size, size))
    shares = [[n / max(1, sum(row)) for n in row] for row in counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), [_ascii(c) for c in classes], rotation=60, ha="right")
    axes.set_yticks(range(len(classes)), [_ascii(c) for c in classes])
    axes.set_xlabel("said")
    axes.set_ylabel("true")
    for i, row in enumerate(counts):
        for j, n in enumerate(row):
            if n:
                axes.text(j, i, str(n), ha="center", va="center", fontsize=7, color="w" if shares[i][j] > 0.5 else "k")
    return _png(figure)


def _ascii(name: str) -> str:
    """Matplotlib's own font has no Han: such names are cut down to their code points."""
    return name if name.isascii() else "-".join(f"{ord(c):x}" for c in name[:4])


def _kinds(robustness: Mapping[str, Mapping[str, float]]) -> list[str]:
    return list(next(iter(robustness.values()), {}))


def _noise(robustness: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    kinds = _kinds(robustness)
    return [[head, *(f"{found[kind]:.3f}" for kind in kinds)] for head, found in robustness.items()]


def _classes(data: Report) -> list[list[str]]:
    return [[head, label, str(n)] for head, counts in data.classes.items() for label, n in counts.items()]


def _png(figure: Any) -> str:
    """The figure as a PNG in base64."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return base64.b64encode(data.getvalue()).decode()
