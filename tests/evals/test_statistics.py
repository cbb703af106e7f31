"""Intervals and tests against scipy, statsmodels and scikit-learn, and their behaviour when nothing has changed."""

import math

import numpy as np
import pytest

from solon.core.errors import DataError
from solon.evals import statistics as st
from solon.evals.statistics import words
from solon.evals.statistics.effects import h_of_ends


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
    flips = [st.sign_flip(draw.normal(size=12), "aa")[0] < 0.05 for _ in range(400)]
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


def test_proportion_forms():
    from statsmodels.stats.proportion import proportion_confint

    exact = st.exact_proportion([1] * 3 + [0] * 37)
    assert (exact.low, exact.high) == pytest.approx(proportion_confint(3, 40, method="beta"))
    none = st.ceiling([0] * 300)
    assert none.value == none.low == 0 and none.high == pytest.approx(1 - 0.05 ** (1 / 300)), "the rule of three, exactly"
    assert 2.9 < 300 * none.high < 3.0
    assert st.ceiling([1]).high == 1.0


@pytest.mark.parametrize("method", ["BCa", "percentile"])
@pytest.mark.parametrize("seed", range(4))
def test_bootstrap_ends_are_scipys_on_the_same_draws(seed, method):
    """SciPy is given our resampled means, so its interval must be ours to the last digits."""
    from types import SimpleNamespace

    from scipy.stats import bootstrap

    from solon.evals.statistics.means import resampled_means

    values = generator(seed).lognormal(size=25 + seed)
    draws = resampled_means(values, np.ones_like(values), "same")
    mine = st.mean(values.tolist(), name="same", method=method)
    theirs = bootstrap(
        (values,), np.mean, n_resamples=0, method=method, bootstrap_result=SimpleNamespace(bootstrap_distribution=draws)
    ).confidence_interval
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9) and method in mine.how


def test_bootstrap_of_a_ratio_keeps_columns_together():
    from scipy.stats import bootstrap

    x = generator(1).gamma(4, size=50)
    y = 2 * x + generator(2).normal(0, 0.1, size=50)
    ratio = lambda a, b, axis=-1: b.mean(axis=axis) / a.mean(axis=axis)  # noqa: E731
    mine = st.bootstrap(ratio, x, y, name="ratio", what="ratio")
    theirs = bootstrap((x, y), ratio, paired=True, n_resamples=9999, method="BCa", rng=generator(3)).confidence_interval
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.003) and mine.n == 50
    assert st.bootstrap(ratio, [1.0], [2.0], name="one").value == 2.0
    with pytest.raises(DataError, match="not paired"):
        st.bootstrap(ratio, [1.0, 2.0], [2.0], name="odd")


