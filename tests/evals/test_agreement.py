"""Agreement coefficients against scikit-learn, statsmodels and krippendorff, and published examples."""

import math

import numpy as np
import pytest

from solon.core.errors import DataError
from solon.evals import agreement

# Krippendorff, Computing Krippendorff's alpha-reliability (2011), section E: four observers, twelve units, gaps.
GAPS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def draws(seed, n=150, raters=2, labels=4, agree=0.6):
    """Ratings of which a share repeats the first rater's."""
    generator = np.random.default_rng(seed)
    first = generator.integers(1, labels + 1, n)
    rest = [np.where(generator.random(n) < agree, first, generator.integers(1, labels + 1, n)) for _ in range(raters - 1)]
    return np.stack([first, *rest], axis=1)


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(5))
def test_cohen_is_sklearns(seed, weights):
    from sklearn.metrics import cohen_kappa_score

    a, b = draws(seed).T
    found = agreement.cohen_kappa(a.tolist(), b.tolist(), weights=weights)
    theirs = cohen_kappa_score(a, b, weights=None if weights == "none" else weights)
    assert found.value == pytest.approx(theirs, abs=1e-12) and found.low < found.value < found.high and found.n == 150


def test_the_order_of_labels_decides_near_misses():
    a, b = ["good", "fair", "poor", "poor", "good"] * 10, ["fair", "fair", "poor", "good", "good"] * 10
    words = agreement.cohen_kappa(a, b, weights="linear", order=["poor", "fair", "good"])
    numbers = agreement.cohen_kappa([3, 2, 1, 1, 3] * 10, [2, 2, 1, 3, 3] * 10, weights="linear")
    assert words.value == pytest.approx(numbers.value)
    assert words.value != pytest.approx(agreement.cohen_kappa(a, b, weights="linear").value), "sorted is another order"


def test_cohens_interval_is_near_the_asymptotic_one():
    from statsmodels.stats.inter_rater import cohens_kappa

    a, b = draws(9, n=600).T
    table = np.zeros((4, 4))
    np.add.at(table, (a - 1, b - 1), 1)
    theirs, found = cohens_kappa(table), agreement.cohen_kappa(a.tolist(), b.tolist())
    assert (found.low, found.high) == pytest.approx((theirs.kappa_low, theirs.kappa_upp), abs=0.01)


@pytest.mark.parametrize("raters", [2, 3, 6])
def test_fleiss_is_statsmodels(raters):
    from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

    ratings = draws(raters, raters=raters)
    found = agreement.fleiss_kappa(ratings.tolist())
    assert found.value == pytest.approx(fleiss_kappa(aggregate_raters(ratings)[0])) and found.low < found.value < found.high
    with pytest.raises(DataError, match="equally many"):
        agreement.fleiss_kappa([[1, 2], [1, None]])


def test_alpha_of_the_published_example():
    items = list(zip(*GAPS, strict=True))
    for level, value in (("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)):
        assert agreement.krippendorff_alpha(items, level).value == pytest.approx(value, abs=6e-4)
    assert agreement.krippendorff_alpha(items).n == 11, "the unit that one observer rated tells nothing"


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_krippendorffs(seed, level):
    krippendorff = pytest.importorskip("krippendorff", reason="pip install solon[test]")
    ratings = draws(seed, raters=3 + seed, labels=3 + seed).astype(object)
    ratings[np.random.default_rng(seed).random(ratings.shape) < 0.2] = None
    found = agreement.krippendorff_alpha(ratings.tolist(), level)
    theirs = krippendorff.alpha(ratings.T.astype(float), level_of_measurement=level)
    assert found.value == pytest.approx(theirs, abs=1e-9) and found.low < found.value < found.high


def test_two_raters_without_gaps_are_near_scotts_pi():
    """For nominal data and two raters alpha is Scott's pi but for the factor of a finite sample."""
    ratings = draws(3)
    pooled = np.bincount(ratings.ravel()) / ratings.size
    chance, seen = (pooled**2).sum(), (ratings[:, 0] == ratings[:, 1]).mean()
    pi, n = (seen - chance) / (1 - chance), ratings.size
    assert agreement.krippendorff_alpha(ratings.tolist()).value == pytest.approx(pi + (1 - pi) / n)


def test_ac1_by_hand_and_where_kappa_fails():
    # 118 of 125 items agree, nearly all with one label (Gwet 2008, table 1's form): kappa is about 0, AC1 high.
    a, b = ["no"] * 118 + ["yes"] * 5 + ["no"] * 2, ["no"] * 118 + ["no"] * 5 + ["yes"] * 2
    seen, share = 118 / 125, (5 + 2) / 250
    chance = 2 * share * (1 - share)
    found = agreement.gwet_ac1(list(zip(a, b, strict=True)))
    assert found.value == pytest.approx((seen - chance) / (1 - chance)) and found.value > 0.9
    assert agreement.cohen_kappa(a, b).value < 0.05
    assert agreement.gwet_ac1([["no", "no"]] * 9).value == 1.0
    with pytest.raises(DataError, match="two raters"):
        agreement.gwet_ac1([["no", None]])


def test_intervals_cover_the_truth():
    """Two raters who are right with probability .8 on two labels: kappa of the population is (.68 - .5) / .5."""
    generator, covered = np.random.default_rng(5), 0
    for trial in range(150):
        truth = generator.integers(0, 2, 120)
        a, b = (np.where(generator.random(120) < 0.8, truth, 1 - truth) for _ in range(2))
        found = agreement.krippendorff_alpha(np.stack([a, b], axis=1).tolist(), name=f"cover {trial}")
        covered += found.low <= 0.36 <= found.high
    assert 0.89 <= covered / 150 <= 0.99


@pytest.mark.parametrize(
    "bad",
    [
        lambda: agreement.cohen_kappa(["a"], ["a", "b"]),
        lambda: agreement.cohen_kappa(["a", "a"], ["a", "a"]),
        lambda: agreement.cohen_kappa([1, None], [1, 2]),
        lambda: agreement.cohen_kappa([1, math.nan], [1, 2]),
        lambda: agreement.cohen_kappa([1, "b"], [1, "b"], weights="linear"),
        lambda: agreement.cohen_kappa(["x"], ["y"], order=["x"]),
        lambda: agreement.fleiss_kappa([]),
        lambda: agreement.fleiss_kappa([["a", "a"]]),
        lambda: agreement.krippendorff_alpha([[None, None]]),
        lambda: agreement.krippendorff_alpha([[1, None], [None, 2]]),
        lambda: agreement.krippendorff_alpha([["a", "b"]], "interval"),
        lambda: agreement.krippendorff_alpha([[1, 1], [1, 1]]),
    ],
)
def test_refused(bad):
    with pytest.raises(DataError):
        bad()


def test_auc_is_sklearns():
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(10)
    y = generator.integers(0, 2, 150)
    scores = np.round(y + generator.normal(size=150), 1)  # rounded, so that there are ties
    area = agreement.auc(scores, y)
    assert area.value == pytest.approx(roc_auc_score(y, scores)) and area.low < area.value < area.high
    perfect = agreement.auc([0, 0, 1, 1], [0, 0, 1, 1])
    assert perfect.value == 1.0 and perfect.low < 0.5
