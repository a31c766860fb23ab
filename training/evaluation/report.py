"""The report of a training run as one HTML file that opens offline: tables and plots, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined

mpl.use("Agg")
from matplotlib import pyplot as plt

_FIGURES = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "calibration_error", "wrong_negatives")
#: Figures for which lower is better.
_LESS = ("calibration_error", "wrong_negatives")
_MAX_CLASSES_DRAWN = 24


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Writes the page; `report` is what `command.train` returns."""
    page = (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            summary=_summary(report),
            sets=[_set(key, after, report["before"].get(key)) for key, after in report["after"].items()],
            noise=_noise(report["robustness"]),
            classes=_classes(report["data"]) if report.get("data") else [],
        )
    )
    path.write_text(page, "utf-8")


def _environment() -> Environment:
    return Environment(loader=PackageLoader("training"), autoescape=True, undefined=StrictUndefined)


def _summary(report: Mapping[str, Any]) -> list[list[str]]:
    return [
        ["base", report["base"]],
        ["training", f"{report['minutes']:.1f} minutes, {report['peak_memory_mb']} MB at the peak"],
        ["weights", f"{report['precision']}; int8 gives {report['int8_agreement']:.1%} of the labels of fp32"],
        ["parameters", f"{report['parameters']:,}"],
        ["cost", f"{report['seconds_per_1000_posts']:.2f} s per 1,000 posts in int8 on the machine that trained"],
    ]


def _set(key: str, after: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the page shows of one validation or test set."""
    classes = [
        [name, *(f"{after[f][i]:.3f}" for f in ("precision", "recall", "f1")), sum(after["confusion"][i])]
        for i, name in enumerate(after["classes"])
    ]
    drawn = len(after["classes"]) <= _MAX_CLASSES_DRAWN
    return {
        "key": key,
        "rows": after["rows"],
        "figures": [_figure(name, after, before) for name in _FIGURES if name in after],
        "classes": classes,
        "slices": [[k, f"{v['accuracy']:.3f}", f"{v['macro_f1']:.3f}", v["rows"]] for k, v in after["slices"].items()],
        "confusion": _confusion(after["classes"], after["confusion"]) if drawn else "",
    }


def _figure(name: str, after: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, str]:
    interval = after["interval"].get(name)
    change = 0.0 if before is None else after[name] - before[name]
    better = (change > 0) == (name not in _LESS)
    return {
        "name": name.replace("_", " "),
        "after": f"{after[name]:.4f}",
        "interval": f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
        "before": "" if before is None else f"{before[name]:.4f}",
        "change": "" if before is None else f"{change:+.4f}" if change else "0",
        "direction": ("up" if better else "down") if change else "",
    }


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


def _noise(robustness: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    kinds = list(next(iter(robustness.values()), {}))
    return {"head": ["head", *kinds], "rows": [[h, *(f"{r[k]:.3f}" for k in kinds)] for h, r in robustness.items()]}


def _classes(data: Mapping[str, Any]) -> list[list[Any]]:
    return [[head, label, n] for head, counts in data["classes"].items() for label, n in counts.items()]


def _png(figure: Any) -> str:
    """The figure as a PNG in base64."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return base64.b64encode(data.getvalue()).decode()