def test_clustered_error_is_statsmodels():
    import statsmodels.api as sm

    clusters = np.repeat(np.arange(12), generator(1).integers(1, 9, 12))
    values = generator(2).normal(size=len(clusters)) + generator(3).normal(size=12)[clusters]
    fitted = sm.OLS(values, np.ones_like(values)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    found = st.clustered_mean(values, clusters.tolist())
    assert st.standard_error(values, clusters.tolist()) == pytest.approx(fitted.bse[0], rel=1e-9)
    assert (found.low, found.high) == pytest.approx(fitted.conf_int()[0], rel=1e-6)
    plain = st.standard_error(values)
    assert plain == pytest.approx(values.std(ddof=1) / math.sqrt(len(values))) and plain < fitted.bse[0]
    assert st.standard_error([1.0, 2.0], ["one", "one"]) == math.inf
    assert "no interval" in st.clustered_mean([1.0, 2.0], ["one", "one"]).how


def test_shares_within_families():
    """Ten wordings of one prompt that change together are one change."""
    a, b, families = [0] * 100, [1] * 30 + [0] * 70, np.repeat(np.arange(10), 10).tolist()
    alone, grouped = st.paired_proportions(a, b), st.paired_proportions(a, b, families)
    assert alone.difference == grouped.difference == pytest.approx(0.3) and alone.effect == grouped.effect
    assert alone.p < 1e-6 and grouped.p == pytest.approx(0.25) and "10 clusters" in grouped.test
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
    singles = st.paired_proportions(a, b, list(range(100)))
    assert singles.p < 1e-3 and singles.low == pytest.approx(alone.low, abs=0.03)
    still = st.paired_proportions(a, a, families)
    assert still.low < 0 < still.high and still.p == 1 and "could have seen" in still.plain


def test_effects():
    from scipy.stats import binomtest, chi2, nct
    from statsmodels.stats.proportion import proportion_effectsize

    from solon.evals.statistics.effects import BEYOND_T, standardised_ends

    assert st.cohens_h(0.2, 0.55) == pytest.approx(proportion_effectsize(0.55, 0.2))
    odds = st.discordant_odds(9, 3)
    share = binomtest(9, 12).proportion_ci(method="exact")
    assert (odds.value, odds.low, odds.high) == pytest.approx((3, share.low / (1 - share.low), share.high / (1 - share.high)))
    assert st.discordant_odds(4, 0).high == math.inf and st.discordant_odds(0, 4).value == 0
    changes = generator(4).normal(0.3, 1, 30)
    size = st.d_z(changes)
    assert size.value == pytest.approx(changes.mean() / changes.std(ddof=1))
    t = size.value * math.sqrt(30)
    assert [nct.cdf(t, 29, end * math.sqrt(30)) for end in (size.low, size.high)] == pytest.approx([0.975, 0.025], abs=1e-6)
    for n in (2, 9, 400):  # far away only the spread is uncertain: the interval goes on as the noncentral t leaves off
        near, far = (standardised_ends(value, n) for value in (BEYOND_T, 1.0001 * BEYOND_T))
        assert np.array(near) == pytest.approx(np.array(far), rel=2e-3)
    low, high = standardised_ends(-1e15, 9)
    assert [chi2.cdf(8 * (end / -1e15) ** 2, 8) for end in (low, high)] == pytest.approx([0.975, 0.025])
    assert st.d_z([1.0, 1.0]).value == math.inf and st.d_z([0.0]).value == 0
    with pytest.raises(DataError, match="no item changed"):
        st.discordant_odds(0, 0)
    with pytest.raises(DataError, match="two shares"):
        st.cohens_h(0.2, math.nan)


@pytest.mark.parametrize(("n", "up", "down"), [(12, 0.3, 0.1), (60, 0.2, 0.05), (200, 0.1, 0.1)])
def test_power_of_shares_is_the_sum_over_all_outcomes(n, up, down):
    """Every pair of counts, its probability, and whether the test as it is used rejects there."""
    from scipy.stats import multinomial

    slow = sum(
        multinomial.pmf([i, j, n - i - j], n, [up, down, 1 - up - down])
        for i in range(n + 1) for j in range(n + 1 - i) if st.discordant_test(i, j)[0] < 0.05
    ) if n < 100 else None  # fmt: skip
    found = st.power_of_shares(n, up, down)
    if slow is not None:
        assert found == pytest.approx(slow, abs=1e-9)
    else:
        assert 0.03 < found < 0.06, "the size of the test: near its level and not far above"


def test_power_of_means_is_statsmodels():
    from statsmodels.stats.power import TTestPower

    for n, size in [(2, 0.5), (8, 0.4), (40, 0.3), (2000, 0.05), (500, 3.0)]:
        assert st.power_of_mean(n, 2 * size, 2.0) == pytest.approx(TTestPower().power(size, n, 0.05), abs=1e-6)
        assert st.detectable(n, sd=1.0) == pytest.approx(TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8), rel=1e-4)


def test_items_needed_is_the_other_side_of_detectable():
    from statsmodels.stats.power import TTestPower

    exact = TTestPower().solve_power(effect_size=0.3, alpha=0.05, power=0.8)
    assert st.items_needed(0.6, sd=2.0) == math.ceil(exact)
    n = st.items_needed(0.08, discordant=0.2)
    assert st.power_of_shares(n, 0.14, 0.06) >= 0.8 > st.power_of_shares(n - 8, 0.14, 0.06)
    assert st.detectable(n, discordant=0.2) == pytest.approx(0.08, abs=0.002)
    for bad in ({"sd": 1.0, "discordant": 0.1}, {}):
        with pytest.raises(DataError, match="exactly one"):
            st.items_needed(0.1, **bad)
    with pytest.raises(DataError, match="cannot be shown"):
        st.items_needed(1e-6, sd=1.0)


