"""Cohen's kappa against its definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.agreement import cohen_kappa

CLASSES = "abc"


@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=60))
def test_kappa_is_the_agreement_beyond_chance(pairs: list[tuple[str, str]]) -> None:
    n = len(pairs)
    observed = sum(one == other for one, other in pairs) / n
    share = {c: (sum(a == c for a, _ in pairs) / n, sum(b == c for _, b in pairs) / n) for c in CLASSES}
    chance = sum(first * second for first, second in share.values())
    if chance < 1 - 1e-9:
        assert cohen_kappa(pairs) == pytest.approx((observed - chance) / (1 - chance))
    else:
        assert cohen_kappa(pairs) == 1


def test_no_text_that_both_labelled_has_no_kappa() -> None:
    with pytest.raises(ValueError, match="at least one text"):
        cohen_kappa([])
