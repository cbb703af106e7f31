"""Bradley-Terry against statsmodels' logistic regression, and what position and style would do to it."""

import numpy as np
import pytest

from solon.core.errors import DataError
from solon.evals.strengths import Battle, corrected_win_rate, length_difference, strengths

TRUE = {"base": 0.0, "sl": 0.4, "aligned": 1.0}


def battles(n=500, position=0.5, length=0.8, ties=0.1, seed=0, lean=0.0):
    """Both orders of each prompt; `lean` is how much longer the replies of `aligned` are."""
    generator, found = np.random.default_rng(seed), []
    for prompt in range(n // 2):
        a, b = generator.choice(list(TRUE), 2, replace=False).tolist()
        gap = generator.normal() + lean * ((a == "aligned") - (b == "aligned"))
        for first, second, sign in ((a, b, 1), (b, a, -1)):
            chance = 1 / (1 + np.exp(-(TRUE[first] - TRUE[second] + position + length * sign * gap)))
            outcome = 0.5 if generator.random() < ties else float(generator.random() < chance)
            found.append(Battle(prompt, first, second, outcome, {"length": sign * gap}))
    return found


def test_coefficients_are_statsmodels():
    import statsmodels.api as sm

    given = battles(ties=0.15)
    X = np.array([
        [(b.first == m) - (b.second == m) for m in ("base", "sl")] + [1, b.style["length"]] for b in given
    ], dtype=float)  # fmt: skip
    theirs = sm.GLM([b.outcome for b in given], X, family=sm.families.Binomial()).fit().params  # aligned is the origin
    found = strengths(given)
    mine = {name: figure.value for name, figure in found.models.items()}
    assert [mine["base"] - mine["aligned"], mine["sl"] - mine["aligned"]] == pytest.approx(theirs[:2], abs=1e-6)
    assert (found.position.value, found.style["length"].value) == pytest.approx(theirs[2:], abs=1e-6)
    assert sum(mine.values()) == pytest.approx(0, abs=1e-9) and found.n == 250


def test_the_interval_is_over_prompts_and_near_the_clustered_one():
    import statsmodels.api as sm

    given = [b for b in battles(1500, ties=0) if {b.first, b.second} == {"base", "aligned"}]
    X = np.array([[1.0 if b.first == "aligned" else -1.0, 1, b.style["length"]] for b in given])
    fitted = sm.GLM([b.outcome for b in given], X, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": np.array([b.item for b in given])}
    )
    low, high = fitted.conf_int()[0]
    found = strengths(given).win_rate("base", "aligned")
    assert (found.low, found.high) == pytest.approx([1 / (1 + np.exp(-x)) for x in (low, high)], abs=0.015)


def test_position_and_length_are_taken_out():
    given = battles(3000, position=0.7, length=1.0, ties=0, lean=1.5, seed=3)
    pair = [b for b in given if {b.first, b.second} == {"base", "aligned"}]
    raw = np.mean([b.outcome if b.first == "aligned" else 1 - b.outcome for b in pair])
    fair = 1 / (1 + np.exp(-1.0))
    found = corrected_win_rate(pair, "base", "aligned")
    assert raw > fair + 0.05, "longer replies look better than they are"
    assert found.low < fair < found.high
    assert strengths(pair).position.low > 0.3 and strengths(pair).style["length"].low > 0.5
    once = [Battle(b.item, b.first, b.second, b.outcome) for b in pair if b.first == "aligned"]
    with pytest.raises(DataError, match="do not determine"):
        strengths(once)  # always shown first, so position and strength cannot be told apart
    assert strengths(once, position=False).models["aligned"].low > 0


def test_ties_count_as_half():
    """A tie and a win for each side are the same evidence."""
    base = [Battle(i, "a", "b", float(i % 3 == 0)) for i in range(30)]
    tied = base + [Battle(100 + i, "a", "b", 0.5) for i in range(10)]
    split = base + [Battle(100 + i, "a", "b", float(i % 2)) for i in range(10)]
    one, other = (strengths(given, position=False).win_rate("a", "b").value for given in (tied, split))
    assert one == pytest.approx(other) == pytest.approx(1 - (10 + 5) / 40)


def test_the_same_judgements_give_the_same_interval():
    assert strengths(battles(60)).win_rate("base", "sl") == strengths(battles(60)).win_rate("base", "sl")


def test_length_difference():
    assert length_difference("four", "12345678") == pytest.approx(-np.log(2)) == -length_difference("12345678", "four")
    assert length_difference("", "  ") == 0


@pytest.mark.parametrize(
    "given, words",
    [
        ([], "need judgements"),
        ([Battle(1, "a", "a", 1.0)], "with itself"),
        ([Battle(1, "a", "b", float("nan"))], "missing or odd"),
        ([Battle(1, "a", "b", 1.5)], "missing or odd"),
        ([Battle(1, "a", "b", 1.0, {"length": 1}), Battle(1, "a", "b", 0.0)], "other styles"),
        ([Battle(1, "a", "b", 1.0)], "no chain of wins"),
        ([Battle(1, "a", "b", 0.5), Battle(1, "c", "d", 0.5)], "no chain of wins"),
        ([Battle(i, "a", "b", float(i % 2), {"length": 2.0 * (i % 2) - 1}) for i in range(8)], "do not determine"),
    ],
)
def test_refused(given, words):
    with pytest.raises(DataError, match=words):
        strengths(given)


def test_an_unknown_model_is_refused():
    with pytest.raises(DataError, match="no judgements of 'gpt'"):
        strengths(battles(60)).win_rate("base", "gpt")