@pytest.mark.parametrize("values", [[0.2, math.nan], [1.2], [-0.1]])
def test_odd_p_values_are_refused(values):
    for adjust in (st.holm, st.benjamini_hochberg):
        with pytest.raises(DataError, match="p-value"):
            adjust(values)


def test_one_item_is_no_evidence():
    found = st.paired_proportions([0], [1])
    assert found.p == 1.0 and found.low < 0 and found.detectable == 1.0
    means = st.paired_means([0.0], [1.0])
    assert means.p == 1.0 and math.isinf(means.detectable) and "too few items" in means.plain


def test_a_family_says_what_is_left_after_correction():
    """The chance numbers are those of statsmodels; a sentence never says more than its corrected p."""
    from statsmodels.stats.multitest import multipletests

    ps = [0.011, 0.0001, 0.3, None, 0.04]
    rows = [{"p": p, "plain": words.change(-0.14, -0.2, -0.01, 1.0 if p is None else p, 0.1, points=True)} for p in ps]
    st.correct(rows)
    st.correct([])
    known = multipletests([p for p in ps if p is not None], method="holm")[1]
    assert [row["p_holm"] for row in rows if row["p"] is not None] == pytest.approx(known) and rows[3]["p_holm"] is None
    assert rows[1]["plain"].endswith("beyond chance") and rows[0]["plain"].endswith("beyond chance")
    assert rows[4]["plain"].endswith("beyond chance by itself, but not after correction for 4 comparisons (p 0.08)")
    assert rows[2]["plain"].startswith("no detectable change") and "correction" not in rows[2]["plain"]
    many = [dict(rows[4]), *({"p": 0.9, "plain": "none"} for _ in range(9))]
    st.correct(many)
    assert many[0]["plain"].count("beyond chance") == 1 and "for 10 comparisons" in many[0]["plain"], "the last family is told"


def test_effects_have_intervals():
    draw = np.random.default_rng(3)
    x, y = draw.normal(0, 1, 40), draw.normal(0.4, 1, 40)
    found, plain = st.paired_means(x, y), st.d_z((y - x).tolist())
    assert found.effect_ci == (plain.low, plain.high) and found.effect == plain.value
    families = np.repeat(np.arange(20), 2)
    apart = st.paired_means(np.repeat(x[:20], 2), np.repeat(y[:20], 2), families.tolist())
    assert apart.effect_ci[1] - apart.effect_ci[0] > 1.2 * (found.effect_ci[1] - found.effect_ci[0]), "wordings twice over are no more items"
    assert apart.effect_ci[0] < apart.effect < apart.effect_ci[1]
    assert st.paired_means([1.0, 2.0], [2.0, 3.0]).effect_ci is None, "no spread"
    won = st.win_comparison([1.0] * 12 + [0.0] * 5 + [0.5] * 3)
    rate = st.win_rate([1.0] * 12 + [0.0] * 5 + [0.5] * 3)
    assert won.effect_ci == pytest.approx([st.cohens_h(0.5, end) for end in (rate.low, rate.high)])
    ends = st.paired_proportions([0] * 10, [1] * 10)
    assert ends.effect_ci[0] < ends.effect == pytest.approx(math.pi) and ends.effect_ci[1] == pytest.approx(math.pi)


@pytest.mark.parametrize(("before", "up", "down"), [(0.3, 0.2, 0.1), (0.95, 0.02, 0.1), (0.5, 0.05, 0.05)])
def test_the_interval_of_cohens_h_covers(before, up, down):
    """In simulated comparisons the true effect lies within, some 95 % of the time."""
    draw, n, times = np.random.default_rng(5), 120, 300
    truth = st.cohens_h(before, before + up - down)
    hits = 0
    for _ in range(times):
        cells = draw.multinomial(n, [up, down, before - down, 1 - before - up])
        first = np.repeat([0, 1, 1, 0], cells).mean(), np.repeat([1, 0, 1, 0], cells).mean()
        low, high = h_of_ends(*first, *st.score_interval(int(cells[0]), int(cells[1]), n))
        hits += low <= truth <= high
    assert 0.92 <= hits / times <= 0.99
