"""Tests that may be looked at after every answer: for experiments on live traffic.

A usual test is right if it is looked at once. Whoever looks daily and stops at the first p below 0.05 is wrong far more
often than one time in twenty (`benchmarks/aa_runs.py` shows how often). The intervals here hold at all times at once, so
an experiment may be stopped whenever one likes, and gone on with as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from solon.core.errors import DataError
from solon.evals.statistics.figures import ALPHA, Floats, column, within

GRID = 400
BLOCK = 4_096  # outcomes at once, so that memory stays near 40 MB
HALF = 0.5  # the largest part of the capital that is bet


@dataclass(frozen=True)
class Sequential:
    """What is known after each observation: the running mean, an interval that covers the truth at all times together,
    and a p-value that may be looked at at all times (it never rises). All of shape [observations]."""

    mean: Floats
    low: Floats
    high: Floats
    p: Floats

    def decided(self, alpha: float = ALPHA) -> int | None:
        """After how many observations the null hypothesis could be rejected for good; None if never."""
        below = np.flatnonzero(self.p <= alpha)
        return int(below[0]) + 1 if len(below) else None


def betting(values: Sequence[float], null: float = 0.5, alpha: float = ALPHA, grid: int = GRID) -> Sequential:
    """The mean of outcomes in [0, 1], by betting against each candidate mean (Waudby-Smith and Ramdas 2023, section 4).

    Nothing is assumed but that each outcome lies in [0, 1] and has the mean asked for, given the ones before. A
    candidate is out once betting against it would have multiplied the stake by 1 / alpha. `null` is the mean that `p` is
    about. Exact at every sample size.
    """
    x = within(column("values", values), 0, 1, "values")
    if not 0 < null < 1:
        raise DataError("the null hypothesis must be a mean between 0 and 1", got=null)
    candidates = np.concatenate([np.linspace(0, 1, grid + 1), [null]])
    blocks = [_block(best, grid) for best in _best_wealth(x, _stakes(x, alpha), candidates, math.log(1 / alpha))]
    low, high, best = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    empty = np.isnan(low)  # only where the mean was no constant: the last interval stays
    if empty.any():
        start = int(np.argmax(empty))
        low[start:], high[start:] = (low[start - 1], high[start - 1]) if start else (0.0, 1.0)
    return Sequential(np.cumsum(x) / np.arange(1, len(x) + 1), low, high, np.minimum(1.0, np.exp(-best)))


def normal_mixture(
    estimates: Sequence[float], variances: Sequence[float], scale: float, alpha: float = ALPHA
) -> Sequential:
    """A running estimate against 0, with the variance of each (Robbins 1970; the mixture SPRT of Johari et al. 2017).

    `scale` is the size of effects that one hopes to see, the standard deviation of the mixing normal: chosen before,
    never from the data. Exact for normal increments of known variance; with estimated variances it holds once they are
    settled, so begin looking after some hundred observations of each arm.
    """
    value, variance = column("estimates", estimates), column("variances", variances)
    if len(value) != len(variance) or not (variance > 0).all() or not scale > 0:
        got = f"{len(value)} estimates, {len(variance)} variances of {variance.min():g} at least, scale {scale:g}"
        raise DataError("a normal mixture needs a variance above 0 for each estimate, and a scale", got=got)
    whole = variance + scale**2
    half = np.sqrt(variance * whole / scale**2 * (2 * math.log(1 / alpha) + np.log(whole / variance)))
    ratio = 0.5 * np.log(variance / whole) + value**2 * scale**2 / (2 * variance * whole)
    p = np.minimum(1.0, np.exp(-np.maximum.accumulate(ratio)))
    low, high = np.maximum.accumulate(value - half), np.minimum.accumulate(value + half)
    return Sequential(value, low, high, p)


def running_difference(arms: Sequence[str], outcomes: Sequence[float], a: str, b: str, least: int = 100) -> tuple[Floats, Floats]:
    """The difference of the means of b and a and its variance after each arrival, for `normal_mixture`; from the moment
    on when each arm has `least` outcomes that are not all equal."""
    y = column("outcomes", outcomes)
    inside = _arms(arms, len(y), a, b)
    sums = [np.cumsum(np.where(inside == arm, power, 0.0)) for arm in (0, 1) for power in (np.ones_like(y), y, y**2)]
    (na, sa, qa), (nb, sb, qb) = sums[:3], sums[3:]
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [(q - s**2 / n) / (n - 1) / n for n, s, q in ((na, sa, qa), (nb, sb, qb))]
        ready = (na >= least) & (nb >= least) & (parts[0] > 1e-15) & (parts[1] > 1e-15)
        return (sb / nb - sa / na)[ready], (parts[0] + parts[1])[ready]


def ab(arms: Sequence[str], outcomes: Sequence[float], a: str, b: str, alpha: float = ALPHA) -> Sequential:
    """An experiment on live traffic: does arm b do better than arm a? Outcomes in [0, 1], in order of arrival.

    The k-th outcome of a is set against the k-th of b; what is known is told per such couple. `mean`, `low` and `high`
    are of the difference b minus a, and `p` of there being none. Exact at every sample size; where one arm gets far more
    traffic, the surplus is not used (`normal_mixture` uses it, and is exact only in the limit).
    """
    y = within(column("outcomes", outcomes), 0, 1, "outcomes")
    inside = _arms(arms, len(y), a, b)
    first, second = y[inside == 0], y[inside == 1]
    couples = min(len(first), len(second))
    if couples == 0:
        raise DataError("an experiment needs outcomes of both arms", got=f"{len(first)} of {a!r}, {len(second)} of {b!r}")
    found = betting((1 + second[:couples] - first[:couples]) / 2, alpha=alpha)
    return Sequential(2 * found.mean - 1, 2 * found.low - 1, 2 * found.high - 1, found.p)


def _arms(arms: Sequence[str], n: int, a: str, b: str) -> Floats:
    if len(arms) != n or a == b:
        raise DataError("an experiment needs an arm for each outcome, and two of them", got=f"{len(arms)} arms for {n} outcomes")
    odd = sorted(set(arms) - {a, b})
    if odd:
        raise DataError("an outcome is of an unknown arm", got=odd[0], expected=f"{a} or {b}")
    return np.array([float(one == b) for one in arms])


def _stakes(x: Floats, alpha: float) -> Floats:
    """How boldly to bet on each outcome, from those before it alone (the predictable plug-in of section 3.3)."""
    t = np.arange(1, len(x) + 1)
    middle = (0.5 + np.cumsum(x)) / (t + 1)
    spread = (0.25 + np.cumsum((x - middle) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], spread[:-1]])
    return np.sqrt(2 * math.log(2 / alpha) / (before * t * np.log(t + 1)))


def _best_wealth(x: Floats, stakes: Floats, candidates: Floats, enough: float) -> Iterator[tuple[Floats, Floats]]:
    """Block by block, which candidates but the last were never beaten so far, and the best log capital against the last.

    Half of the capital bets on the mean being above the candidate and half on its being below."""
    with np.errstate(divide="ignore"):
        most_up, most_down = HALF / candidates, HALF / (1 - candidates)
    rose = fell = np.zeros(len(candidates))
    best = np.full(len(candidates), -np.inf)
    for start in range(0, len(x), BLOCK):
        gap, stake = x[start : start + BLOCK, None] - candidates, stakes[start : start + BLOCK, None]
        up = rose + np.cumsum(np.log1p(np.minimum(stake, most_up) * gap), axis=0)
        down = fell + np.cumsum(np.log1p(-np.minimum(stake, most_down) * gap), axis=0)
        most = np.maximum.accumulate(np.logaddexp(up, down) - math.log(2), axis=0)
        most = np.maximum(most, best)
        yield most[:, :-1] < enough, most[:, -1]
        rose, fell, best = up[-1], down[-1], most[-1]


def _block(found: tuple[Floats, Floats], grid: int) -> tuple[Floats, Floats, Floats]:
    """The ends of what is left of the candidates, one step of the grid wider on both sides, where the truth may lie."""
    alive, best = found
    first, last = np.argmax(alive, axis=1), grid - np.argmax(alive[:, ::-1], axis=1)
    left = alive.any(axis=1)
    return (
        np.where(left, np.maximum(first - 1, 0) / grid, np.nan),
        np.where(left, np.minimum(last + 1, grid) / grid, np.nan),
        best,
    )
