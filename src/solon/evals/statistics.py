"""Figures with their uncertainty, and comparisons of two models on the same items.

Everything here is paired by item: two models answered the same prompts, so the question is which answers changed. An
answer that could not be judged is missing, not a zero: drop the item on both sides before calling, and report how many.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solon.core.errors import DataError
from solon.core.keys import rng

Floats = NDArray[np.float64]

RESAMPLES = 10_000
ALPHA = 0.05
Z = NormalDist().inv_cdf(1 - ALPHA / 2)
EXACT_BELOW = 25  # discordant pairs; below it McNemar's test is exact, from there on mid-p
EXACT_FLIPS = 14  # clusters; up to it all 2**k sign flips are enumerated


@dataclass(frozen=True)
class Figure:
    """One measured number with its 95 % interval, the number of items, and how the interval was got."""

    value: float
    low: float
    high: float
    n: int
    how: str


@dataclass(frozen=True)
class Comparison:
    """What changed from a to b (`difference` is b minus a), and whether chance would do as an explanation.

    `detectable` is the smallest difference that this many items would have shown in 80 % of repetitions.
    """

    difference: float
    low: float
    high: float
    n: int
    test: str
    p: float
    effect: float
    effect_name: str
    detectable: float
    plain: str


def proportion(hits: Sequence[Any]) -> Figure:
    """The share of true items, with Wilson's interval; at none or all, the exact (Clopper-Pearson) bound."""
    values = _column("hits", hits)
    _only(values, (0.0, 1.0), "hits")
    n, k = len(values), int(values.sum())
    if k in (0, n):
        bound = (ALPHA / 2) ** (1 / n)
        low, high = (0.0, 1 - bound) if k == 0 else (bound, 1.0)
        return Figure(k / n, low, high, n, "share, Clopper-Pearson 95 %")
    share, z2 = k / n, Z * Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Figure(share, middle - half, middle + half, n, "share, Wilson 95 %")


def mean(values: Sequence[float], clusters: Sequence[Hashable] | None = None, name: str = "mean") -> Figure:
    """The mean over items with a BCa bootstrap interval (Efron 1987); whole clusters are resampled when given.

    `name` seeds the resampling, so that the same figure gets the same interval in every run.
    """
    column = _column("values", values)
    sums, counts = _by_cluster(column, clusters)
    value = float(column.mean())
    what = f"mean, {{}} bootstrap 95 %, {RESAMPLES:,} resamples"
    what += "" if clusters is None else f" of {len(sums)} clusters"
    if len(sums) == 1 or np.ptp(sums / counts) == 0:
        why = "one cluster" if len(sums) == 1 else "all items equal"
        return Figure(value, value, value, len(column), f"mean; {why}: no interval can be estimated")
    draws = _resampled_means(sums, counts, name)
    below = float(np.mean(draws < value) + np.mean(draws == value) / 2)
    left_out = (sums.sum() - sums) / (counts.sum() - counts)
    pull = left_out.mean() - left_out
    spread = float((pull**2).sum())
    if len(sums) < 3 or not 0 < below < 1 or spread == 0:
        low, high = np.quantile(draws, (ALPHA / 2, 1 - ALPHA / 2))
        return Figure(value, float(low), float(high), len(column), what.format("percentile"))
    low, high = np.quantile(draws, _bca_levels(below, float((pull**3).sum()) / (6 * spread**1.5)))
    return Figure(value, float(low), float(high), len(column), what.format("BCa"))


