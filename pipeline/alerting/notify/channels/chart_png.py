"""The last day of an alert's key as a small PNG, for channels that show images. Pure."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from PIL import Image, ImageDraw, ImageFont

from pipeline.domain.alert import VOLUME, Alert

WIDTH, HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 14, 26
_INK, _DIM, _BAR, _HOT, _EXPECTED, _GRID = "#1f2933", "#8793a1", "#9fb3c8", "#d64545", "#2f7d4f", "#e4e7eb"


def chart_png(alert: Alert) -> bytes | None:
    """Bars of the negative share per half-hour (in the volume lane of the posts), red since the alert began.

    A line shows what was expected. None if the alert has no counts, like an alert that groups many keys.
    """
    series = alert.series
    if series is None or not any(series.posts):
        return None
    volume, step = alert.lane == VOLUME, series.step_s
    values = [float(n) if volume else k / n if n else 0.0 for n, k in zip(series.posts, series.negatives, strict=True)]
    expected = alert.peak.expected * step / alert.peak.window_s if volume else alert.peak.expected_share or 0.0
    top = max(*values, expected) * 1.08 or 1.0
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    floor, height, width = HEIGHT - _BOTTOM, HEIGHT - _TOP - _BOTTOM, WIDTH - _LEFT - _RIGHT
    since = alert.started_at.timestamp()
    for i, value in enumerate(values):
        begins = series.end - (len(values) - i) * step
        left, right = (_LEFT + width * j / len(values) for j in (i, i + 1))
        hot = begins + step > since
        if value:
            draw.rectangle((left + 1, floor - height * value / top, right - 2, floor), fill=_HOT if hot else _BAR)
        if i % 8 == 0:
            at = datetime.fromtimestamp(begins, UTC).strftime("%d %b %H:%M" if i == 0 else "%H:%M")
            draw.text((left, floor + 6), at, fill=_DIM, font=font)
    draw.line((_LEFT, floor, WIDTH - _RIGHT, floor), fill=_INK)
    for value, colour in ((max(values), _INK), (expected, _EXPECTED)):
        y = floor - height * value / top
        draw.line((_LEFT, y, WIDTH - _RIGHT, y), fill=colour if colour == _EXPECTED else _GRID)
        label = f"{value:.0f}" if volume else f"{value:.0%}"
        draw.text((_LEFT - 6, y), label, fill=colour, font=font, anchor="rm")
    draw.text((WIDTH - _RIGHT, _TOP - 12), "UTC", fill=_DIM, font=font, anchor="ra")
    png = io.BytesIO()
    image.save(png, "PNG", optimize=True)
    return png.getvalue()
