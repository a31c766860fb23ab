"""Many keys that fire at once are one message. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.domain.alert import VOLUME
from pipeline.domain.counting import EVERYTHING

EVIDENCE = 5


def group_document(alerts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One alert that stands for several (documents with their `id`), the worst of them first.

    Counts are sums over the keys, in which a post of two keys counts twice: the message says so by naming the keys.
    """
    ranked = sorted(alerts, key=lambda a: (a["severity"] != "critical", -a["score"], a["key"]))
    worst = ranked[0]
    posts = sum(a["posts"] for a in ranked)
    observed, expected = sum(a["observed"] for a in ranked), round(sum(a["expected"] for a in ranked), 2)
    digest = hashlib.sha256("\x00".join(sorted(a["id"] for a in alerts)).encode()).hexdigest()[:16]
    return {
        **worst,
        "id": f"group-{digest}",
        "key": f"{len(ranked)} keys",
        **asdict(EVERYTHING),
        "observed": observed,
        "expected": expected,
        "posts": posts,
        "share": round(observed / posts, 4) if posts and worst.get("lane") != VOLUME else None,
        "lift": round(observed / expected, 2) if expected else 0.0,
        "started_at": min(a["started_at"] for a in ranked),
        "window_s": max(a["window_s"] for a in ranked),
        "related": [a["key"] for a in ranked],
        "evidence": [a["evidence"][0] for a in ranked if a["evidence"]][:EVIDENCE],
        "terms": list(dict.fromkeys(t for a in ranked for t in a.get("terms", ())[:2]))[:6],
        "spread": {},
        "series": {},
        "last_hour": {},
    }