def paired_proportions(a: Sequence[Any], b: Sequence[Any]) -> Comparison:
    """How the share of true items changed from a to b: McNemar's test, Tango's score interval, Cohen's h."""
    first, second = _pair(a, b)
    _only(first, (0.0, 1.0), "a")
    _only(second, (0.0, 1.0), "b")
    n = len(first)
    up, down = int(((second == 1) & (first == 0)).sum()), int(((first == 1) & (second == 0)).sum())
    difference = (up - down) / n
    low, high = score_interval(up, down, n)
    p, kind = discordant_test(up, down)
    effect = 2 * math.asin(math.sqrt(second.mean())) - 2 * math.asin(math.sqrt(first.mean()))
    smallest = detectable(n, discordant=(up + down) / n)
    test = f"McNemar {kind} ({up} up, {down} down, odds ratio {_ratio(up, down)})"
    said = sentence(difference, low, high, p, smallest, points=True)
    return Comparison(difference, low, high, n, test, p, effect, "Cohen's h", smallest, said)


def paired_means(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    name: str = "paired means",
    unit: str = "",
) -> Comparison:
    """How the mean changed from a to b: sign-flip permutation test, BCa interval, d_z; clusters flip as a whole."""
    first, second = _pair(a, b)
    change = second - first
    figure = mean(change.tolist(), clusters, name)
    sums, counts = _by_cluster(change, clusters)
    p, kind = _sign_flip(sums, name)
    spread = float(change.std(ddof=1)) if len(change) > 1 else 0.0
    # Changes that are all equal have no spread, and so an unbounded standardised effect.
    without_spread = 0.0 if figure.value == 0 else math.copysign(math.inf, figure.value)
    effect = figure.value / spread if spread > 0 else without_spread
    smallest = detectable(len(sums), sd=_spread_of_mean(sums, counts) * math.sqrt(len(sums)))
    said = sentence(figure.value, figure.low, figure.high, p, smallest, unit=unit)
    test = f"sign-flip permutation, {kind}"
    return Comparison(figure.value, figure.low, figure.high, len(change), test, p, effect, "d_z", smallest, said)


def settle(first_order: float, second_order: float) -> float:
    """One outcome from two probabilities that b wins, judged in both orders: 1 b, 0 a, 0.5 when the orders disagree."""
    votes = (np.sign(first_order - 0.5), np.sign(second_order - 0.5))
    return 0.5 if votes[0] != votes[1] else float(votes[0] + 1) / 2


def win_rate(outcomes: Sequence[float]) -> Figure:
    """The share of wins with ties as half; Tango's score interval, in which ties are concordant pairs."""
    wins, losses, n = _outcomes(outcomes)
    low, high = score_interval(wins, losses, n)
    how = f"win rate, Tango 95 % ({wins} won, {losses} lost, {n - wins - losses} tied)"
    return Figure(0.5 + (wins - losses) / (2 * n), 0.5 + low / 2, 0.5 + high / 2, n, how)


