"""The sentiment toward a subject as keywords of the index, which one aggregation counts. Pure.

A keyword is read from the right, because a subject may have a "=" in its name. A class with a "=" has it escaped.
"""

from __future__ import annotations

from typing import NamedTuple

#: The negative score of a keyword is a multiple of 1 / `BINS`.
BINS = 20


class TowardBin(NamedTuple):
    """A class toward a subject, and the negative score rounded to a multiple of 1 / `BINS`."""

    subject: str
    label: str
    score: float


def binned(score: float) -> float:
    """The nearest multiple of 1 / `BINS` to a score in [0, 1].

    >>> binned(0.8649), binned(0.875)
    (0.85, 0.9)
    """
    return round(score * BINS) / BINS


def bins_from(score: float) -> list[float]:
    """The bins of at least this score.

    >>> bins_from(0.86)
    [0.9, 0.95, 1.0]
    """
    return [step / BINS for step in range(BINS + 1) if step / BINS >= score]


def label_keyword(subject: str, label: str) -> str:
    """The keyword of a class toward a subject.

    >>> label_keyword("Nova", "negative"), label_keyword("a=b", "c=d")
    ('Nova=negative', 'a=b=c%3Dd')
    """
    return f"{subject}={label.replace('%', '%25').replace('=', '%3D')}"


def bin_keyword(subject: str, label: str, score: float) -> str:
    """The keyword of a class toward a subject with its negative score.

    >>> bin_keyword("Nova", "negative", 0.8649)
    'Nova=negative=0.85'
    """
    return f"{label_keyword(subject, label)}={binned(score):.2f}"


def read_bin(keyword: str) -> TowardBin:
    """What `bin_keyword` wrote.

    >>> read_bin("a=b=c%3Dd=0.85")
    TowardBin(subject='a=b', label='c=d', score=0.85)
    """
    subject, label, score = keyword.rsplit("=", 2)
    return TowardBin(subject, label.replace("%3D", "=").replace("%25", "%"), float(score))
