"""Rows of labelled files -> examples with a set of allowed classes per head."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.files.columns import text_fields
from models.files.encodings import FileError
from models.files.rows import BadRow
from models.files.tables import read_table
from models.files.targets import TargetAbsentError, TargetError, span_of
from models.heads import TOWARD
from models.text import content_hash, full_text
from training.config import Source, Target, TrainingConfig, TrainingConfigError, TrainingDataError
from training.data.weak_labels import labelling_function

#: The files that belong to the recipes themselves.
WRITTEN = Path(__file__).parent.parent / "examples"


@dataclass(frozen=True, slots=True)
class Mention:
    """Characters [start, end) of a text, and the classes of the head `toward` that count as right there.

    `name` marks a target that may get another name in training. `soft` holds probabilities of a teacher or of the
    base in place of `classes`.
    """

    start: int
    end: int
    classes: tuple[int, ...] = ()
    weight: float = 1.0
    name: bool = False
    soft: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """`targets[head]` holds the indexes of the classes that count as right; a missing head is masked.

    The head `toward` is not among `targets`: it has a label for each of the `mentions`. `soft` holds a teacher's
    probabilities of all classes of the other heads, one head after another (`loop/distillation.py`).
    """

    text: str
    source: str
    targets: dict[str, tuple[int, ...]]
    weights: dict[str, float] = field(default_factory=dict)
    soft: NDArray[np.float16] | None = field(default=None, compare=False)
    mentions: tuple[Mention, ...] = ()


def read_rows(path: Path) -> Iterator[dict[str, object]]:
    """Objects of a JSONL, JSON or CSV file, their text as `text`; raises `TrainingDataError` naming file and line."""
    text_column, found = "text", False
    try:
        for row in read_table(path):
            if isinstance(row, BadRow):
                raise TrainingDataError(f"{path}:{row.line}: {row.reason}")
            if not found:
                text_column, found = text_fields(row.values)[0] or "text", True
            text = row.values.get(text_column)
            if not isinstance(text, str):
                raise TrainingDataError(f"{path}:{row.line}: needs an object with a string field 'text'")
            yield {**row.values, "text": text}
    except FileError as error:
        raise TrainingDataError(str(error)) from error


def held_out(text: str) -> bool:
    """A stable fifth of all texts, by content hash: reposts never straddle the split."""
    return int(content_hash(text)[:8], 16) % 5 == 0


def row_text(row: dict[str, object]) -> str:
    """Title and text as serving joins them."""
    title = row.get("title")
    return full_text(title if isinstance(title, str) else "", str(row["text"]))


def load_source(config: TrainingConfig, source: Source, folder: Path, *, evaluation: bool) -> list[Example]:
    """Examples of one source; for evaluation, rows flagged `dup_in_train` are left out."""
    indexes = {head: {label: i for i, label in enumerate(labels)} for head, labels in config.heads.items()}
    classes_of = {head: _classes_of(config, target) for head, target in source.heads.items()}
    examples: list[Example] = []
    for number, row in enumerate(read_rows((WRITTEN if source.written else folder) / source.file), 1):
        text = str(row["text"])
        if evaluation and row.get("dup_in_train"):
            continue
        if source.held_out_fifth and held_out(text) != evaluation:
            continue
        targets: dict[str, tuple[int, ...]] = {}
        for head, find in classes_of.items():
            if not (classes := find(row)):
                continue
            try:
                targets[head] = tuple(sorted(indexes[head][c] for c in classes))
            except KeyError as error:
                raise TrainingConfigError(
                    f"{source.file}: label {error} is not a class of head {head!r}; add it to [heads] or a map"
                ) from None
        mentions = _mentions(row, targets.pop(TOWARD, ()), source, number)
        if targets or mentions or not source.heads:
            examples.append(Example(row_text(row), source.file, targets, mentions=mentions))
    examples = merged_mentions(examples)
    if source.limit is not None and len(examples) > source.limit:
        examples = random.Random(config.train.seed).sample(examples, source.limit)  # noqa: S311
    return _balanced(examples, source)


def _mentions(row: dict[str, object], classes: tuple[int, ...], source: Source, number: int) -> tuple[Mention, ...]:
    """The row's mention with its classes of `toward`; none where the row has no such label."""
    if not classes:
        return ()
    text = str(row["text"])
    try:
        start, end = span_of(row, text, source.mention.columns)
    except TargetAbsentError as error:
        if source.mention.absent == "skip":
            return ()
        raise TrainingDataError(f"{source.file}, row {number}: {error}") from None
    except TargetError as error:
        raise TrainingDataError(f"{source.file}, row {number}: {error}") from None
    title = len(row_text(row)) - len(text)
    return (Mention(title + start, title + end, classes, name=source.mention.names),)


