"""The score groups of a bundle's heads, from which an alert rule estimates shares (`models/prevalence.py`)."""

from __future__ import annotations

from collections.abc import Sequence

from models.engine import OnnxEngine
from models.heads import TOWARD
from models.json_types import JsonObject
from models.score_groups import score_groups
from training.data.examples import Example
from training.evaluation.evaluate import engine_heads, mention_probabilities, probabilities_of
from training.evaluation.scores import Probabilities


def prevalence_of(engine: OnnxEngine, rows: Sequence[Example]) -> dict[str, list[JsonObject]]:
    """The groups per head, of the rows with one class each; `rows` were not trained on."""
    if not rows:
        return {}
    heads = engine_heads(engine)
    predicted = probabilities_of(engine, [e.text for e in rows])
    judged: list[tuple[str, Sequence[Example], Probabilities]] = [(h, rows, p) for h, p in predicted.items()]
    if TOWARD in (found := mention_probabilities(engine, rows)):
        judged.append((TOWARD, *found[TOWARD]))
    groups: dict[str, list[JsonObject]] = {}
    for head, examples, probabilities in judged:
        classes = heads[head]
        by_source: dict[str, list[int]] = {}
        for i, example in enumerate(examples):
            if len(example.targets.get(head, ())) == 1:
                by_source.setdefault(example.source, []).append(i)
        for source, indexes in by_source.items():
            truth = [classes[examples[i].targets[head][0]] for i in indexes]
            name = source.removesuffix(".gz").removesuffix(".jsonl")
            found_groups = score_groups(name, truth, probabilities[indexes], classes)
            groups.setdefault(head, []).extend(g.to_json() for g in found_groups)
    return {head: listed for head, listed in groups.items() if listed}
