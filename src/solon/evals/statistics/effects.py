"""How large a change is, in units that can be compared between measures."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from solon.core.errors import DataError
from solon.core.intervals import clopper_pearson
from solon.evals.statistics.figures import ALPHA, Figure, Floats, by_cluster, column, falling_root
from solon.evals.statistics.means import resampled

BEYOND_T = 100.0
"""Standard deviations above which only the spread is uncertain: noncentral t is its limit, and would take SciPy seconds to years."""


def cohens_h(before: float, after: float) -> float:
    """The difference of two shares on the arcsine scale (Cohen 1988): about 0.2 small, 0.5 medium, 0.8 large."""
    if not (0 <= before <= 1 and 0 <= after <= 1):
        raise DataError("Cohen's h compares two shares", got=f"{before} and {after}", expected="0 to 1 each")
    return 2 * math.asin(math.sqrt(after)) - 2 * math.asin(math.sqrt(before))


def h_of_ends(before: float, after: float, low: float, high: float) -> tuple[float, float]:
    """Cohen's h at both ends of an interval of the difference; the mean of the two shares stays where it is."""
    middle = (before + after) / 2
    widest = 2 * min(middle, 1 - middle)  # so far apart two shares of this mean can be
    first, second = (cohens_h(middle - gap / 2, middle + gap / 2) for gap in (max(low, -widest), min(high, widest)))
    return first, second


def discordant_odds(up: int, down: int) -> Figure:
    """How many items went up for each that went down, with the exact interval (given how many changed at all)."""
    n = up + down
    if up < 0 or down < 0 or n == 0:
        raise DataError("no item changed, so there is no odds ratio", got=f"{up} up, {down} down")
    low, high = (share / (1 - share) if share < 1 else math.inf for share in clopper_pearson(up, n))
    value = up / down if down else math.inf
    return Figure(value, low, high, n, "odds ratio of discordant pairs, exact 95 %")


def d_z(changes: Sequence[float]) -> Figure:
    """The mean change in standard deviations of the changes; the interval inverts the noncentral t distribution.

    Changes that are all equal have no spread, and so an unbounded effect of which no interval can be estimated."""
    values = column("changes", changes)
    n, value = len(values), standardised(values)
    if n == 1 or math.isinf(value) or not np.ptp(values):
        return Figure(value, value, value, n, "d_z; no spread: no interval can be estimated")
    return Figure(value, *standardised_ends(value, n), n, "d_z, noncentral t 95 %")


def standardised_ends(value: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a mean in standard deviations of n independent values."""
    from scipy.stats import chi2, nct

    if abs(value) > BEYOND_T:
        first, second = (value * math.sqrt(float(chi2.ppf(level, n - 1)) / (n - 1)) for level in (ALPHA / 2, 1 - ALPHA / 2))
        return min(first, second), max(first, second)
    t = math.sqrt(n) * value
    reach = abs(t) + 10 + abs(t) * 10 / math.sqrt(n - 1)  # the interval's ends lie well inside

    def below(centre: float) -> float:
        """The probability of at most t; SciPy's is not a number where it is all but 0 or 1."""
        return float(np.nan_to_num(nct.cdf(t, n - 1, centre), nan=float(centre < t)))

    centres = (falling_root(below, level, -reach, reach) for level in (1 - ALPHA / 2, ALPHA / 2))
    low, high = (end / math.sqrt(n) for end in centres)
    return low, high


def d_z_ends(changes: Floats, clusters: Sequence[Hashable] | None, name: str) -> tuple[float, float] | None:
    """The interval of d_z: noncentral t, or with clusters the percentiles over resampled clusters. None without spread."""
    if clusters is None:
        found = d_z(changes.tolist())
        return (found.low, found.high) if found.low < found.high else None
    (sums, counts), (squares, _) = by_cluster(changes, clusters), by_cluster(changes**2, clusters)

    def standard(pick: Floats) -> Floats:
        n, total = counts[pick].sum(axis=1), sums[pick].sum(axis=1)
        spread = np.sqrt(np.maximum(squares[pick].sum(axis=1) - total**2 / n, 0) / np.maximum(n - 1, 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(spread > 1e-12, total / n / spread, np.nan)

    draws = resampled(standard, len(sums), f"{name} d_z") if len(sums) > 1 else np.array([np.nan])
    if np.isnan(draws).mean() > ALPHA:  # hardly a resample has a spread
        return None
    low, high = np.nanquantile(draws, (ALPHA / 2, 1 - ALPHA / 2))
    return float(low), float(high)


def standardised(changes: Floats) -> float:
    """The mean change in standard deviations; changes without spread have an unbounded effect."""
    middle, spread = float(changes.mean()), float(changes.std(ddof=1)) if len(changes) > 1 else 0.0
    if spread <= 1e-12 * max(1.0, abs(middle)):
        return 0.0 if middle == 0 else math.copysign(math.inf, middle)
    return middle / spread
