"""Intervals and tests against scipy, statsmodels and scikit-learn, and their behaviour when nothing has changed."""

import math

import numpy as np
import pytest

from solon.core import intervals
from solon.core.errors import DataError
from solon.evals import agreement
from solon.evals import statistics as st


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("hits", "n"), [(1, 9), (7, 40), (399, 400), (50, 100)])
def test_proportion_is_wilson(hits, n):
    from statsmodels.stats.proportion import proportion_confint

    figure = st.proportion([True] * hits + [False] * (n - hits))
    assert (figure.low, figure.high) == pytest.approx(proportion_confint(hits, n, method="wilson"))
    assert figure.value == hits / n and figure.n == n and "Wilson" in figure.how


@pytest.mark.parametrize("hits", [0, 30])
def test_proportion_at_the_ends_is_clopper_pearson(hits):
    from statsmodels.stats.proportion import proportion_confint

    figure = st.proportion([1] * hits + [0] * (30 - hits))
    assert (figure.low, figure.high) == pytest.approx(proportion_confint(hits, 30, method="beta"), abs=1e-12)


def test_mean_is_scipys_bca():
    from scipy.stats import bootstrap

    values = generator().lognormal(size=60)
    figure = st.mean(values.tolist())
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=generator(1)).confidence_interval
    assert (figure.low, figure.high) == pytest.approx((theirs.low, theirs.high), abs=0.05)
    assert figure == st.mean(values.tolist()), "the same name and data give the same interval"


def test_mean_over_clusters_is_wider_and_keeps_the_value():
    levels = generator().normal(size=20)
    values = np.repeat(levels, 10).tolist()
    clusters = np.repeat(np.arange(20), 10).tolist()
    plain, grouped = st.mean(values), st.mean(values, clusters)
    assert grouped.value == pytest.approx(plain.value)
    assert (grouped.high - grouped.low) > 2 * (plain.high - plain.low)
    assert "20 clusters" in grouped.how


def test_mean_without_spread_says_so():
    assert "no interval" in st.mean([0.5, 0.5, 0.5]).how
    assert "percentile" in st.mean([0.0, 1.0]).how


@pytest.mark.parametrize(("up", "down"), [(0, 0), (1, 6), (9, 4), (0, 24)])
def test_mcnemar_exact_is_statsmodels(up, down):
    from statsmodels.stats.contingency_tables import mcnemar

    p, kind = st.discordant_test(up, down)
    assert kind == "exact"
    assert p == pytest.approx(mcnemar([[30, down], [up, 30]], exact=True).pvalue)


def test_mcnemar_mid_p_from_twenty_five_on():
    from scipy.stats import binom

    p, kind = st.discordant_test(18, 10)
    assert kind == "mid-p" and p == pytest.approx(2 * binom.cdf(9, 28, 0.5) + binom.pmf(10, 28, 0.5))


@pytest.mark.parametrize(("up", "down", "n"), [(9, 2, 50), (3, 3, 20), (0, 5, 40), (12, 0, 12), (0, 0, 30)])
def test_score_interval_inverts_the_score_test(up, down, n):
    """At each end the score statistic, its nuisance parameter maximised numerically, is the normal quantile."""
    from scipy.optimize import minimize_scalar

    low, high = st.score_interval(up, down, n)
    for end, sign in ((low, 1), (high, -1)):
        if abs(end) > 0.999:
            continue

        def loss(q, end=end):  # q: probability of a change down
            cells = [(up, q + end), (down, q), (n - up - down, 1 - 2 * q - end)]
            return -sum(k * math.log(max(p, 1e-300)) for k, p in cells if k)

        edges = (max(0.0, -end), (1 - end) / 2)
        q = minimize_scalar(loss, bounds=edges, method="bounded", options={"xatol": 1e-12}).x
        statistic = (up - down - n * end) / math.sqrt(n * (2 * q + end - end**2))
        assert statistic == pytest.approx(sign * st.Z, rel=1e-3)


def test_paired_proportions_fall():
    a = [1] * 50 + [0] * 50
    b = [0] * 42 + [1] * 8 + [0] * 49 + [1]
    found = st.paired_proportions(a, b)
    assert found.difference == pytest.approx(-0.41)
    assert found.low < -0.41 < found.high < 0 and found.p < 1e-9
    assert found.effect < -0.8 and found.effect_name == "Cohen's h"
    assert found.plain.startswith("fell by 41 points (95 % CI ") and found.plain.endswith("beyond chance")
    assert "1 up, 42 down" in found.test


def test_no_change_tells_what_could_have_been_seen():
    draws = generator(3).integers(0, 2, 200)
    found = st.paired_proportions(draws, draws)
    assert found.p == 1.0 and found.low < 0 < found.high
    assert "no detectable change" in found.plain and "could have seen" in found.plain


def test_paired_means_exact_is_scipys_permutation_test():
    from scipy.stats import permutation_test

    a, b = generator(1).normal(size=(2, 9))
    found = st.paired_means(a, b)
    theirs = permutation_test((b - a,), np.mean, permutation_type="samples", n_resamples=np.inf, rng=generator(2))
    assert found.p == pytest.approx(theirs.pvalue) and "exact" in found.test
    assert found.effect == pytest.approx((b - a).mean() / (b - a).std(ddof=1)) and found.effect_name == "d_z"


