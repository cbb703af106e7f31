"""Before a run: how many items show a difference, and which difference so many items would show.

Powers are those of the tests in `paired.py`, not of their approximations: for shares the rejection region of McNemar's
test as it is used there is summed over all outcomes, for means the noncentral t distribution is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from solon.core.errors import DataError
from solon.evals.statistics.figures import ALPHA, falling_root

EXACT_BELOW = 25  # discordant pairs; below it McNemar's test is exact, from there on mid-p
POWER = 0.8
MOST = 10_000_000
WHOLE = 4_096  # up to so many pairs all outcomes are summed


def power_of_shares(n: int, up: float, down: float, alpha: float = ALPHA) -> float:
    """The probability that `paired_proportions` finds a change in n pairs of which these shares go up and down.

    With up = down it is the size of the test: how often it gives a false alarm."""
    if n < 1 or not (0 <= up <= 1 and 0 <= down <= 1 and up + down <= 1 + 1e-12):
        got = f"n={n}, up={up}, down={down}"
        raise DataError("power needs at least one pair, and shares that add up to at most 1", got=got)
    changed = min(1.0, up + down)
    if changed == 0:
        return 0.0
    from scipy.special import bdtr, gammaln, xlog1py, xlogy

    start, stop = 0, n
    if n > WHOLE:  # beyond nine standard deviations the numbers of changed items have no weight
        wide = 9 * math.sqrt(n * changed) + 20
        start, stop = max(0, math.floor(n * changed - wide)), min(n, math.ceil(n * changed + wide))
    k, few = np.arange(start, stop + 1), _critical(start, stop, alpha)
    chance = np.exp(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + xlogy(k, changed) + xlog1py(n - k, -changed))
    k, few, chance = k[few >= 0], few[few >= 0], chance[few >= 0]
    # Few down, or few up: the share of changes that go up decides.
    rejected = sum(bdtr(few, k, min(1.0, share / changed)) for share in (up, down))
    return float(min(1.0, (chance * rejected).sum()))


def power_of_mean(n: int, difference: float, sd: float, alpha: float = ALPHA) -> float:
    """The power of the paired t test, and nearly that of the permutation test, for a true mean difference."""
    if n < 2 or not sd > 0:
        raise DataError("power needs at least two pairs and a spread above 0", got=f"n={n}, sd={sd}")
    return _power_of_t(n, abs(difference) / sd, alpha)


def detectable(
    n: int, *, discordant: float | None = None, sd: float | None = None, alpha: float = ALPHA, power: float = POWER
) -> float:
    """The smallest true difference that n pairs show with this power.

    Give `discordant`, the share of items that change either way (proportions), or `sd`, the standard deviation of the
    differences (means). Either may be a guess made before the run.
    """
    if n < 1 or (discordant is None) == (sd is None):
        raise DataError(
            "detectable() needs at least one pair and exactly one description of the spread",
            got=f"n={n}, discordant={discordant}, sd={sd}",
            expected="discordant=share of changed items, or sd=spread of the differences",
        )
    if sd is not None:
        return _detectable_mean(n, sd, alpha, power)
    share = discordant or 0.0

    def missed(delta: float) -> float:
        """Falls as the difference grows. A difference needs at least as many changed items."""
        changed = min(1.0, max(share, delta))
        return 1 - power_of_shares(n, (changed + delta) / 2, (changed - delta) / 2, alpha)

    return 1.0 if missed(1.0) > 1 - power else _halved(missed, 1 - power)


def items_needed(
    difference: float,
    *,
    discordant: float | None = None,
    sd: float | None = None,
    alpha: float = ALPHA,
    power: float = POWER,
) -> int:
    """How many pairs show this difference with this power; `discordant` and `sd` as in `detectable`.

    The power of an exact test rises in teeth, so a few items less may do as well."""
    if difference == 0 or not math.isfinite(difference) or (discordant is None) == (sd is None):
        got = f"difference={difference}, discordant={discordant}, sd={sd}"
        raise DataError("items_needed() needs a difference and exactly one description of the spread", got=got)
    size = abs(difference)
    if discordant is None:
        enough: Callable[[int], bool] = lambda n: n > 1 and power_of_mean(n, size, sd or 0.0, alpha) >= power  # noqa: E731
    else:
        changed = max(discordant, size)
        enough = lambda n: power_of_shares(n, (changed + size) / 2, (changed - size) / 2, alpha) >= power  # noqa: E731
    most = 1
    while not enough(most):
        most *= 2
        if most > MOST:
            raise DataError("so small a difference cannot be shown", got=difference, expected=f"at most {MOST:,} items")
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle, most)
    return most


@lru_cache(maxsize=256)
def _critical(start: int, stop: int, alpha: float) -> NDArray[np.float64]:
    """For each number of changed items from start to stop, the largest count of the rarer direction at which the test
    rejects (-1: none)."""
    from scipy.stats import binom

    among = np.arange(start, stop + 1)
    few = binom.ppf(alpha / 2, among, 0.5)
    tail = binom.cdf(few, among, 0.5)
    p = np.where(among < EXACT_BELOW, 2 * tail, 2 * tail - binom.pmf(few, among, 0.5))
    return np.where((p < alpha) & (2 * few < among), few, few - 1)


def _power_of_t(n: int, size: float, alpha: float) -> float:
    from scipy.special import stdtrit
    from scipy.stats import nct

    far, centre = float(stdtrit(n - 1, 1 - alpha / 2)), size * math.sqrt(n)
    if centre > far + 12 + far * 12 / math.sqrt(n - 1):  # certain, and beyond what the noncentral t can be summed for
        return 1.0
    return float(nct.sf(far, n - 1, centre) + np.nan_to_num(nct.cdf(-far, n - 1, centre)))  # far out it is not a number


def _detectable_mean(n: int, sd: float, alpha: float, power: float) -> float:
    if n < 2 or not math.isfinite(sd):
        return math.inf
    if sd == 0:
        return 0.0
    from scipy.special import stdtrit

    guess = float(stdtrit(n - 1, 1 - alpha / 2) + stdtrit(n - 1, power)) / math.sqrt(n)
    return sd * falling_root(lambda size: 1 - _power_of_t(n, size, alpha), 1 - power, 0.0, 2 * guess)


def _halved(missed: Callable[[float], float], level: float) -> float:
    """`falling_root` on [0, 1], to a ten-thousandth of a point: every step sums a whole distribution."""
    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if missed(middle) > level else (low, middle)
    return high

