"""The report of a training run as one HTML file that opens offline: tables and plots, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;
color:#1c2733;background:#fbfbfa}
h1,h2,h3{line-height:1.2}
table{border-collapse:collapse;margin:.6rem 0 1.4rem}
td,th{padding:.25rem .8rem;border-bottom:1px solid #dde2e6;text-align:right}
td:first-child,th:first-child{text-align:left}
.up{color:#15703a}.down{color:#b3261e}img{max-width:100%}
@media(prefers-color-scheme:dark){body{color:#e3e7ea;background:#15191d}td,th{border-color:#333a41}
.up{color:#63c98b}.down{color:#ff8a80}img{filter:invert(.9) hue-rotate(180deg)}}
"""
_FIGURES = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "calibration_error")
_MAX_CLASSES_DRAWN = 24


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Writes the page; `report` is what `command.train` returns."""
    parts = [f"<h1>{escape(report['name'])} {escape(report['version'])}</h1>", _summary(report)]
    for key, after in report["after"].items():
        parts += _set(key, after, report["before"].get(key))
    if report["robustness"]:
        parts.append("<h2>Robustness: macro F1 with noise in the text</h2>" + _noise(report["robustness"]))
    if report.get("data"):
        parts.append(_data(report["data"]))
    parts.append(
        "<h2>Settings</h2>" + _table(["setting", "value"], [[k, str(v)] for k, v in report["settings"].items()])
    )
    page = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    title = f"<title>{escape(report['name'])} {escape(report['version'])}</title>"
    path.write_text(f"{page}{title}<style>{_STYLE}</style>{''.join(parts)}</html>", "utf-8")


def _summary(report: Mapping[str, Any]) -> str:
    rows = [
        ["base", report["base"]],
        ["training", f"{report['minutes']:.1f} minutes, {report['peak_memory_mb']} MB at the peak"],
        ["weights", f"{report['precision']}; int8 gives {report['int8_agreement']:.1%} of the labels of fp32"],
        ["parameters", f"{report['parameters']:,}"],
        ["cost", f"{report['seconds_per_1000_posts']:.2f} s per 1,000 posts in int8 on the machine that trained"],
    ]
    return _table(["", ""], rows)


def _set(key: str, after: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
    rows = []
    for figure in _FIGURES:
        interval = after["interval"].get(figure)
        spread = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        old = "" if before is None else f"{before[figure]:.4f}"
        change = "" if before is None else _change(after[figure] - before[figure], figure != "calibration_error")
        rows.append([figure.replace("_", " "), f"{after[figure]:.4f}", spread, old, change])
    table = _table(["", "after", "95 % interval", "before", "change"], rows, raw_last=True)
    classes = [
        [name, *(f"{after[f][i]:.3f}" for f in ("precision", "recall", "f1")), str(sum(after["confusion"][i]))]
        for i, name in enumerate(after["classes"])
    ]
    parts = [f"<h2>{escape(key)}: {after['rows']} rows</h2>", table]
    parts.append(_table(["class", "precision", "recall", "F1", "rows"], classes))
    if after["slices"]:
        rows = [[k, f"{v['accuracy']:.3f}", f"{v['macro_f1']:.3f}", str(v["rows"])] for k, v in after["slices"].items()]
        parts.append(_table(["slice", "accuracy", "macro F1", "rows"], rows))
    if len(after["classes"]) <= _MAX_CLASSES_DRAWN:
        parts.append(_confusion(after["classes"], after["confusion"]))
    return parts


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
    return _image(figure, "confusion matrix")


def _ascii(name: str) -> str:
    """Matplotlib's own font has no Han: such names are cut down to their code points."""
    return name if name.isascii() else "-".join(f"{ord(c):x}" for c in name[:4])


def _noise(robustness: Mapping[str, Mapping[str, float]]) -> str:
    kinds = list(next(iter(robustness.values())))
    return _table(["head", *kinds], [[h, *(f"{r[k]:.3f}" for k in kinds)] for h, r in robustness.items()])


def _data(data: Mapping[str, Any]) -> str:
    rows = [[head, label, str(n)] for head, counts in data["classes"].items() for label, n in counts.items()]
    said = f"<p>{data['used']} of {data['rows']} rows used; {data['exact_duplicates']} duplicates and "
    said += f"{data['near_duplicates']} near-duplicates merged, {len(data['problems'])} rows left out.</p>"
    left = "".join(f"<li>{escape(p)}</li>" for p in data["problems"][:50])
    return f"<h2>Data</h2>{said}<ul>{left}</ul>" + _table(["head", "class", "rows"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, raw_last: bool = False) -> str:
    cells = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = ""
    for row in rows:
        last = len(row) - 1
        body += (
            "<tr>"
            + "".join(f"<td>{c if raw_last and i == last else escape(c)}</td>" for i, c in enumerate(row))
            + "</tr>"
        )
    return f"<table><tr>{cells}</tr>{body}</table>"


def _change(value: float, higher_is_better: bool) -> str:
    better = (value > 0) == higher_is_better
    return f'<span class="{"up" if better else "down"}">{value:+.4f}</span>' if value else "0"


def _image(figure: Any, alt: str) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return f'<p><img alt="{alt}" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"></p>'
