"""What a manifest says of a head beyond its classes and temperature: when it abstains, and when irony is doubted."""

from __future__ import annotations

import json
from pathlib import Path

from models.bundle import MANIFEST, read_manifest


def keep_limits(base: Path, bundle: Path) -> None:
    """Gives the heads of `bundle` the limits of the heads of `base` that have the same name and classes.

    The probabilities of both are calibrated, so that a limit means the same for both. A folder `base` without a
    manifest has none to give.
    """
    if not (base / MANIFEST).is_file():
        return
    kept = {
        (head.name, tuple(head.labels)): head.model_dump(include={"abstain_below", "doubt"}, exclude_defaults=True)
        for head in read_manifest(base).heads
    }
    written = json.loads((bundle / MANIFEST).read_text("utf-8"))
    written["heads"] = [{**head, **kept.get((head["name"], tuple(head["labels"])), {})} for head in written["heads"]]
    (bundle / MANIFEST).write_text(json.dumps(written, ensure_ascii=False, indent=1), "utf-8")
