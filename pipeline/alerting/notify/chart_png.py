"""The last day of an alert's key as a small PNG, for channels that show pictures. Pure."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from pipeline.domain.alert import VOLUME

WIDTH, HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 14, 26
_INK, _DIM, _BAR, _HOT, _USUAL = "#1f2933", "#8793a1", "#9fb3c8", "#d64545", "#2f7d4f"


def chart_png(alert: Mapping[str, Any]) -> bytes | None:
    """Bars of the negative share (of the posts in the volume lane) per half-hour, red since the rise began.

    A line shows what was expected. None where the alert holds no counts, as that of many keys at once.
    """
    series = alert.get("series")
    if not series or not any(series["posts"]):
        return None
    volume = alert.get("lane") == VOLUME
    step, end = series["step_s"], series["end"]
    posts, negatives = series["posts"], series["negatives"]
    values = [float(n) if volume else k / n if n else 0.0 for n, k in zip(posts, negatives, strict=True)]
    usual = alert["expected"] * step / alert["window_s"] if volume else alert["expected_share"]
    top = max(*values, usual) * 1.08 or 1.0
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    floor, height, width = HEIGHT - _BOTTOM, HEIGHT - _TOP - _BOTTOM, WIDTH - _LEFT - _RIGHT
    since = datetime.fromisoformat(alert["started_at"]).timestamp()
    for i, value in enumerate(values):
        begins = end - (len(values) - i) * step
        left, right = (_LEFT + width * j / len(values) for j in (i, i + 1))
        hot = begins + step > since
        if value:
            draw.rectangle((left + 1, floor - height * value / top, right - 2, floor), fill=_HOT if hot else _BAR)
        if i % 8 == 0:
            at = datetime.fromtimestamp(begins, UTC).strftime("%d %b %H:%M" if i == 0 else "%H:%M")
            draw.text((left, floor + 6), at, fill=_DIM, font=font)
    draw.line((_LEFT, floor, WIDTH - _RIGHT, floor), fill=_INK)
    for value, colour in ((max(values), _INK), (usual, _USUAL)):
        y = floor - height * value / top
        draw.line((_LEFT, y, WIDTH - _RIGHT, y), fill=colour if colour == _USUAL else "#e4e7eb")
        label = f"{value:.0f}" if volume else f"{value:.0%}"
        draw.text((_LEFT - 6, y), label, fill=colour, font=font, anchor="rm")
    draw.text((WIDTH - _RIGHT, _TOP - 12), "UTC", fill=_DIM, font=font, anchor="ra")
    held = io.BytesIO()
    picture.save(held, "PNG", optimize=True)
    return held.getvalue()
