"""Scores an engine on labelled rows, overall and in slices, with intervals, and its robustness to noisy text."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from models.engine import OnnxEngine
from models.heads import SENTIMENT, TOWARD, TOWARD_LABELS, TargetPrediction
from models.json_types import JsonObject
from models.text import language
from training.data.examples import Example
from training.data.mentions import mention_examples
from training.data.perturbations import PERTURBATIONS
from training.evaluation.scores import (
    Outcomes,
    Probabilities,
    Scores,
    accuracy_of,
    interval,
    macro_f1,
    macro_f1_of,
    outcomes,
    scores,
    wrong_share,
)

#: The key of what the whole text's sentiment says about a target.
BY_SENTIMENT = f"{TOWARD} by {SENTIMENT}"
_MIN_SLICE = 30
_ROBUSTNESS_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Slice:
    """The figures of some rows of a set."""

    rows: int
    accuracy: float
    macro_f1: float


@dataclass(frozen=True, slots=True)
class SetScores:
    """The figures of one head on one set of rows, with the names of its classes in the order of the figures.

    `interval` holds the 95 % intervals of accuracy and macro F1. For mentions, `wrong_negatives` is the share of wrong
    ones among those called negative; else it is None.
    """

    figures: Scores
    classes: list[str]
    interval: dict[str, tuple[float, float]]
    slices: dict[str, Slice]
    wrong_negatives: float | None = None

    def to_json(self) -> JsonObject:
        """As in `evaluate --json` and in `report.json`."""
        return {
            **asdict(self.figures),
            "classes": self.classes,
            "interval": self.interval,
            "slices": {name: asdict(each) for name, each in self.slices.items()},
            **({} if self.wrong_negatives is None else {"wrong_negatives": self.wrong_negatives}),
        }


def evaluate_sets(
    engine: OnnxEngine,
    heads: Mapping[str, Sequence[str]],
    sets: Mapping[str, Sequence[Example]],
    *,
    every_class: bool = False,
) -> dict[str, SetScores]:
    """Returns the scores by `set/head`.

    For rows with mentions, `set/toward` judges each mention, and `set/toward by sentiment` takes the sentiment of the
    whole text for it.
    """
    result: dict[str, SetScores] = {}

    def judge(key: str, predicted: Mapping[str, Probabilities], rows: Sequence[Example], head: str) -> Outcomes:
        labels = TOWARD_LABELS if head == TOWARD else heads[head]
        found = outcomes(predicted[head], rows, head, every_class=every_class)
        result[key] = SetScores(
            figures=scores(found),
            classes=["/".join(labels[i] for i in classes) for classes in found.classes],
            interval={"accuracy": interval(found, accuracy_of), "macro_f1": interval(found, macro_f1_of)},
            slices=slices(predicted, heads, rows, head, every_class),
        )
        return found

    for name, examples in sets.items():
        predicted = probabilities_of(engine, [e.text for e in examples])
        for head in heads:
            if head in predicted and any(head in e.targets for e in examples):
                judge(f"{name}/{head}", predicted, examples, head)
        for how, (mentions, found) in mention_probabilities(engine, examples).items():
            if mentions:
                key = f"{name}/{how}"
                wrong = wrong_share(judge(key, {TOWARD: found}, mentions, TOWARD), 0)
                result[key] = replace(result[key], wrong_negatives=wrong)
    return result


def engine_heads(engine: OnnxEngine) -> dict[str, list[str]]:
    """The heads and their classes in the order of the manifest, `toward` included."""
    heads = {head.name: list(head.labels) for head in engine.heads.values()}
    return heads if engine.toward is None else {**heads, TOWARD: list(engine.toward.labels)}


def mention_probabilities(
    engine: OnnxEngine, examples: Sequence[Example]
) -> dict[str, tuple[list[Example], Probabilities]]:
    """The labelled mentions as examples, with float32[mentions, 3], by the head `toward` and by the whole text.

    Each way is left out where the engine lacks the head.
    """
    rows = [e for e in examples if e.mentions]
    mentions = [one for e in rows for one in mention_examples(e)]
    found: dict[str, tuple[list[Example], Probabilities]] = {}
    if not rows:
        return found
    if engine.toward is not None:
        found[TOWARD] = mentions, toward_probabilities(engine, rows)
    sentiment = engine.heads.get(SENTIMENT)
    if sentiment is not None and set(TOWARD_LABELS) <= set(sentiment.labels):
        whole = probabilities_of(engine, [e.text for e in rows])[SENTIMENT]
        order = [sentiment.labels.index(label) for label in TOWARD_LABELS]
        found[BY_SENTIMENT] = mentions, np.repeat(whole[:, order], [len(e.mentions) for e in rows], axis=0)
    return found


def toward_probabilities(engine: OnnxEngine, examples: Sequence[Example]) -> Probabilities:
    """float32[mentions, 3] of the head `toward`, at the mentions of the first row, then of the second, and so on."""
    places = [{str(i): [(m.start, m.end)] for i, m in enumerate(e.mentions)} for e in examples]
    predicted = engine.infer(engine.encode([e.text for e in examples], places))
    lines = [
        _probabilities(prediction.toward.get(str(i)))
        for prediction, example in zip(predicted, examples, strict=True)
        for i in range(len(example.mentions))
    ]
    return np.array(lines, np.float32).reshape(-1, len(TOWARD_LABELS))


def short(result: Mapping[str, SetScores]) -> dict[str, float]:
    """The figures that a manifest keeps: `set/head/figure` -> value."""
    kept = ("rows", "accuracy", "macro_recall", "macro_f1")
    return {f"{key}/{name}": round(float(getattr(x.figures, name)), 4) for key, x in result.items() for name in kept}


def probabilities_of(engine: OnnxEngine, texts: Sequence[str]) -> dict[str, Probabilities]:
    """float32[len(texts), classes] per head."""
    predictions = engine.predict(texts)
    return {
        head: np.array([list(p.probabilities(head).values()) for p in predictions], np.float32).reshape(len(texts), -1)
        for head in engine.heads
    }


def _probabilities(found: TargetPrediction | None) -> list[float]:
    """The probabilities toward a mention; all equal where the engine reads neither the mention nor a sentiment."""
    if found is None:
        return [1 / len(TOWARD_LABELS)] * len(TOWARD_LABELS)
    return [found.probabilities[label] for label in TOWARD_LABELS]


def slices(
    predicted: Mapping[str, Probabilities],
    heads: Mapping[str, Sequence[str]],
    examples: Sequence[Example],
    head: str,
    every_class: bool,
) -> dict[str, Slice]:
    """Returns the figures by language, length, source, and the model's labels of the other heads (the topic).

    Slices of fewer than 30 rows are left out.
    """
    values: dict[str, Sequence[str]] = {
        "language": [language(e.text) for e in examples],
        "length": [_length(e.text) for e in examples],
        "source": [e.source for e in examples],
        **{h: [heads[h][i] for i in p.argmax(1)] for h, p in predicted.items() if h != head and h in heads},
    }
    found: dict[str, Slice] = {}
    for kind, names in values.items():
        groups: dict[str, list[int]] = {}
        for i, e in enumerate(examples):
            if head in e.targets:
                groups.setdefault(names[i], []).append(i)
        if len(groups) < 2:
            continue
        for value, rows in sorted(groups.items()):
            if len(rows) >= _MIN_SLICE:
                kept = predicted[head][rows]
                s = scores(outcomes(kept, [examples[i] for i in rows], head, every_class=every_class))
                found[f"{kind} {value}"] = Slice(s.rows, s.accuracy, s.macro_f1)
    return found


def robustness(engine: OnnxEngine, examples: Sequence[Example]) -> dict[str, dict[str, float]]:
    """The macro F1 per head without noise and with each kind of noise, on up to 1,000 rows."""
    rows = list(examples[:_ROBUSTNESS_ROWS])
    if not rows:
        return {}
    texts = [e.text for e in rows]
    found: dict[str, dict[str, float]] = {}
    kinds: dict[str, Callable[[str], str]] = {"none": str, **PERTURBATIONS}
    for name, perturb in kinds.items():
        predicted = probabilities_of(engine, [perturb(t) for t in texts])
        for head in predicted:
            if any(head in e.targets for e in rows):
                found.setdefault(head, {})[name] = macro_f1(predicted[head], rows, head)
    return found


def seconds_per_1000(engines: Sequence[OnnxEngine], texts: Sequence[str]) -> list[float]:
    """Seconds per 1,000 posts like these on this machine, per engine: the best of 5 alternating runs.

    The best run counts, since other load on the machine can only slow a run down.
    """
    batch = list(texts[:256])
    best = [float("inf")] * len(engines)
    for turn in range(6):
        for i, engine in enumerate(engines):
            started = time.perf_counter()
            engine.predict(batch)
            if turn and batch:
                best[i] = min(best[i], (time.perf_counter() - started) / len(batch) * 1000)
    return best if batch else [0.0] * len(engines)


def outcomes_of(engine: OnnxEngine, examples: Sequence[Example]) -> dict[str, Outcomes]:
    """Per head of the engine that the rows have labels for."""
    predicted = probabilities_of(engine, [e.text for e in examples])
    found = {
        head: outcomes(predicted[head], examples, head, every_class=True)
        for head in predicted
        if any(head in e.targets for e in examples)
    }
    if TOWARD in (by := mention_probabilities(engine, examples)):
        mentions, judged = by[TOWARD]
        found[TOWARD] = outcomes(judged, mentions, TOWARD, every_class=True)
    return found


def _length(text: str) -> str:
    return "short (< 40)" if len(text) < 40 else "medium (40-199)" if len(text) < 200 else "long (200+)"
