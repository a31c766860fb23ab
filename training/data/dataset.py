"""Files of labelled texts -> training, validation and test rows, and a report on what the files hold.

The split is a function of the text's content hash, so that reposts and later imports never straddle it. The golden
rows (the test part) therefore stay the same when data is added.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from models.files.annotation_files import LabelFileError, LabelledText, Problem, folded, heads_of, read_label_file
from models.heads import TOWARD, TOWARD_LABELS
from models.json_types import JsonObject
from models.text import content_hash, language
from training.config import TrainingDataError, with_toward_last
from training.data.duplicates import near_duplicates
from training.data.examples import Example, Mention, merged_mentions

MIN_ROWS = 20
MIN_PER_CLASS = 2
LONG_CHARACTERS = 4000
_SHOWN = 5


@dataclass
class Report:
    """What was read and what became of it; for people and for `report.json`."""

    files: list[str]
    rows: int = 0
    used: int = 0
    problems: list[str] = field(default_factory=list)
    unknown_columns: list[str] = field(default_factory=list)
    exact_duplicates: int = 0
    near_duplicates: int = 0
    conflicting: list[str] = field(default_factory=list)
    too_long: int = 0
    capped: dict[str, int] = field(default_factory=dict)
    languages: dict[str, int] = field(default_factory=dict)
    classes: dict[str, dict[str, int]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """For a terminal."""
        said = [f"{self.used} of {self.rows} rows used, from {', '.join(self.files)}"]
        said += [f"left out: {p}" for p in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            said.append(f"left out: {len(self.problems) - _SHOWN} more rows (report.json has all)")
        if self.unknown_columns:
            said.append(f"columns that are no labels: {', '.join(self.unknown_columns)}")
        if self.exact_duplicates or self.near_duplicates:
            said.append(f"merged {self.exact_duplicates} duplicates and {self.near_duplicates} near-duplicates")
        said += [f"left out, two labels for one text: {c}" for c in self.conflicting[:_SHOWN]]
        if self.too_long:
            said.append(f"{self.too_long} texts are over {LONG_CHARACTERS} characters: the model reads the beginning")
        said += [f"source {s}: {n} rows left out by source_cap" for s, n in self.capped.items()]
        said.append("languages: " + ", ".join(f"{k} {v}" for k, v in self.languages.items()))
        said += [f"{head}: " + ", ".join(f"{k} {v}" for k, v in c.items()) for head, c in self.classes.items()]
        return said

    def to_json(self) -> JsonObject:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows by part; `heads` in the order of the model's outputs."""

    heads: dict[str, list[str]]
    train: list[Example]
    validation: list[Example]
    test: list[Example]
    report: Report


def read_dataset(
    files: Sequence[Path],
    *,
    heads: Mapping[str, Sequence[str]] | None = None,
    base_heads: Mapping[str, Sequence[str]] | None = None,
    head: str = "label",
    source_cap: float = 1.0,
    seed: int = 17,
) -> Dataset:
    """Reads, checks and splits; raises `TrainingDataError` before anything is trained.

    With `heads`, a row with another head or class is left out and told. Without it, the scheme is `base_heads` where
    that covers all that the files use, else what they use.
    """
    report = Report([f.name for f in files])
    rows = _read(files, head, heads, report)
    if base_heads and not heads and TOWARD in heads_of(rows):
        base_heads = {**base_heads, TOWARD: list(TOWARD_LABELS)}
    if base_heads and not heads and covers(base_heads, heads_of(like_base := folded(rows, base_heads))):
        rows = like_base
    used = with_toward_last(heads_of(rows))
    scheme = heads or (base_heads if base_heads and covers(base_heads, used) else None)
    known = {h: list(labels) for h, labels in (scheme or used).items()}
    rows = _placed(rows, report)
    rows = _known(rows, known, report, strict=heads is not None or TOWARD in used)
    rows = _merged(rows, report)
    rows = _capped(rows, source_cap, seed, report)
    report.used = len(rows)
    report.too_long = sum(len(r.full_text) > LONG_CHARACTERS for r in rows)
    report.languages = dict(Counter(r.lang or language(r.full_text) for r in rows).most_common())
    present = {h: Counter(r.labels[h] for r in rows if h in r.labels) for h in known}
    report.classes = {h: dict(c.most_common()) for h, c in present.items() if c}
    _enough(rows, report)
    if heads is None:
        _trainable({h: c for h, c in present.items() if c}, of_base=scheme is not None)
    used_heads = (
        known
        if scheme is not None
        else {h: labels if h == TOWARD else [x for x in labels if present[h][x]] for h, labels in known.items()}
    )
    indexes = {h: {x: i for i, x in enumerate(labels)} for h, labels in used_heads.items()}
    parts: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for row in rows:
        targets: dict[str, tuple[int, ...]] = {h: (indexes[h][x],) for h, x in row.labels.items()}
        toward = targets.pop(TOWARD, ())
        mentions = (Mention(*row.mention, toward, name=True),) if row.mention and toward else ()
        parts[part_of(row.full_text)].append(Example(row.full_text, row.source or "file", targets, mentions=mentions))
    merged = {part: merged_mentions(examples) for part, examples in parts.items()}
    return Dataset(used_heads, merged["train"], merged["validation"], merged["test"], report)


