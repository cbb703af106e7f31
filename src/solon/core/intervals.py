"""How sure a share is, and whether probabilities mean what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from solon.core.errors import DataError

Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Bin:
    """Predictions of about the same height: their mean, the share that came true, and how many they are."""

    p: float
    y: float
    n: int


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error, Brier score (both 0 at best), and the bins of a reliability diagram."""

    ece: float
    brier: float
    bins: tuple[Bin, ...]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the share hits / n (JASA 22, 1927). Raises `DataError` where there is no share."""
    _counts(hits, n)
    share, z2 = hits / n, Z * Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # Exact at the ends, where rounding would leave a trace.
    return (0.0 if hits == 0 else middle - half), (1.0 if hits == n else middle + half)


def clopper_pearson(hits: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of the share hits / n (Biometrika 26, 1934): it covers at least as often as it says, never less.

    Counts need not be whole: clustered trials count as fewer. At no hits the upper end is 1 - (alpha / 2) ** (1 / n). Raises `DataError` where there is no share."""
    _counts(hits, n)
    tail = (1 - _level(level)) / 2
    from scipy.special import betaincinv

    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - tail))
    return low, high


def at_most(hits: int, n: int, level: float = 0.95) -> float:
    """The one-sided exact upper bound of a share: after 0 hits in n it is 1 - 0.05 ** (1 / n), some 3 / n (the rule of
    three). For "we saw none: how many could there be?"."""
    _counts(hits, n)
    from scipy.special import betaincinv

    return 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, _level(level)))


def _counts(hits: float, n: float) -> None:
    if not 0 <= hits <= n or n == 0:
        raise DataError("a share needs at least one item, and no more hits than items", got=f"{hits} of {n}")


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise DataError("a confidence level lies between 0 and 1", got=level, expected="0.95, for instance")
    return level


def calibration(p: Sequence[float], y: Sequence[float], bins: int = 10) -> Calibration:
    """Predicted probabilities `p` against outcomes `y` (0 or 1), in bins of equal mass.

    Equal predictions always share a bin, so the figure does not depend on the order of the rows; bins can then be fewer.
    """
    predicted, outcome = np.asarray(p, np.float64), np.asarray(y, np.float64)
    if predicted.shape != outcome.shape or predicted.ndim != 1 or not len(predicted) or bins < 1:
        raise DataError(
            "calibration needs as many outcomes as predictions", got=f"{predicted.shape} and {outcome.shape}"
        )
    if not ((predicted >= 0) & (predicted <= 1)).all():
        raise DataError(
            "a prediction is not a probability", got=predicted.min() if predicted.min() < 0 else predicted.max()
        )
    place = equal_mass(predicted, bins)
    kept = []
    for number in range(int(place.max()) + 1):
        inside = place == number
        kept.append(Bin(float(predicted[inside].mean()), float(outcome[inside].mean()), int(inside.sum())))
    ece = sum(one.n * abs(one.p - one.y) for one in kept) / len(predicted)
    return Calibration(ece, float(((predicted - outcome) ** 2).mean()), tuple(kept))


def equal_mass(p: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """The bin of each prediction, counted from 0 without gaps: as many predictions in each as ties allow."""
    ordered = np.sort(p)
    rank = (np.searchsorted(ordered, p, "left") + np.searchsorted(ordered, p, "right")) / 2
    place = np.minimum((rank * bins / len(p)).astype(int), bins - 1)
    return np.unique(place, return_inverse=True)[1]