def win_comparison(outcomes: Sequence[float]) -> Comparison:
    """The win rate against 0.5: `difference` is the excess over one half; the test is the sign test without ties."""
    wins, losses, n = _outcomes(outcomes)
    figure = win_rate(outcomes)
    p, kind = discordant_test(wins, losses)
    smallest = detectable(n, discordant=(wins + losses) / n) / 2
    beyond = p < ALPHA
    verb = ("wins" if figure.value > 0.5 else "loses") if beyond else "no detectable preference:"
    share, least, most = (100 * x for x in (figure.value, figure.low, figure.high))
    plain = f"{verb} ({share:.0f} % of comparisons, 95 % CI {least:.0f} to {most:.0f})"
    plain += ", beyond chance" if beyond else f"; could have seen {100 * (0.5 + smallest):.0f} %"
    effect = 2 * math.asin(math.sqrt(figure.value)) - math.pi / 2
    test = f"sign test {kind} ({wins} won, {losses} lost, {n - wins - losses} tied)"
    low, high = figure.low - 0.5, figure.high - 0.5
    return Comparison(figure.value - 0.5, low, high, n, test, p, effect, "Cohen's h against 0.5", smallest, plain)


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

    return _falling_root(excess, Z), _falling_root(excess, -Z)


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


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted so that the chance of any false alarm in the family stays at the level (Holm 1979)."""
    n = len(ps)
    order = sorted(range(n), key=lambda i: ps[i])
    adjusted, so_far = [0.0] * n, 0.0
    for rank, i in enumerate(order):
        so_far = max(so_far, min(1.0, (n - rank) * ps[i]))
        adjusted[i] = so_far
    return adjusted


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
    """p-values adjusted so that the expected share of false alarms among the findings stays at the level (1995)."""
    n = len(ps)
    order = sorted(range(n), key=lambda i: ps[i], reverse=True)
    adjusted, so_far = [0.0] * n, 1.0
    for rank, i in enumerate(order):
        so_far = min(so_far, ps[i] * n / (n - rank))
        adjusted[i] = so_far
    return adjusted


def detectable(
    n: int, *, discordant: float | None = None, sd: float | None = None, alpha: float = ALPHA, power: float = 0.8
) -> float:
    """The smallest true difference that n pairs show with this power.

    Give `discordant`, the share of items that change either way (proportions; Connor 1987), or `sd`, the standard
    deviation of the differences (means). Either may be a guess made before the run.
    """
    if n < 1 or (discordant is None) == (sd is None):
        raise DataError(
            "detectable() needs at least one pair and exactly one description of the spread",
            got=f"n={n}, discordant={discordant}, sd={sd}",
            expected="discordant=share of changed items, or sd=spread of the differences",
        )
    if sd is not None:
        return _detectable_mean(n, sd, alpha, power)
    za, zb = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)

    def shortfall(delta: float) -> float:
        """Falls through zero where n suffices. A difference needs at least as many changed items."""
        changed = max(discordant or 0.0, delta)
        return za * math.sqrt(changed) + zb * math.sqrt(changed - delta**2) - math.sqrt(n) * delta

    return 1.0 if shortfall(1.0) > 0 else _falling_root(shortfall, 0.0, low=0.0)


def sentence(
    difference: float, low: float, high: float, p: float, smallest: float, *, points: bool = False, unit: str = ""
) -> str:
    """The finding in plain English; `points` says that the numbers are shares and are told in percentage points."""
    scale = 100.0 if points else 1.0
    unit = " points" if points else (f" {unit}" if unit else "")

    def told(x: float) -> str:
        return _round(x * scale, points)

    if p < ALPHA:
        verb, sign = ("fell", -1) if difference < 0 else ("rose", 1)
        ends = sorted((sign * low, sign * high))
        return f"{verb} by {told(abs(difference))}{unit} (95 % CI {told(ends[0])} to {told(ends[1])}), beyond chance"
    seen = f"could have seen {told(smallest)}{unit}" if math.isfinite(smallest) else "too few items to see any"
    return f"no detectable change ({told(difference)}{unit}, 95 % CI {told(low)} to {told(high)}); {seen}"


def _round(x: float, points: bool) -> str:
    if points:
        text = f"{x:.0f}" if abs(x) >= 10 else f"{x:.1f}"
    else:
        text = f"{x:.3g}" if abs(x) < 100 else f"{x:.0f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def _column(name: str, values: Sequence[Any]) -> Floats:
    try:
        column = np.asarray(list(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        fix = "drop the items that could not be judged"
        raise DataError(f"{name} must be numbers", got=str(error), fix=fix) from None
    if column.ndim != 1 or column.size == 0:
        raise DataError(f"{name} holds no items", got=f"shape {column.shape}", expected="one number per item")
    if not np.isfinite(column).all():
        bad = int((~np.isfinite(column)).sum())
        fix = "drop the item on both sides and report how many were missing"
        raise DataError(f"{name} holds missing values", got=f"{bad} of {column.size} not finite", fix=fix)
    return column


def _pair(a: Sequence[Any], b: Sequence[Any]) -> tuple[Floats, Floats]:
    first, second = _column("a", a), _column("b", b)
    if len(first) != len(second):
        fix = "give both models' values for the same items, in the same order"
        raise DataError("a and b are not paired", got=f"{len(first)} and {len(second)} items", fix=fix)
    return first, second


def _only(values: Floats, allowed: tuple[float, ...], name: str) -> None:
    odd = values[~np.isin(values, allowed)]
    if odd.size:
        expected = " or ".join(f"{x:g}" for x in allowed)
        raise DataError(f"{name} holds a value out of range", got=odd[0], expected=expected)


def _outcomes(outcomes: Sequence[float]) -> tuple[int, int, int]:
    values = _column("outcomes", outcomes)
    _only(values, (0.0, 0.5, 1.0), "outcomes")
    return int((values == 1).sum()), int((values == 0).sum()), len(values)


def _ratio(up: int, down: int) -> str:
    return "∞" if down == 0 and up else f"{up / down:.2g}" if down else "undefined"


def _by_cluster(values: Floats, clusters: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Sum and count per cluster; without clusters each item is its own."""
    if clusters is None:
        return values, np.ones_like(values)
    if len(clusters) != len(values):
        raise DataError("clusters do not match the items", got=f"{len(clusters)} for {len(values)} items")
    place: dict[Hashable, int] = {}
    index = np.array([place.setdefault(cluster, len(place)) for cluster in clusters])
    return np.bincount(index, weights=values).astype(np.float64), np.bincount(index).astype(np.float64)


