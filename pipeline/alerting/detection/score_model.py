"""From sums of negative scores to the number of negative posts: a model of what its scores say. Pure.

A post whose text is read with score s counts s, not 0 or 1. For a small change of the share the derivative of a post's
log-likelihood is linear in its calibrated posterior, so that sums of scores keep almost all that the scores know. With
t the mean score of a negative post and f that of any other post, the sum S over n posts of share p has the mean
n (f + p (t - f)), and

    negatives = (S - n f) / (t - f)

(probabilistic adjusted classify and count; Bella et al. 2010, after Forman 2008). The scores scatter within both kinds
of posts (variances a and b), so the sum over n posts tells as much as n kappa / phi posts that a perfect judge reads:

    V     = p a + (1 - p) b + p (1 - p) (t - f)^2           variance of a score
    kappa = p (1 - p) (t - f)^2 / V' and phi = V / V'       V' = m (1 - m), the variance of a perfect judge of mean m

(n kappa / phi are effective counts in the sense of Rao and Scott 1992.)

t, f, a and b differ between kinds of text. A bundle knows them for each of its data sets. Each key is read by those
whose scores look like its own: by each data set the key's mean score m means the share (m - f) / (t - f), and its
weight falls with the distance between what it then predicts (mean score, share of labels that say negative, variance)
and what the key shows. The spread between the data sets is part of the error of the share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.prevalence import ScoreGroup

Floats = NDArray[np.float64]

#: No key is read as having a smaller or larger share of negatives than these.
LOWEST, HIGHEST = 0.005, 0.95
#: A data set explains a key with at least this share: a mean score below its f does not mean that nothing is negative.
_LEAST_SHARE = 0.02
#: A data set whose negative posts score hardly higher than the others says nothing about a share: it is left out.
_LEAST_SLOPE = 0.05
#: How far mean score, share of negative labels and log variance may differ within one kind of text (standard
#: deviations), and the beta distribution of the shares that keys usually have.
_MEAN_SD, _CALLED_SD, _LOG_VARIANCE_SD, _USUAL = 0.03, 0.05, 0.25, (2.0, 6.0)
#: The 90 % quantile of the normal distribution: an interval of this many standard errors holds 80 %.
Z_80 = 1.2816


class Evidence(NamedTuple):
    """What the past of each key shows, float64[n_keys] each.

    `mean` is the mean score, `called` the share of posts that are labelled negative. `phi` is the
    variance of a score over mean (1 - mean), and `log_phi_sd` the standard error of its logarithm (infinite: unknown).
    """

    mean: Floats
    called: Floats
    phi: Floats
    log_phi_sd: Floats

    def at(self, rows: NDArray[np.bool_]) -> Evidence:
        """The keys of `rows`."""
        return Evidence(*(values[rows] for values in self))


class Reading(NamedTuple):
    """How the scores of each key are read, float64[n_keys] each.

    negatives = (score sum - posts * `offset`) / `slope`. `share` is the usual share, `kappa` and `phi` are those of the
    module's docstring. `negative_variance` and `other_variance` are the variances of a score within both kinds of
    posts; `share_error` and `slope_error` are standard errors of what the data sets do not agree about.
    """

    share: Floats
    offset: Floats
    slope: Floats
    kappa: Floats
    phi: Floats
    negative_variance: Floats
    other_variance: Floats
    share_error: Floats
    slope_error: Floats

    @property
    def worth(self) -> Floats:
        """How many posts of a perfect judge one post is worth, in (0, 1]."""
        return self.kappa / self.phi

    def at(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Reading:
        """The keys of `rows`."""
        return Reading(*(values[rows] for values in self))

    def negatives(self, posts: NDArray[np.int64], score_sums: Floats) -> Floats:
        """The estimated negatives of counts [..., n_keys]; noise may take them below 0 or above the posts."""
        estimated: Floats = (score_sums - posts * self.offset) / self.slope
        return estimated

    def interval(self, posts: NDArray[np.int64], negatives: Floats) -> tuple[Floats, Floats]:
        """The ends of the 80 % interval of the share of these posts that is negative, each in [0, 1].

        Without posts it is the whole of [0, 1].
        """
        counted = np.maximum(posts, 1)
        share = np.clip(negatives / counted, 0.0, 1.0)
        within = share * self.negative_variance + (1 - share) * self.other_variance
        systematic = self.share_error**2 + ((share - self.share) * self.slope_error / self.slope) ** 2
        reach = Z_80 * np.sqrt(within / (counted * self.slope**2) + systematic)
        empty = posts == 0
        low, high = np.clip(share - reach, 0.0, 1.0), np.clip(share + reach, 0.0, 1.0)
        return np.where(empty, 0.0, low), np.where(empty, 1.0, high)


@dataclass(frozen=True, slots=True)
class ScoreModel:
    """What data sets of known classes say about the scores, a tuple with one number per data set each.

    `negative_*` belongs to negative posts, `other_*` to the others: the mean score, the variance, and the share that
    is labelled negative (empty: unknown). `share_error` is the standard error of a share of one half for want of rows.
    Without data sets labels are counted.
    """

    negative_mean: tuple[float, ...] = ()
    other_mean: tuple[float, ...] = ()
    negative_variance: tuple[float, ...] = ()
    other_variance: tuple[float, ...] = ()
    negative_called: tuple[float, ...] = ()
    other_called: tuple[float, ...] = ()
    share_error: tuple[float, ...] = ()

    @property
    def counts_labels(self) -> bool:
        """Whether there is nothing to estimate by, so that labels are counted."""
        return not self.negative_mean

    @classmethod
    def of(cls, groups: Sequence[ScoreGroup], negative: Sequence[str]) -> Self:
        """The model of the classes that count as negative.

        Data sets without both kinds of posts, or whose scores hardly differ between them, are left out.
        """
        rows = []
        for source in dict.fromkeys(group.source for group in groups):
            mine = [group for group in groups if group.source == source]
            kinds = [[g for g in mine if (g.label in negative) is kind] for kind in (True, False)]
            if not all(kinds):
                continue
            (t, a, true_called, n_negative), (f, b, false_called, n_other) = (_pooled(k, negative) for k in kinds)
            if t - f >= _LEAST_SLOPE:
                error = (a / n_negative / 4 + b / n_other / 4) ** 0.5 / (t - f)
                rows.append((t, f, a, b, true_called, false_called, error))
        return cls(*zip(*rows, strict=True)) if rows else cls()

    def read(self, evidence: Evidence) -> Reading:
        """How to read the scores of keys that show this evidence."""
        mean = evidence.mean
        if self.counts_labels:
            one, nothing = np.ones_like(mean), np.zeros_like(mean)
            share = np.clip(mean, LOWEST, HIGHEST)
            return Reading(share, nothing, one, one, one, nothing, nothing, nothing, nothing)
        t, f, a, b, error = (np.array(values)[:, None] for values in self._columns())
        share = np.clip((mean - f) / (t - f), _LEAST_SHARE, HIGHEST)
        predicted = f + share * (t - f)
        variance = share * a + (1 - share) * b + share * (1 - share) * (t - f) ** 2
        phi = variance / (predicted * (1 - predicted))
        log_weight = -0.5 * ((predicted - mean) / _MEAN_SD) ** 2
        if self.negative_called:
            true_called, false_called = (np.array(c)[:, None] for c in (self.negative_called, self.other_called))
            called = false_called + share * (true_called - false_called)
            log_weight -= 0.5 * ((called - evidence.called) / _CALLED_SD) ** 2
        log_weight -= 0.5 * np.log(phi / evidence.phi) ** 2 / (_LOG_VARIANCE_SD**2 + evidence.log_phi_sd**2)
        log_weight += (_USUAL[0] - 1) * np.log(share) + (_USUAL[1] - 1) * np.log1p(-share)
        weight = np.exp(log_weight - log_weight.max(0))
        weight /= weight.sum(0)

        def over_sets(values: Floats) -> Floats:
            return np.asarray((weight * values).sum(0))

        usual, slope, phi = over_sets(share), over_sets(t - f), over_sets(phi)
        kappa = slope**2 * usual * (1 - usual) / (mean * (1 - mean))
        return Reading(
            share=np.clip(usual, LOWEST, HIGHEST),
            offset=mean - slope * usual,
            slope=slope,
            kappa=kappa,
            phi=np.maximum(phi, kappa),
            negative_variance=over_sets(a),
            other_variance=over_sets(b),
            share_error=np.sqrt(over_sets((share - usual) ** 2 + error**2)),
            slope_error=np.sqrt(over_sets((t - f - slope) ** 2)),
        )

    def _columns(self) -> tuple[tuple[float, ...], ...]:
        return (
            self.negative_mean,
            self.other_mean,
            self.negative_variance,
            self.other_variance,
            self.share_error,
        )


COUNTED = ScoreModel()


def _pooled(groups: Sequence[ScoreGroup], negative: Sequence[str]) -> tuple[float, float, float, int]:
    """Mean and variance of the negative score over all rows of the groups, share labelled negative, and the rows."""
    rows = np.array([group.rows for group in groups])
    means, variances, called = np.zeros((3, len(groups)))
    for at, group in enumerate(groups):
        counts = [label in negative for label in group.classes]
        means[at] = np.array(group.mean)[counts].sum()
        # The bundle keeps rounded covariances, and their sum may be a little below 0.
        variances[at] = max(0.0, np.array(group.covariance)[np.ix_(counts, counts)].sum())
        called[at] = np.array(group.called)[counts].sum()
    weight = rows / rows.sum()
    mean = float(weight @ means)
    return mean, float(weight @ (variances + (means - mean) ** 2)), float(weight @ called), int(rows.sum())
