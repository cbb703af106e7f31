"""Intervals and calibration against hand-computed values and an independent library."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from solon.core.errors import DataError
from solon.core.intervals import Bin, at_most, calibration, clopper_pearson, wilson


@pytest.mark.parametrize("hits, n", [(0, 10), (1, 10), (8, 10), (10, 10), (1, 1), (431, 500)])
def test_wilson_equals_statsmodels(hits, n):
    assert wilson(hits, n) == pytest.approx(proportion_confint(hits, n, method="wilson"), abs=1e-12)


def test_calibration_by_hand():
    found = calibration([0.1, 0.3, 0.6, 0.8], [0, 1, 1, 1], bins=2)
    assert found.bins == (Bin(pytest.approx(0.2), 0.5, 2), Bin(pytest.approx(0.7), 1.0, 2))
    assert found.ece == pytest.approx(0.5 * 0.3 + 0.5 * 0.3)
    assert found.brier == pytest.approx((0.01 + 0.49 + 0.16 + 0.04) / 4)


def test_equal_predictions_share_a_bin():
    p, y = [0.5] * 6 + [1.0] * 4, [1, 0, 1, 0, 1, 0, 1, 1, 1, 1]
    found = calibration(p, y)
    assert [one.n for one in found.bins] == [6, 4] and found.ece == 0
    order = np.random.default_rng(0).permutation(10)
    assert calibration(np.array(p)[order], np.array(y)[order]) == found


def test_bins_have_equal_mass():
    p = np.random.default_rng(1).random(1000)
    assert [one.n for one in calibration(p, p > 0.5).bins] == [100] * 10
    fair = np.random.default_rng(2).random(1000) < p
    assert calibration(p, fair).ece < 0.05 < calibration(p**3, fair).ece


@pytest.mark.parametrize(
    "bad", [lambda: wilson(1, 0), lambda: wilson(3, 2), lambda: calibration([], []), lambda: calibration([1.2], [1])]
)
def test_refused(bad):
    with pytest.raises(DataError):
        bad()


@pytest.mark.parametrize("hits, n", [(0, 10), (1, 10), (8, 10), (10, 10), (0, 1), (431, 500)])
def test_clopper_pearson_equals_statsmodels(hits, n):
    assert clopper_pearson(hits, n) == pytest.approx(proportion_confint(hits, n, method="beta"), abs=1e-12)
    assert clopper_pearson(hits, n, 0.9) == pytest.approx(proportion_confint(hits, n, alpha=0.1, method="beta"), abs=1e-12)


def test_the_rule_of_three_is_exact():
    from scipy.stats import binomtest

    assert at_most(0, 300) == pytest.approx(1 - 0.05 ** (1 / 300)) and at_most(3, 3) == 1.0
    assert at_most(4, 50) == pytest.approx(binomtest(4, 50, alternative="less").proportion_ci(0.95, "exact").high)


def test_the_exact_interval_never_covers_less_than_it_says():
    """Summed over all outcomes, for many true shares; Wilson's dips below, which is why both are there."""
    from scipy.stats import binom

    n, shares = 25, np.linspace(0.005, 0.995, 199)
    for interval, always in ((clopper_pearson, True), (wilson, False)):
        ends = np.array([interval(k, n) for k in range(n + 1)])
        inside = (ends[:, :1] <= shares) & (shares <= ends[:, 1:])
        covered = (binom.pmf(np.arange(n + 1)[:, None], n, shares) * inside).sum(axis=0)
        assert (covered.min() >= 0.95) == always


@pytest.mark.parametrize("bad", [lambda: clopper_pearson(1, 0), lambda: at_most(3, 2), lambda: at_most(0, 9, 1.0)])
def test_exact_bounds_refuse(bad):
    with pytest.raises(DataError):
        bad()
