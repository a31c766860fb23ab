"""Whether a challenger may take the champion's place. The verdict says why, check by check. Pure on numbers.

Every check must pass: not worse overall (paired bootstrap over the same rows), no class falls by more than the
margin, better on the newest labels where there are any, size and cost within bounds, no more false alerts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.evaluation.scores import Outcomes, macro_f1_of, paired_interval, per_class

MIN_CLASS_ROWS = 20


@dataclass(frozen=True, slots=True)
class Policy:
    """Margins are in macro F1 or recall, [0, 1]; the factors are the challenger's over the champion's."""

    worse_by: float = 0.01
    class_falls_by: float = 0.05
    slower_by: float = 1.5
    larger_by: float = 1.25
    more_alerts_by: float = 1.25


@dataclass(frozen=True, slots=True)
class Check:
    """One condition: what was seen, and whether it holds."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`promoted` is true where every check passed."""

    promoted: bool
    checks: tuple[Check, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def reason(self) -> str:
        """In one line: what failed, or what was gained."""
        failed = [f"{c.name}: {c.detail}" for c in self.checks if not c.passed]
        return "; ".join(failed) if failed else "; ".join(c.detail for c in self.checks[:2])


def judge(
    champion: Mapping[str, Mapping[str, Outcomes]],
    challenger: Mapping[str, Mapping[str, Outcomes]],
    labels: Mapping[str, list[str]],
    costs: Mapping[str, tuple[float, float]],
    policy: Policy,
) -> Verdict:
    """`champion[set][head]` are outcomes on the same rows as the challenger's; sets are `golden` and `newest`.

    `costs[name]` is (champion, challenger) for `seconds_per_1000`, `size_bytes` and `alerts_per_key_week`.
    """
    checks: list[Check] = []
    for name, heads in champion.items():
        for head, old in heads.items():
            new = challenger[name].get(head)
            if new is None:
                checks.append(Check(f"{name}/{head}", False, "the challenger has no such head"))
            elif len(old.true):
                checks += _compared(name, head, old, new, labels[head], policy)
    bounds = {
        "seconds_per_1000": policy.slower_by,
        "size_bytes": policy.larger_by,
        "alerts_per_key_week": policy.more_alerts_by,
    }
    for name, (old_cost, new_cost) in costs.items():
        limit = old_cost * bounds[name]
        checks.append(Check(name, new_cost <= limit or new_cost <= 0, f"{new_cost:.4g}, champion {old_cost:.4g}"))
    return Verdict(bool(checks) and all(c.passed for c in checks), tuple(checks))


def _compared(name: str, head: str, old: Outcomes, new: Outcomes, labels: list[str], policy: Policy) -> list[Check]:
    low, mean, high = paired_interval(old, new, macro_f1_of)
    detail = f"{name}/{head} macro F1 {mean:+.4f} ({low:+.4f} to {high:+.4f}), {len(old.true)} rows"
    # The golden set must not be clearly worse, and not worse than the margin in the mean; the newest must gain.
    passed = mean >= -policy.worse_by and high >= 0 if name == "golden" else mean >= 0
    checks = [Check(f"{name}/{head}", passed, detail)]
    if name == "golden":
        before, after = _recalls(old), _recalls(new)
        rows = np.bincount(old.true, minlength=len(old.classes))
        for i, classes in enumerate(old.classes):
            fall = float(before[i] - after[i])
            if rows[i] >= MIN_CLASS_ROWS and fall > policy.class_falls_by:
                said = "/".join(labels[c] for c in classes)
                checks.append(Check(f"class {head}={said}", False, f"recall falls by {fall:.3f} on {rows[i]} rows"))
    return checks


def _recalls(o: Outcomes) -> np.ndarray[Any, np.dtype[np.float64]]:
    confusion = np.zeros((len(o.classes), len(o.classes)), np.int64)
    np.add.at(confusion, (o.true, o.said), 1)
    return per_class(confusion)[1]