def test_paired_means_many_flips_is_near_the_t_test():
    from scipy.stats import ttest_rel

    a = generator(4).normal(size=120)
    b = a + generator(5).normal(0.2, 1, size=120)
    found = st.paired_means(a, b, unit="nats")
    assert found.p == pytest.approx(ttest_rel(b, a).pvalue, abs=0.01)
    assert "nats" in found.plain


def test_clusters_flip_together():
    change = np.repeat([0.5, 0.4, -0.1, 0.3], 25)
    assert st.paired_means(np.zeros(100), change).p < 0.01
    assert st.paired_means(np.zeros(100), change, np.repeat(np.arange(4), 25).tolist()).p == pytest.approx(0.25)


def test_adjustments_are_statsmodels():
    from statsmodels.stats.multitest import multipletests

    ps = (generator(6).random(17) ** 3).tolist()
    assert st.holm(ps) == pytest.approx(multipletests(ps, method="holm")[1])
    assert st.benjamini_hochberg(ps) == pytest.approx(multipletests(ps, method="fdr_bh")[1])
    assert st.holm([]) == st.benjamini_hochberg([]) == []


def test_detectable_has_the_promised_power():
    n, changed = 200, 0.3
    smallest = st.detectable(n, discordant=changed)
    draws = generator(7).multinomial(n, [(changed + smallest) / 2, (changed - smallest) / 2, 1 - changed], size=600)
    power = np.mean([st.discordant_test(int(up), int(down))[0] < 0.05 for up, down, _ in draws])
    assert power == pytest.approx(0.8, abs=0.06)


def test_detectable_mean_is_statsmodels():
    from statsmodels.stats.power import TTestPower

    theirs = TTestPower().solve_power(nobs=40, alpha=0.05, power=0.8)
    assert st.detectable(40, sd=2.0) == pytest.approx(2 * theirs, rel=0.01)
    assert st.detectable(3, discordant=0.1) == 1.0
    with pytest.raises(DataError):
        st.detectable(10)


def test_same_model_twice_is_rarely_called_different():
    """A/A: two samples from one model. Rejections stay near 5 % (McNemar's exact test is conservative)."""
    draw = generator(8)
    rejected = [st.paired_proportions(*draw.binomial(1, 0.4, (2, 150))).p < 0.05 for _ in range(400)]
    assert 0.01 <= np.mean(rejected) <= 0.08
    flips = [st._sign_flip(draw.normal(size=12), "aa")[0] < 0.05 for _ in range(400)]
    assert 0.025 <= np.mean(flips) <= 0.08


def test_intervals_cover():
    draw, covered = generator(9), 0
    for _ in range(300):
        up, down, _ = draw.multinomial(60, [0.25, 0.10, 0.65])
        low, high = st.score_interval(int(up), int(down), 60)
        covered += low <= 0.15 <= high
    assert 0.91 <= covered / 300 <= 0.98


def test_win_rate_counts_ties_as_half():
    figure = st.win_rate([1] * 30 + [0] * 10 + [0.5] * 20)
    assert figure.value == pytest.approx(2 / 3) and figure.low < 2 / 3 < figure.high and figure.n == 60
    found = st.win_comparison([1] * 30 + [0] * 10 + [0.5] * 20)
    assert found.p < 0.01 and found.plain.startswith("wins (67 %")
    all_tied = st.win_rate([0.5] * 20)
    assert all_tied.low < 0.5 < all_tied.high, "ties alone do not make the rate certain"
    assert "no detectable preference" in st.win_comparison([1, 0, 0.5]).plain


@pytest.mark.parametrize(
    ("first", "second", "outcome"), [(0.9, 0.8, 1.0), (0.1, 0.2, 0.0), (0.9, 0.1, 0.5), (0.5, 0.5, 0.5)]
)
def test_settle(first, second, outcome):
    assert st.settle(first, second) == outcome


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [1, None]])
def test_missing_values_are_refused(values):
    with pytest.raises(DataError):
        st.mean(values)
    with pytest.raises(DataError, match="paired"):
        st.paired_proportions([1, 0], [1])
    with pytest.raises(DataError, match="out of range"):
        st.proportion([0.5])


def test_kappa_and_auc_are_sklearns():
    from sklearn.metrics import cohen_kappa_score, roc_auc_score

    draw = generator(10)
    a = draw.integers(0, 3, 200)
    b = np.where(draw.random(200) < 0.7, a, draw.integers(0, 3, 200))
    kappa = agreement.cohen_kappa(a.tolist(), b.tolist())
    assert kappa.value == pytest.approx(cohen_kappa_score(a, b)) and kappa.low < kappa.value < kappa.high
    y = draw.integers(0, 2, 150)
    scores = np.round(y + draw.normal(size=150), 1)  # rounded, so that there are ties
    area = agreement.auc(scores, y)
    assert area.value == pytest.approx(roc_auc_score(y, scores)) and area.low < area.value < area.high
    perfect = agreement.auc([0, 0, 1, 1], [0, 0, 1, 1])
    assert perfect.value == 1.0 and perfect.low < 0.5


def test_calibration():
    from sklearn.metrics import brier_score_loss

    draw = generator(11)
    p = draw.random(3000)
    y = draw.random(3000) < p
    honest = intervals.calibration(p, y)
    assert honest.ece < 0.04 and honest.brier == pytest.approx(brier_score_loss(y, p)) and len(honest.bins) == 10
    assert all(point.n == 300 for point in honest.bins)
    sure = intervals.calibration([0.9] * 100, [1] * 60 + [0] * 40)
    assert sure.ece == pytest.approx(0.3) and len(sure.bins) == 1
