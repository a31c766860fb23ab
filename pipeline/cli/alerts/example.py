"""The alert that `alerts test-channel` sends."""

from __future__ import annotations

from datetime import datetime, timedelta

from models.json_types import JsonObject


def example_alert(now: datetime) -> JsonObject:
    """A warning about a subject that does not exist, one hour old."""
    written = now.isoformat(timespec="seconds")
    half_hours = {
        "posts": (*[26, 31, 24, 29, 33, 27] * 7, *[28] * 4, 30, 30),
        "negatives": (*[3, 5, 4] * 15, 4, 15, 16),
    }
    return {
        "lane": "negative",
        "id": f"subject:Example@{now:%Y%m%dT%H%MZ}",
        "key": "subject:Example",
        "topic": "",
        "subject": "Example",
        "source": "",
        "severity": "warning",
        "state": "open",
        "started_at": (now - timedelta(hours=1)).isoformat(timespec="seconds"),
        "updated_at": written,
        "resolved_at": None,
        "observed": 31,
        "expected": 8.2,
        "posts": 60,
        "share": 0.5167,
        "expected_share": 0.1367,
        "lift": 3.78,
        "score": 5.1,
        "window_s": 3600,
        "cold": False,
        "sequence": 0,
        "related": [],
        "model": "",
        "query": "",
        "terms": [],
        "spread": {},
        "series": {"end": int(now.timestamp()), "step_s": 1800, **half_hours},
        "evidence": [
            {"id": "0", "source": "opinionwatch", "url": "", "published_at": written, "negative_score": 0.9,
             "reposts": 2, "text": "This is a test of the channel. 这是一条测试消息。"}
        ],
    }  # fmt: skip
