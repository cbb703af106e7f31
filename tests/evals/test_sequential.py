"""Always-valid tests: looked at after every outcome they are rarely wrong; the usual test looked at so is often wrong."""

import numpy as np
import pytest

from solon.core.errors import DataError
from solon.core.keys import rng
from solon.evals import sequential as sq

TRIALS, LONG = 200, 400


def share_of(rejects):
    return np.mean([rejects(trial) for trial in range(TRIALS)])


@pytest.mark.parametrize("chance", [0.1, 0.5])
def test_betting_is_rarely_wrong_under_continuous_peeking(chance):
    def rejects(trial):
        x = rng("peek", chance, trial).random(LONG) < chance
        found = sq.betting(x, null=chance, grid=100)
        assert (found.p[-1] <= 0.05) or found.low[-1] <= chance <= found.high[-1]
        return found.p[-1] <= 0.05

    # What the theory allows is 0.05; three standard errors of the simulation are added.
    assert share_of(rejects) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / TRIALS)


def test_peeking_at_the_usual_test_is_often_wrong():
    """So that the tests above are seen to be able to fail."""

    def rejects(trial):
        x = (rng("peek", 0.5, trial).random(LONG) < 0.5).astype(float)
        n = np.arange(1, LONG + 1)
        z = (np.cumsum(x) - n / 2) / np.sqrt(n / 4)
        return (np.abs(z[20:]) > 1.96).any()

    assert share_of(rejects) > 0.2


def test_the_interval_covers_at_all_times_together():
    missed = 0
    for trial in range(TRIALS):
        x = rng("cover", trial).beta(2, 5, LONG)
        found = sq.betting(x, grid=100)
        missed += bool(((found.low > 2 / 7) | (found.high < 2 / 7)).any())
    assert missed / TRIALS <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / TRIALS)


def test_ab_finds_what_is_there_and_little_else():
    def run(name, b):
        draw = rng("ab", name)
        arms = np.where(draw.random(3000) < 0.5, "a", "b")
        return sq.ab(arms, draw.random(3000) < np.where(arms == "b", b, 0.4), "a", "b")

    found = run("effect", 0.52)
    assert found.p[-1] < 0.01 and found.low[-1] < 0.12 < found.high[-1] and found.low[-1] > 0
    assert 50 < found.decided() < len(found.p) and (np.diff(found.p) <= 0).all()
    assert (np.diff(found.low) >= 0).all() and (np.diff(found.high) <= 0).all(), "an interval never grows again"
    same = run("none", 0.4)
    assert same.decided() is None and same.low[-1] < 0 < same.high[-1]
    assert len(found.p) == pytest.approx(1500, abs=120)


def test_the_mixture_is_rarely_wrong_with_known_variance():
    def rejects(trial):
        x = rng("mixture", trial).normal(size=LONG)
        n = np.arange(1, LONG + 1)
        return sq.normal_mixture(np.cumsum(x) / n, 1 / n, scale=0.2).p[-1] <= 0.05

    assert share_of(rejects) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / TRIALS)


def test_the_mixture_on_two_arms_of_unequal_traffic():
    def rejects(trial, effect=0.0):
        draw = rng("arms", trial)
        arms = np.where(draw.random(2000) < 0.2, "b", "a")
        outcome = draw.random(2000) < np.where(arms == "b", 0.3 + effect, 0.3)
        found = sq.normal_mixture(*sq.running_difference(arms, outcome, "a", "b"), scale=0.1)
        return found.p[-1] <= 0.05

    assert share_of(rejects) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / TRIALS)
    assert np.mean([rejects(trial, 0.15) for trial in range(40)]) > 0.8


def test_the_mixture_is_an_integral_of_likelihood_ratios():
    from scipy.integrate import quad
    from scipy.stats import norm

    value, variance, scale = 0.3, 0.01, 0.2
    ratio = quad(lambda t: norm.pdf(value, t, variance**0.5) * norm.pdf(t, 0, scale), -3, 3, points=[0, 0.3])[0]
    ratio /= norm.pdf(value, 0, variance**0.5)
    found = sq.normal_mixture([value], [variance], scale)
    assert found.p[0] == pytest.approx(1 / ratio, rel=1e-6)
    edge = found.high[0] - value  # at the interval's edge the p-value is alpha
    assert sq.normal_mixture([edge], [variance], scale).p[0] == pytest.approx(0.05)


def test_wealth_is_the_product_of_bets():
    """By hand, with the stakes of the paper's formula, up to a mean of 0.4."""
    x = [1.0, 0.0, 1.0, 1.0, 0.3]
    capital_up = capital_down = 1.0
    seen, spread, best = 0.5, 0.25, 0.5
    for t, value in enumerate(x, 1):
        stake = np.sqrt(2 * np.log(2 / 0.05) / (spread / t * t * np.log(t + 1)))
        capital_up *= 1 + min(stake, 0.5 / 0.4) * (value - 0.4)
        capital_down *= 1 - min(stake, 0.5 / 0.6) * (value - 0.4)
        best = max(best, (capital_up + capital_down) / 2)
        seen += value
        spread += (value - seen / (t + 1)) ** 2
        assert sq.betting(x[:t], null=0.4).p[-1] == pytest.approx(min(1, 1 / best))


def test_blocks_do_not_matter(monkeypatch):
    x = rng("blocks").random(50)
    whole = sq.betting(x)
    monkeypatch.setattr(sq, "BLOCK", 7)
    cut = sq.betting(x)
    assert all(np.array_equal(a, b) for a, b in zip((whole.low, whole.high, whole.p), (cut.low, cut.high, cut.p), strict=True))


@pytest.mark.parametrize(
    "bad",
    [
        lambda: sq.betting([]),
        lambda: sq.betting([0.5, float("nan")]),
        lambda: sq.betting([1.2]),
        lambda: sq.betting([0.5], null=1.0),
        lambda: sq.normal_mixture([0.1], [0.0], 1.0),
        lambda: sq.normal_mixture([0.1, 0.2], [1.0], 1.0),
        lambda: sq.ab(["a", "a"], [1, 0], "a", "b"),
        lambda: sq.ab(["a", "c"], [1, 0], "a", "b"),
        lambda: sq.ab(["a"], [1, 0], "a", "b"),
        lambda: sq.ab(["a", "b"], [1, 2], "a", "b"),
        lambda: sq.ab(["a", "a"], [1, 0], "a", "a"),
    ],
)
def test_refused(bad):
    with pytest.raises(DataError):
        bad()