def merged_mentions(examples: Sequence[Example]) -> list[Example]:
    """One example per text for those with mentions, so that the encoder reads a text once for all its targets.

    The first label of a place counts.
    """
    merged: list[Example] = []
    at: dict[str, int] = {}
    for example in examples:
        if not example.mentions:
            merged.append(example)
        elif (first := at.setdefault(example.text, len(merged))) == len(merged):
            merged.append(example)
        else:
            known = {(m.start, m.end): m for m in (*example.mentions, *merged[first].mentions)}
            places = tuple(known[place] for place in sorted(known))
            labels = {**example.targets, **merged[first].targets}
            merged[first] = replace(merged[first], targets=labels, mentions=places)
    return merged


def _classes_of(config: TrainingConfig, target: Target) -> Callable[[dict[str, object]], list[str]]:
    """From a row to the classes that count as right for a head; none where the row says nothing of it."""
    if (constant := target.constant) is not None:
        return lambda _: constant
    if target.words is not None:
        label = labelling_function(config.words[target.words])
        return lambda row: label(str(row["text"]))
    mapped = None if target.map is None else config.maps[target.map]

    def of_field(row: dict[str, object]) -> list[str]:
        if (raw := row.get(target.field)) is None:
            return []
        return [str(raw)] if mapped is None else mapped.get(str(raw), [])

    return of_field


def _balanced(examples: list[Example], source: Source) -> list[Example]:
    weights: dict[str, dict[tuple[int, ...], float]] = {}
    for head, target in source.heads.items():
        counts = Counter(classes for e in examples for classes in _labels(e, head))
        if target.balance and counts:
            raw = {k: (1 / n) ** target.balance for k, n in counts.items()}
            mean = sum(raw[k] * n for k, n in counts.items()) / sum(counts.values())
            weights[head] = {k: w / mean for k, w in raw.items()}
    if not weights:
        return examples
    toward = weights.pop(TOWARD, {})
    return [
        replace(
            e,
            weights={h: w[e.targets[h]] for h, w in weights.items() if h in e.targets},
            mentions=tuple(replace(m, weight=toward.get(m.classes, 1.0)) for m in e.mentions),
        )
        for e in examples
    ]


def _labels(example: Example, head: str) -> list[tuple[int, ...]]:
    if head == TOWARD:
        return [m.classes for m in example.mentions]
    return [example.targets[head]] if head in example.targets else []


def unlabelled_examples(config: TrainingConfig, folder: Path, known: Sequence[Example]) -> list[Example]:
    """Texts of the `unlabelled` files, each once, but for those in `known`: what is learned or scored already."""
    seen = {content_hash(e.text) for e in known}
    examples: list[Example] = []
    for file in config.unlabelled:
        for row in read_rows(folder / file):
            key = content_hash(text := row_text(row))
            if key not in seen:
                seen.add(key)
                examples.append(Example(text, file, {}))
    return examples


def load_training(config: TrainingConfig, folder: Path) -> list[Example]:
    """All training examples: no text of any evaluation or calibration file, each text once per source."""
    forbidden = {
        content_hash(e.text)
        for source in [*config.evaluation, *config.calibration]
        for e in load_source(config, source, folder, evaluation=True)
    }
    examples: list[Example] = []
    for source in config.sources:
        seen: set[str] = set()
        for example in load_source(config, source, folder, evaluation=False):
            key = content_hash(example.text)
            if key not in forbidden and key not in seen:
                seen.add(key)
                examples.extend([example] * source.repeat)
    if not examples:
        raise TrainingConfigError("no training row is left; check the sources and their labels")
    return examples
