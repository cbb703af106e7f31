"""Comparisons of two models on the same items: what changed, and whether chance would do as an explanation."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from solon.core.keys import rng
from solon.evals.statistics import words
from solon.evals.statistics.effects import cohens_h, d_z_ends, discordant_odds, h_of_ends, standardised
from solon.evals.statistics.figures import CHUNK, RESAMPLES, Comparison, Floats, Z, by_cluster, falling_root, only, pair
from solon.evals.statistics.means import cluster_error, mean
from solon.evals.statistics.power import EXACT_BELOW, detectable

EXACT_FLIPS = 14  # clusters; up to it all 2**k sign flips are enumerated


def paired_proportions(
    a: Sequence[Any], b: Sequence[Any], clusters: Sequence[Hashable] | None = None, name: str = "paired shares"
) -> Comparison:
    """How the share of true items changed from a to b: McNemar's test, Tango's score interval, Cohen's h.

    Items of one prompt family do not change independently of each other. With `clusters` whole families are resampled
    and flipped instead, which McNemar's test cannot do."""
    first, second = pair(a, b)
    only(first, (0.0, 1.0), "a")
    only(second, (0.0, 1.0), "b")
    ends = float(first.mean()), float(second.mean())
    if clusters is not None:
        return _clustered_shares(second - first, clusters, ends, name)
    n = len(first)
    up, down = int(((second == 1) & (first == 0)).sum()), int(((first == 1) & (second == 0)).sum())
    difference = (up - down) / n
    low, high = score_interval(up, down, n)
    p, kind = discordant_test(up, down)
    smallest = detectable(n, discordant=(up + down) / n)
    test = f"McNemar {kind} ({up} up, {down} down, odds ratio {_odds(up, down)})"
    said = words.change(difference, low, high, p, smallest, points=True)
    return Comparison(difference, low, high, n, test, p, cohens_h(*ends), "Cohen's h", smallest, said, h_of_ends(*ends, low, high))


def paired_means(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    name: str = "paired means",
    unit: str = "",
) -> Comparison:
    """How the mean changed from a to b: sign-flip permutation test, BCa interval, d_z; clusters flip as a whole."""
    first, second = pair(a, b)
    change = second - first
    figure = mean(change.tolist(), clusters, name)
    sums, counts = by_cluster(change, clusters)
    p, kind = sign_flip(sums, name)
    smallest = _detectable(sums, counts)
    said = words.change(figure.value, figure.low, figure.high, p, smallest, unit=unit)
    test, effect = f"sign-flip permutation, {kind}", standardised(change)
    ends = d_z_ends(change, clusters, name)
    return Comparison(figure.value, figure.low, figure.high, len(change), test, p, effect, "d_z", smallest, said, ends)


def score_interval(up: int, down: int, n: int) -> tuple[float, float]:
    """Tango's score interval for (up - down) / n over n pairs (Statistics in Medicine, 1998); never of zero width."""

    def excess(delta: float) -> float:
        """The score statistic at a hypothesised difference; it falls as the difference grows."""
        linear = -up - down + (2 * n - up + down) * delta
        constant = -down * delta * (1 - delta)
        q = (math.sqrt(max(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        gap = up - down - n * delta
        return gap / math.sqrt(variance) if variance > 1e-12 else (math.copysign(math.inf, gap) if gap else 0.0)

    return falling_root(excess, Z), falling_root(excess, -Z)


def discordant_test(up: int, down: int) -> tuple[float, str]:
    """Two-sided p that changes in both directions are equally likely, and its kind: exact, or mid-p from 25 on."""
    n = up + down
    if n == 0:
        return 1.0, "exact"
    from scipy.stats import binom

    few = min(up, down)
    tail = float(binom.cdf(few, n, 0.5))
    if n < EXACT_BELOW:
        return min(1.0, 2 * tail), "exact"
    return min(1.0, 2 * tail - float(binom.pmf(few, n, 0.5))), "mid-p"


def sign_flip(sums: Floats, name: str) -> tuple[float, str]:
    """Two-sided p that each cluster's change is as likely up as down: exact up to 14 clusters, else over random flips."""
    k, seen = len(sums), abs(float(sums.sum()))
    margin = 1e-9 * float(np.abs(sums).sum())  # equal sums must count as equal whatever the order of addition
    if k <= EXACT_FLIPS:
        flips = ((np.arange(2**k)[:, None] >> np.arange(k)) & 1) * 2.0 - 1
        return float(np.mean(np.abs(flips @ sums) >= seen - margin)), f"exact over {2**k:,} flips"
    generator, rows, extreme = rng("sign flip", name, k), max(1, CHUNK // k), 0
    for start in range(0, RESAMPLES, rows):
        bits = generator.integers(0, 256, size=(min(rows, RESAMPLES - start), (k + 7) // 8), dtype=np.uint8)
        up = np.unpackbits(bits, axis=1, count=k).astype(np.float64)
        flipped = 2 * np.einsum("rk,k->r", up, sums) - sums.sum()
        extreme += int((np.abs(flipped) >= seen - margin).sum())
    return (extreme + 1) / (RESAMPLES + 1), f"{RESAMPLES:,} flips"


def _clustered_shares(change: Floats, clusters: Sequence[Hashable], ends: tuple[float, float], name: str) -> Comparison:
    sums, counts = by_cluster(change, clusters)
    k, figure = len(sums), mean(change.tolist(), clusters, name)
    if np.ptp(sums / counts) == 0:  # nothing to resample: each cluster counts as one item
        whole = round(figure.value * k)
        low, high = score_interval(max(whole, 0), max(-whole, 0), k)
        smallest = detectable(k, discordant=abs(figure.value))
    else:
        low, high, smallest = figure.low, figure.high, min(1.0, _detectable(sums, counts))
    p, kind = sign_flip(sums, name)
    said = words.change(figure.value, low, high, p, smallest, points=True)
    test = f"sign-flip permutation of {k} clusters, {kind}"
    effect, effects = cohens_h(*ends), h_of_ends(*ends, low, high)
    return Comparison(figure.value, low, high, len(change), test, p, effect, "Cohen's h", smallest, said, effects)


def _detectable(sums: Floats, counts: Floats) -> float:
    return detectable(len(sums), sd=cluster_error(sums, counts) * math.sqrt(len(sums)))


def _odds(up: int, down: int) -> str:
    """`2.3, 95 % CI 1.1 to 5`; undefined where nothing changed."""
    if up + down == 0:
        return "undefined"
    found = discordant_odds(up, down)
    value, low, high = ("∞" if math.isinf(x) else f"{x:.2g}" for x in (found.value, found.low, found.high))
    return f"{value}, 95 % CI {low} to {high}"