def covers(scheme: Mapping[str, Sequence[str]], heads: Mapping[str, Sequence[str]]) -> bool:
    """Whether every head and class of `heads` is in `scheme`."""
    return bool(heads) and all(set(labels) <= set(scheme.get(head, ())) for head, labels in heads.items())


def part_of(text: str) -> str:
    """`train` for eight texts of ten, `validation` and `test` for one each, by content hash.

    >>> part_of("hello") == part_of("Hello  https://x.example/1")
    True
    """
    tenth = int(content_hash(text)[8:16], 16) % 10
    return {0: "test", 1: "validation"}.get(tenth, "train")


def _read(
    files: Sequence[Path], head: str, heads: Mapping[str, Sequence[str]] | None, report: Report
) -> list[LabelledText]:
    rows: list[LabelledText] = []
    for file in files:
        try:
            found = read_label_file(file, head, heads)
        except LabelFileError as error:
            raise TrainingDataError(str(error)) from None
        rows += found.rows
        report.rows += len(found.rows) + len(found.problems)
        report.problems += map(str, found.problems)
        report.unknown_columns += found.unknown
    return rows


def _known(
    rows: Sequence[LabelledText], heads: Mapping[str, Sequence[str]], report: Report, *, strict: bool
) -> list[LabelledText]:
    kept = []
    for row in rows:
        bad = [f"{h}={x}" for h, x in row.labels.items() if x not in heads.get(h, ())]
        if bad and strict:
            report.problems.append(str(Problem(row.place, f"{', '.join(bad)} is not in the label scheme")))
        else:
            kept.append(row)
    return kept


def _placed(rows: Sequence[LabelledText], report: Report) -> list[LabelledText]:
    """The rows but for those with a label toward a target that their text does not contain."""
    kept = []
    for row in rows:
        if TOWARD in row.labels and row.mention is None:
            reason = f"field 'target': the text does not contain {row.subject[:40]!r}"
            report.problems.append(str(Problem(row.place, reason)))
        else:
            kept.append(row)
    return kept


def _merged(rows: Sequence[LabelledText], report: Report) -> list[LabelledText]:
    """One row per text and target: the newest label of each annotator, the majority over annotators.

    A tie leaves the row out.
    """
    groups: dict[tuple[str, tuple[int, int] | None], list[LabelledText]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: r.instant):
        groups[content_hash(row.full_text), row.mention].append(row)
    single: list[LabelledText] = []
    for group in groups.values():
        report.exact_duplicates += len(group) - 1
        labels = _voted(group)
        if labels is None:
            report.conflicting.append(", ".join(r.place for r in group))
        else:
            single.append(replace(group[0], labels=labels, annotator="", at="", suggested={}))
    texts = list(dict.fromkeys(r.full_text for r in single))
    keep = near_duplicates(texts)
    report.near_duplicates = len(texts) - len(keep)
    kept = {texts[i] for i in keep}
    return [r for r in single if r.full_text in kept]


def _voted(group: Sequence[LabelledText]) -> dict[str, str] | None:
    by_head: dict[str, dict[str, str]] = defaultdict(dict)
    for number, row in enumerate(group):
        for head, label in row.labels.items():
            by_head[head][row.annotator or f"row {number}"] = label
    labels = {}
    for head, votes in by_head.items():
        ranked = Counter(votes.values()).most_common(2)
        if len(ranked) > 1 and ranked[0][1] == ranked[1][1]:
            return None
        labels[head] = ranked[0][0]
    return labels


def _capped(rows: Sequence[LabelledText], cap: float, seed: int, report: Report) -> list[LabelledText]:
    by_source: dict[str, list[LabelledText]] = defaultdict(list)
    for row in rows:
        by_source[row.source].append(row)
    limit = max(MIN_ROWS, int(cap * len(rows)))
    kept = []
    for source, mine in by_source.items():
        if cap < 1 and len(by_source) > 1 and len(mine) > limit:
            report.capped[source or "(none)"] = len(mine) - limit
            mine = random.Random(seed).sample(mine, limit)  # noqa: S311
        kept += mine
    return kept


def _enough(rows: Sequence[LabelledText], report: Report) -> None:
    why = f"; first problem: {report.problems[0]}" if report.problems else ""
    if len(rows) < MIN_ROWS:
        raise TrainingDataError(
            f"{len(rows)} usable rows, training needs at least {MIN_ROWS}: label more, or see 'opinionwatch labels "
            f"queue'{why}"
        )


def _trainable(present: Mapping[str, Counter[str]], *, of_base: bool) -> None:
    """Classes that the base knows may be rare here, and a head of one class is none to learn from but no mistake."""
    single = [head for head, counts in present.items() if len(counts) < 2]
    if single and (not of_base or len(single) == len(present)):
        only = next(iter(present[single[0]]))
        raise TrainingDataError(
            f"head {single[0]!r} has one class only, {only!r}: a classifier needs rows of at least two"
        )
    for head, counts in present.items():
        rare = [x for x, n in counts.items() if n < MIN_PER_CLASS]
        if rare and not of_base:
            raise TrainingDataError(
                f"head {head!r}: {', '.join(map(repr, rare[:5]))} {'has' if len(rare) == 1 else 'have'} one row "
                "only; label more, or take them out. If this column is no label, rename it (e.g. 'extra')"
            )
