"""Calibration against scikit-learn, statsmodels, closed forms and brute force."""

import itertools

import numpy as np
import pytest

from solon.core import intervals
from solon.core.errors import DataError
from solon.evals import calibration as cal


def confident(seed=11, n=3000, bend=1.0):
    generator = np.random.default_rng(seed)
    p = generator.random(n)
    return p**bend, (generator.random(n) < p).astype(int)


def test_calibration():
    from sklearn.metrics import brier_score_loss

    p, y = confident()
    honest = intervals.calibration(p, y)
    assert honest.ece < 0.04 and honest.brier == pytest.approx(brier_score_loss(y, p)) and len(honest.bins) == 10
    assert all(point.n == 300 for point in honest.bins)
    sure = intervals.calibration([0.9] * 100, [1] * 60 + [0] * 40)
    assert sure.ece == pytest.approx(0.3) and len(sure.bins) == 1


def test_the_error_beside_what_chance_would_give():
    honest = [cal.calibration_error(*confident(seed, n=60)) for seed in range(20)]
    below = np.mean([found.value < chance for found, chance in honest])
    assert below >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 20), "perfect calibration is rarely told from chance"
    bent, chance = cal.calibration_error(*confident(n=400, bend=3.0))
    assert bent.value > 1.5 * chance and bent.low <= bent.value <= bent.high
    assert bent.value == intervals.calibration(*confident(n=400, bend=3.0)).ece


def test_bins_equal_sklearns_quantile_bins():
    from sklearn.calibration import calibration_curve

    p, y = confident(n=1000)
    found = cal.reliability(p, y)
    share, mean = calibration_curve(y, p, n_bins=10, strategy="quantile")
    assert [one.confidence for one in found] == pytest.approx(mean, abs=1e-3)
    assert [one.share for one in found] == pytest.approx(share, abs=0.011)
    assert all(one.low < one.share < one.high and one.n == 100 for one in found)


def test_brier_decomposes_exactly():
    p, y = confident(n=700, bend=2.0)
    found = cal.brier(p, y)
    assert found.reliability - found.resolution + found.uncertainty + found.within == pytest.approx(found.score.value, abs=1e-12)
    levels = np.round(p, 1)  # few different confidences: nothing is lost within bins
    few = cal.brier(levels, y, bins=500)
    assert few.within == pytest.approx(0, abs=1e-12) and few.reliability > 0.01
    always = cal.brier([0.5] * 4, [0, 1, 0, 1])
    assert (always.reliability, always.resolution, always.uncertainty) == (0, 0, 0.25)


def test_binary_temperature_is_logistic_regression_without_intercept():
    import statsmodels.api as sm

    generator = np.random.default_rng(2)
    z = generator.normal(0, 3, 600)
    y = (generator.random(600) < 1 / (1 + np.exp(-z / 2.5))).astype(int)
    slope = sm.Logit(y, z).fit(disp=0).params[0]
    assert cal.temperature(z, y) == pytest.approx(1 / slope, rel=1e-6)


def test_temperature_of_many_classes_minimises_the_loss():
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    generator = np.random.default_rng(3)
    z = generator.normal(0, 2, (400, 5))
    y = [generator.choice(5, p=np.exp(log_softmax(row))) for row in z]
    loss = lambda t: -log_softmax(3 * z / t, axis=1)[np.arange(400), y].mean()  # noqa: E731
    assert cal.temperature(3 * z, y) == pytest.approx(minimize_scalar(loss, bounds=(0.1, 20), method="bounded").x, rel=1e-4)
    p = np.exp(log_softmax(3 * z / cal.temperature(3 * z, y), axis=1)).max(axis=1)
    before = np.exp(log_softmax(3 * z, axis=1)).max(axis=1)
    right = z.argmax(axis=1) == np.array(y)
    assert intervals.calibration(p, right).ece < 0.5 * intervals.calibration(before, right).ece


def test_risk_and_coverage_by_brute_force():
    """Ties are the mean over all orders in which they could be answered."""
    sure, right = [0.9, 0.7, 0.7, 0.7, 0.2], [1, 0, 1, 1, 0]
    areas = []
    for order in itertools.permutations(range(5)):
        if list(order) == sorted(order, key=lambda i: -sure[i]) or all(sure[a] >= sure[b] for a, b in itertools.pairwise(order)):
            wrong = np.cumsum([1 - right[i] for i in order])
            areas.append((wrong / np.arange(1, 6)).mean())
    found = cal.abstention(sure, right)
    assert len(areas) == 6 and found.aurc.value == pytest.approx(np.mean(areas))
    assert [(one.coverage, one.risk, one.threshold) for one in found.curve] == [(0.2, 0, 0.9), (0.8, 0.25, 0.7), (1.0, 0.4, 0.2)]
    assert found.best == pytest.approx(np.mean([0, 0, 0, 1 / 4, 2 / 5])) and found.blind == pytest.approx(0.4)


def test_abstaining_by_honest_confidence_gains_and_by_noise_does_not():
    p, y = confident(n=800)
    useful, noise = cal.abstention(p, y), cal.abstention(np.random.default_rng(1).random(800), y)
    assert useful.best < useful.aurc.low < useful.aurc.value < useful.aurc.high < useful.blind - 0.1
    assert noise.aurc.low < noise.blind < noise.aurc.high
    one = cal.abstention([0.3], [1])
    assert one.aurc.value == 0 and len(one.curve) == 1
    blind = cal.abstention([0.5] * 10, [1, 0] * 5)
    assert blind.aurc.value == pytest.approx(0.5) and len(blind.curve) == 1


@pytest.mark.parametrize(
    "bad",
    [
        lambda: cal.calibration_error([0.5, float("nan")], [0, 1]),
        lambda: cal.brier([1.5], [1]),
        lambda: cal.brier([0.5], [2]),
        lambda: cal.reliability([], []),
        lambda: cal.abstention([1.0, 2.0], [1]),
        lambda: cal.abstention([1.0], [0.5]),
        lambda: cal.temperature([[1.0, 0.0]], [2]),
        lambda: cal.temperature([[1.0, 0.0], [0.0, 1.0]], [0, 1]),
        lambda: cal.temperature([[1.0, 0.0], [0.0, 1.0]], [1, 0]),
        lambda: cal.temperature([], []),
        lambda: cal.temperature([[float("nan"), 0.0]], [0]),
    ],
)
def test_refused(bad):
    with pytest.raises(DataError):
        bad()
