"""How large a mean is, and how sure: bootstrap intervals over items or whole clusters, and clustered standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from solon.core.errors import DataError
from solon.core.keys import rng
from solon.evals.statistics.figures import ALPHA, CHUNK, RESAMPLES, Figure, Floats, by_cluster, column

Method = Literal["BCa", "percentile"]


def mean(
    values: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    name: str = "mean",
    method: Method = "BCa",
) -> Figure:
    """The mean over items with a bootstrap interval (Efron 1987); whole clusters are resampled when given.

    `name` seeds the resampling, so that the same figure gets the same interval in every run.
    """
    numbers = column("values", values)
    sums, counts = by_cluster(numbers, clusters)
    value = float(numbers.mean())
    if len(sums) == 1 or np.ptp(sums / counts) == 0:
        why = "one cluster" if len(sums) == 1 else "all items equal"
        return Figure(value, value, value, len(numbers), f"mean; {why}: no interval can be estimated")
    left_out = (sums.sum() - sums) / (counts.sum() - counts)
    low, high, kind = ends(resampled_means(sums, counts, name), value, left_out, method)
    what = f"mean, {kind} bootstrap 95 %, {RESAMPLES:,} resamples"
    what += "" if clusters is None else f" of {len(sums)} clusters"
    return Figure(value, low, high, len(numbers), what)


def bootstrap(
    statistic: Callable[..., Floats], *columns: Sequence[float] | Floats, name: str, method: Method = "BCa", what: str = "statistic"
) -> Figure:
    """Any statistic of items with a bootstrap interval; rows of several columns stay together.

    `statistic` takes arrays of shape [..., items], one for each column, and reduces the last axis.
    """
    given = [column(f"column {place}", one) for place, one in enumerate(columns)]
    n = len(given[0])
    if any(len(one) != n for one in given):
        raise DataError("the columns are not paired", got=" and ".join(str(len(one)) for one in given))
    value = float(statistic(*given))
    if n == 1:
        return Figure(value, value, value, 1, f"{what}; one item: no interval can be estimated")
    draws = resampled(lambda pick: statistic(*(one[pick] for one in given)), n, name)
    rest = np.broadcast_to(np.arange(n), (n, n))[~np.eye(n, dtype=bool)].reshape(n, n - 1)  # all items but one
    left_out = statistic(*(one[rest] for one in given)) if method == "BCa" else np.zeros(0)
    low, high, kind = ends(draws, value, left_out, method)
    return Figure(value, low, high, n, f"{what}, {kind} bootstrap 95 %, {RESAMPLES:,} resamples")


def resampled(statistic: Callable[[Any], Floats], n: int, name: str) -> Floats:
    """The statistic of resamples; it is given places of items, of shape [resamples, n], some resamples at a time."""
    generator, parts, rows = rng("bootstrap", name, n), [], max(1, CHUNK // n)
    for start in range(0, RESAMPLES, rows):
        parts.append(statistic(generator.integers(0, n, size=(min(rows, RESAMPLES - start), n))))
    return np.concatenate(parts)


def resampled_means(sums: Floats, counts: Floats, name: str) -> Floats:
    """Means over all items of resampled clusters."""
    if not np.ptp(counts):  # clusters of one size, single items among them
        return resampled(lambda pick: sums[pick].mean(axis=1), len(sums), name) / counts[0]
    return resampled(lambda pick: sums[pick].sum(axis=1) / counts[pick].sum(axis=1), len(sums), name)


def ends(draws: Floats, value: float, left_out: Floats, method: Method = "BCa") -> tuple[float, float, Method]:
    """The interval of a bootstrap distribution, and the method that was used: BCa needs a jackknife (`left_out`, the
    statistic without each item) that varies, and falls back to the percentile interval where it does not."""
    below = float(np.mean(draws < value) + np.mean(draws == value) / 2)
    pull = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread = float((pull**2).sum())
    if method == "percentile" or len(left_out) < 3 or not 0 < below < 1 or spread == 0:
        low, high = np.quantile(draws, (ALPHA / 2, 1 - ALPHA / 2))
        return float(low), float(high), "percentile"
    low, high = np.quantile(draws, _bca_levels(below, float((pull**3).sum()) / (6 * spread**1.5)))
    return float(low), float(high), "BCa"


def _bca_levels(below: float, acceleration: float) -> tuple[float, float]:
    normal = NormalDist()
    shift = normal.inv_cdf(below)

    def level(z: float) -> float:
        return normal.cdf(shift + (shift + z) / (1 - acceleration * (shift + z)))

    z = normal.inv_cdf(1 - ALPHA / 2)
    return level(-z), level(z)


def standard_error(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> float:
    """The standard error of the mean over items, robust to items of a cluster being alike (Liang and Zeger 1986, with
    the factor k / (k - 1)); infinite for a single cluster."""
    return cluster_error(*by_cluster(column("values", values), clusters))


def cluster_error(sums: Floats, counts: Floats) -> float:
    """`standard_error` from the sums and counts of clusters."""
    k = len(sums)
    if k < 2:
        return math.inf
    residual = sums - counts * (sums.sum() / counts.sum())
    return float(math.sqrt((residual**2).sum() * k / (k - 1)) / counts.sum())


def clustered_mean(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Figure:
    """The mean with the t interval of its clustered standard error, on one degree of freedom less than clusters.

    Where clusters are few (under some 30) it is the safer one: the bootstrap over few clusters is too narrow."""
    numbers = column("values", values)
    sums, counts = by_cluster(numbers, clusters)
    value, error, k = float(numbers.mean()), cluster_error(sums, counts), len(sums)
    if not math.isfinite(error):
        return Figure(value, value, value, len(numbers), "mean; one cluster: no interval can be estimated")
    from scipy.special import stdtrit

    half = float(stdtrit(k - 1, 1 - ALPHA / 2)) * error
    return Figure(value, value - half, value + half, len(numbers), f"mean, clustered standard error, t 95 % over {k} clusters")