def _resampled_means(sums: Floats, counts: Floats, name: str) -> Floats:
    generator, k = rng("bootstrap", name, len(sums)), len(sums)
    parts, rows = [], max(1, 2_000_000 // k)  # rows at once, so that memory stays near 16 MB
    for start in range(0, RESAMPLES, rows):
        pick = generator.integers(0, k, size=(min(rows, RESAMPLES - start), k))
        parts.append(sums[pick].sum(axis=1) / counts[pick].sum(axis=1))
    return np.concatenate(parts)


def _bca_levels(below: float, acceleration: float) -> tuple[float, float]:
    normal = NormalDist()
    shift = normal.inv_cdf(below)

    def level(z: float) -> float:
        return normal.cdf(shift + (shift + z) / (1 - acceleration * (shift + z)))

    return level(-Z), level(Z)


def _sign_flip(sums: Floats, name: str) -> tuple[float, str]:
    """Two-sided p that each cluster's change is as likely up as down."""
    k, seen = len(sums), abs(float(sums.sum()))
    margin = 1e-9 * float(np.abs(sums).sum())  # equal sums must count as equal whatever the order of addition
    if k <= EXACT_FLIPS:
        flips = ((np.arange(2**k)[:, None] >> np.arange(k)) & 1) * 2.0 - 1
        return float(np.mean(np.abs(flips @ sums) >= seen - margin)), f"exact over {2**k:,} flips"
    generator, rows, extreme = rng("sign flip", name, k), max(1, 2_000_000 // k), 0
    for start in range(0, RESAMPLES, rows):
        signs = generator.integers(0, 2, size=(min(rows, RESAMPLES - start), k)) * 2.0 - 1
        extreme += int((np.abs(signs @ sums) >= seen - margin).sum())
    return (extreme + 1) / (RESAMPLES + 1), f"{RESAMPLES:,} flips"


def _spread_of_mean(sums: Floats, counts: Floats) -> float:
    """The standard error of the mean over items, robust to clusters."""
    k = len(sums)
    if k < 2:
        return math.inf
    residual = sums - counts * (sums.sum() / counts.sum())
    return float(math.sqrt((residual**2).sum() * k / (k - 1)) / counts.sum())


def _detectable_mean(n: int, sd: float, alpha: float, power: float) -> float:
    if n < 2:
        return math.inf
    from scipy.stats import t

    return float((t.ppf(1 - alpha / 2, n - 1) + t.ppf(power, n - 1)) * sd / math.sqrt(n))


def _falling_root(f: Any, level: float, low: float = -1.0, high: float = 1.0) -> float:
    """Where a falling function crosses the level; bisection, because the ends may be infinite."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) > level else (low, middle)
    return (low + high) / 2
