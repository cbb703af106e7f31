"""Corrections for a judge's errors: closed forms, and coverage by simulation."""

import numpy as np
import pytest

from solon.core.errors import DataError
from solon.core.keys import rng
from solon.evals.judged import corrected_share, prediction_powered_mean
from solon.evals.statistics import Z, mean


def verdicts(hits, n):
    return [1] * hits + [0] * (n - hits)


def test_rogan_gladen_by_hand():
    found = corrected_share(verdicts(40, 100), verdicts(90, 100), verdicts(80, 100))
    assert found.value == pytest.approx((0.4 + 0.8 - 1) / 0.7) and found.low < found.value < found.high and found.n == 100
    assert corrected_share(verdicts(5, 100), verdicts(90, 100), verdicts(80, 100)).value == 0, "fewer than false alarms"
    sure = corrected_share(verdicts(30, 100), verdicts(10**6, 10**6), verdicts(10**6, 10**6))
    wald = (0.3 - Z * 0.047, 0.3 + Z * 0.047)
    assert (sure.low, sure.high) == pytest.approx(wald, abs=0.012), "a judge that never errs changes nothing"


@pytest.mark.parametrize("share, sensitivity, specificity, n, known", [
    (0.1, 0.9, 0.95, 300, 100), (0.3, 0.8, 0.8, 120, 60), (0.02, 0.95, 0.98, 500, 80), (0.6, 0.7, 0.9, 80, 40),
])  # fmt: skip
def test_the_corrected_interval_covers(share, sensitivity, specificity, n, known):
    draw, trials, covered = rng("corrected share", share, n), 400, 0
    flagged = share * sensitivity + (1 - share) * (1 - specificity)
    for _ in range(trials):
        found = corrected_share(*(
            verdicts(int(draw.binomial(size, p)), size) for size, p in ((n, flagged), (known, sensitivity), (known, specificity))
        ))  # fmt: skip
        covered += found.low <= share <= found.high
    assert covered / trials > 0.95 - 3 * np.sqrt(0.95 * 0.05 / trials)


@pytest.mark.parametrize("judge", ["good", "biased", "noise", "constant"])
@pytest.mark.parametrize("tuned", [True, False])
def test_the_prediction_powered_interval_covers_whatever_the_judge(judge, tuned):
    draw, trials, covered, width = rng("ppi", judge), 400, 0, []
    for _ in range(trials):
        truth = (draw.random(1060) < 0.3).astype(float)
        noise = draw.normal(0, 0.2, 1060)
        score = {"good": truth + noise, "biased": 0.5 + 0.5 * truth + noise, "noise": noise, "constant": 0 * truth}[judge]
        found = prediction_powered_mean(truth[:60], score[:60], score[60:], tuned)
        covered += found.low <= 0.3 <= found.high
        width.append(found.high - found.low)
    assert 0.95 - 3.5 * np.sqrt(0.95 * 0.05 / trials) < covered / trials < 0.99
    classical = 2 * Z * np.sqrt(0.3 * 0.7 / 60)
    if judge == "good":
        assert np.mean(width) < 0.6 * classical, "a good judge is worth many labels"
    if tuned:
        assert np.mean(width) < 1.03 * classical, "a bad one costs nothing when tuned"


def test_prediction_powered_by_hand():
    labels, judged, rest = [1.0, 0.0, 1.0, 1.0], [0.9, 0.3, 0.6, 0.8], [0.5, 0.7, 0.2, 0.9, 0.4]
    found = prediction_powered_mean(labels, judged, rest, tuned=False)
    gap = np.subtract(labels, judged)
    assert found.value == pytest.approx(np.mean(rest) + gap.mean())
    assert found.high - found.value == pytest.approx(Z * np.sqrt(np.var(rest, ddof=1) / 5 + gap.var(ddof=1) / 4))
    flat = prediction_powered_mean(labels, [0.5] * 4, [0.5] * 9)
    assert flat.value == mean(labels).value and "weight of the judge 0.00" in flat.how


@pytest.mark.parametrize(
    "bad",
    [
        lambda: corrected_share([1, 0], verdicts(5, 10), verdicts(5, 10)),
        lambda: corrected_share([], [1], [1]),
        lambda: corrected_share([1, 0.5], [1], [1]),
        lambda: corrected_share([1, float("nan")], [1], [1]),
        lambda: prediction_powered_mean([1.0], [1.0], [1.0, 2.0]),
        lambda: prediction_powered_mean([1.0, 2.0], [1.0], [1.0, 2.0]),
        lambda: prediction_powered_mean([1.0, 2.0], [1.0, 2.0], [1.0, float("inf")]),
    ],
)
def test_refused(bad):
    with pytest.raises(DataError):
        bad()
