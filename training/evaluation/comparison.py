"""Compares champion and challenger on the same rows, for the gate."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.bundle import load_bundle, read_manifest
from models.engine import OnnxEngine
from models.files.annotation_files import PEOPLE
from training.data.dataset import read_dataset
from training.data.examples import Example
from training.data.mentions import any_place
from training.evaluation.evaluate import engine_heads, outcomes_of, seconds_per_1000, toward_probabilities
from training.evaluation.gate import Policy, judge
from training.evaluation.scores import Outcomes

#: Where the champion's labels replace people's, only labels with at least this probability count.
_SURE = 0.7


def compare(
    champion: Path,
    challenger: Path,
    rows: Path,
    golden: Sequence[Path],
    policy: Policy,
    alert_rates: tuple[float, float] | None,
) -> dict[str, Any]:
    """The verdict as JSON. `rows` is the file that the challenger was trained on; only its test part is judged.

    Without golden files, the rehearsal rows of the test part measure the agreement with the champion where it is sure.
    """
    old, new = load_bundle(champion, device="cpu"), load_bundle(challenger, device="cpu")
    heads = engine_heads(old)
    found = read_dataset([rows], heads=heads)
    newest = [e for e in found.test if e.source == PEOPLE]
    if golden:
        fixed = read_dataset(golden, heads=heads)
        judged = [*fixed.train, *fixed.validation, *fixed.test]
    else:
        judged = _sure(old, [e for e in found.test if e.source != PEOPLE])
    if old.toward is not None and not any(e.mentions for e in judged):
        judged = _at_places(old, judged)
    sets = {"golden": judged, "newest": newest}
    outcomes: dict[str, dict[str, dict[str, Outcomes]]] = {"old": {}, "new": {}}
    for name, examples in sets.items():
        if examples:
            outcomes["old"][name] = outcomes_of(old, examples)
            outcomes["new"][name] = outcomes_of(new, examples)
    texts = [e.text for e in (judged or newest)]
    old_cost, new_cost = seconds_per_1000([old, new], texts)
    costs: dict[str, tuple[float, float]] = {
        "seconds_per_1000": (old_cost, new_cost),
        "size_bytes": (_size(champion), _size(challenger)),
    }
    if alert_rates is not None:
        costs["alerts_per_key_week"] = alert_rates
    verdict = judge(outcomes["old"], outcomes["new"], heads, costs, policy)
    return {
        "champion": f"{old.name}-{old.version}",
        "challenger": f"{new.name}-{new.version}",
        "golden": [p.name for p in golden] or "rehearsal rows: agreement with the champion",
        **verdict.to_json(),
        "reason": verdict.reason,
        "accuracy": _accuracies(outcomes),
    }


def _sure(champion: OnnxEngine, examples: Sequence[Example]) -> list[Example]:
    """The rows with their labels of the heads that the champion is sure about; drops rows without such a label."""
    sure: list[Example] = []
    for example, said in zip(examples, champion.predict([e.text for e in examples]), strict=True):
        kept = {h: t for h, t in example.targets.items() if said.score(h) >= _SURE}
        if kept:
            sure.append(replace(example, targets=kept))
    return sure


def _at_places(champion: OnnxEngine, examples: Sequence[Example]) -> list[Example]:
    """The rows, each with what the champion says toward one random place, where it is sure.

    Without labelled targets, the head `toward` is judged by its agreement with the champion.
    """
    rng = random.Random(17)  # noqa: S311
    marked = [replace(e, mentions=(any_place(e.text, rng),)) if e.text.strip() else e for e in examples]
    found = iter(toward_probabilities(champion, [e for e in marked if e.mentions]))
    judged = []
    for example in marked:
        if example.mentions and (line := next(found)).max() >= _SURE:
            judged.append(replace(example, mentions=(replace(example.mentions[0], classes=(int(line.argmax()),)),)))
        else:
            judged.append(replace(example, mentions=()))
    return judged


def _accuracies(outcomes: Mapping[str, Mapping[str, Mapping[str, Outcomes]]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for which, sets in outcomes.items():
        for name, heads in sets.items():
            for head, o in heads.items():
                row = found.setdefault(f"{name}/{head}", {})
                row["before" if which == "old" else "after"] = round(float((o.said == o.true).mean()), 4)
    return found


def _size(bundle: Path) -> int:
    """The number of bytes that a worker without a GPU loads."""
    manifest = read_manifest(bundle)
    return sum(manifest.files[f].size_bytes for f in (manifest.model_file, manifest.tokenizer_file))
