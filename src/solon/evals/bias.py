"""Figures that are functions of sums over rows, such as bias scores and gaps between groups: their intervals, whether
chance explains them, and how they changed from one model to another.

Rows of one template are alike, so whole clusters are resampled. BBQ has 19 templates a category and StereoSet's file ten
words: for so few clusters the plain bootstrap is too narrow, and the studentised one (bootstrap-t; Hall 1988) is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solon.core.errors import DataError
from solon.core.keys import rng
from solon.evals import statistics
from solon.evals.statistics import detectable, words
from solon.evals.statistics.effects import standardised_ends
from solon.evals.statistics.figures import ALPHA, CHUNK, RESAMPLES, Comparison, Figure, Floats

Record = Mapping[str, Any]
STEP = 1e-5  # of a sum, to find a function's slope
LEAST = 0.5  # of the sample's standard error: a resample of clusters that are all alike would make an infinite t
ROUND = 1e-9  # what rounding may leave of a difference that is none


@dataclass(frozen=True)
class Measured:
    """A figure; the two-sided p that it is what it would be without bias (None where that cannot be told); and what
    chance would give, if there is something to say."""

    figure: Figure
    p: float | None = None
    chance: float | None = None


@dataclass(frozen=True)
class Score:
    """A figure of many rows: `of` takes sums of `tallies` over rows, of shape [..., tallies], and reduces the last axis.

    A row's tallies stand under that name in it; `#x` counts the rows that have `x`. `none` is the value without bias. `by`
    names the tags over whose values the score is shown again; with `whole` false it is only shown so. `ends` are the
    least and the greatest value that can be."""

    tallies: tuple[str, ...]
    of: Callable[[Floats], Floats]
    none: float | None = None
    by: tuple[str, ...] = ()
    whole: bool = True
    ends: tuple[float, float] = (0.0, 1.0)
    mean: bool = False
    """Whether it is the mean of the first tally, so that yes and no of single rows have Wilson's interval."""

    def having(self, rows: Iterable[Record]) -> list[Record]:
        """The rows that the score is of."""
        return [row for row in rows if any(name in row.get("tallies", ()) for name in self.tallies)]

    def figure(self, rows: Sequence[Record], name: str) -> Measured | None:
        """None where no row has anything of it. `name` seeds the resampling."""
        kept = self.having(rows)
        if not kept:
            return None
        places, sums = self._sums(kept)
        if self.mean and (counted := _share(sums, self.none)):
            return counted
        value, error, draws = studentised(self.of, sums, name)
        low, high, p = _interval(value, error, draws, self.none, self.ends)
        why = "one cluster" if len(places) == 1 else "all clusters equal"
        how = f"cluster bootstrap-t 95 %, {RESAMPLES:,} resamples of {len(places)} clusters" if error > 0 else f"{why}: no interval can be estimated"
        return Measured(Figure(value, low, high, len(kept), how), p, self.none)

    def change(self, before: Sequence[Record], after: Sequence[Record], name: str, points: bool) -> Comparison:
        """How the score changed on the same rows, given in the same order; clusters keep both models' rows together. Single
        yes and no are compared by McNemar's test."""
        first, second = self.having(before), self.having(after)
        if [row["id"] for row in first] != [row["id"] for row in second] or not first:
            raise DataError("the two models were not asked the same rows", got=f"{len(first)} and {len(second)}")
        (_, a), (places, b) = self._sums(first), self._sums(second)
        if self.mean and all(_single(sums) for sums in (a, b)):
            return statistics.paired_proportions(a[:, 0].tolist(), b[:, 0].tolist(), name=name)
        width = a.shape[1]
        of = lambda sums: self.of(sums[..., width:]) - self.of(sums[..., :width])  # noqa: E731
        difference, error, draws = studentised(of, np.concatenate([a, b], axis=1), name)
        span = self.ends[1] - self.ends[0]
        low, high, p = _interval(difference, error, draws, 0.0, (-span, span))
        k = len(places)
        test = f"cluster bootstrap-t over {k} clusters"
        if error == 0:
            test = f"no interval can be estimated: the {k} clusters changed alike"
            if self.mean and self.ends == (0.0, 1.0):  # each cluster counts as one item, which changed or did not
                up = round(difference * k)
                (low, high), test = statistics.score_interval(max(up, 0), max(-up, 0), k), f"score interval of {k} clusters that changed alike"
        spread = error * math.sqrt(k)
        smallest = min(span, detectable(k, sd=spread)) if error > 0 else span
        p = 1.0 if p is None else p
        said = words.change(difference, low, high, p, smallest, points=points)
        effect = difference / spread if error > 0 else 0.0
        ends = standardised_ends(effect, k) if error > 0 and k > 1 else None
        return Comparison(difference, low, high, len(first), test, p, effect, "change / deviation of clusters", smallest, said, ends)

    def _sums(self, rows: Sequence[Record]) -> tuple[list[str], Floats]:
        """The clusters, and the sums of each, of shape [clusters, tallies]."""
        places: dict[str, int] = {}
        index = [places.setdefault(cluster_of(row), len(places)) for row in rows]
        sums = np.zeros((len(places), len(self.tallies)))
        for place, row in zip(index, rows, strict=True):
            tallies = row["tallies"]
            for column, name in enumerate(self.tallies):
                sums[place, column] += float(name[1:] in tallies) if name.startswith("#") else tallies.get(name, 0.0)
        return list(places), sums


def cluster_of(row: Record) -> str:
    """What a row is resampled with: its template, else its group, else itself."""
    tags = row.get("tags", {})
    return str(tags.get("cluster") or tags.get("group") or row["id"])


def mean_score(tally: str, **more: Any) -> Score:
    """The mean of one tally over the rows that have it."""
    return Score((tally, f"#{tally}"), lambda sums: ratio(sums[..., 0], sums[..., 1]), mean=True, **more)


def gap(one: str, other: str, **more: Any) -> Score:
    """The mean of one tally less the mean of another."""
    tallies = (one, f"#{one}", other, f"#{other}")
    return Score(
        tallies, lambda sums: ratio(sums[..., 0], sums[..., 1]) - ratio(sums[..., 2], sums[..., 3]),
        **{"none": 0.0, "ends": (-1.0, 1.0), **more},
    )  # fmt: skip


def _share(sums: Floats, none: float | None) -> Measured | None:
    """Wilson's interval and the exact binomial p where every cluster is one yes or no; also where all clusters are wholly
    yes or wholly no and alike, each then counting as one. None elsewhere."""
    k, rows = len(sums), sums[:, 1]
    shares = sums[:, 0] / rows
    alike = k > 1 and not np.ptp(shares) and shares[0] in (0.0, 1.0)
    if not (alike or _single(sums)):
        return None
    from scipy.stats import binomtest

    one = statistics.proportion(shares.tolist())
    p = None if none is None else float(binomtest(int(shares.sum()), k, none).pvalue)
    how = one.how if rows.max() == 1 else f"{one.how}; {k} clusters, each counting as one item"
    return Measured(Figure(one.value, one.low, one.high, int(rows.sum()), how), p, none)


def _single(sums: Floats) -> bool:
    """Whether each cluster is one row of yes or no."""
    return bool((sums[:, 1] == 1).all() and np.isin(sums[:, 0], (0.0, 1.0)).all())


def ratio(above: Any, below: Any, empty: float = 0.0) -> NDArray[np.float64]:
    """above / below, and `empty` where there is nothing below."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    return np.divide(above, below, out=np.full(below.shape, empty), where=np.abs(below) > ROUND)


def studentised(of: Callable[[Floats], Floats], sums: Floats, name: str) -> tuple[float, float, Floats]:
    """A function of all clusters' sums, its standard error (delta method, clusters as units), and |draw - value| / error
    of each resample of clusters; the error of a resample is its own, or LEAST of the sample's where it is hardly any."""
    k, m = sums.shape
    value = float(of(sums.sum(axis=0)))
    squares = (sums[:, :, None] * sums[:, None, :]).reshape(k, m * m)
    error = float(_errors(of, np.ones((1, k)), sums, squares)[0]) if k > 1 else 0.0
    if error <= ROUND:
        return value, 0.0, np.zeros(0)
    generator, parts, size = rng("bias", name, k), [], max(1, CHUNK // (k + m * m))
    for start in range(0, RESAMPLES, size):
        often = generator.multinomial(k, np.full(k, 1 / k), size=min(size, RESAMPLES - start)).astype(np.float64)
        away = np.abs(of(often @ sums) - value)
        errors = _errors(of, often, sums, squares)
        parts.append(away / np.maximum(errors, LEAST * error))
    return value, error, np.concatenate(parts)


def _errors(of: Callable[[Floats], Floats], often: Floats, sums: Floats, squares: Floats) -> Floats:
    """The standard error of `of` for each row of `often`, how often each cluster counts."""
    k, m = sums.shape
    totals = often @ sums
    slope = np.empty_like(totals)
    for column in range(m):
        step = np.zeros_like(totals)
        step[:, column] = STEP * np.maximum(np.abs(totals[:, column]), 1.0)
        slope[:, column] = (of(totals + step) - of(totals - step)) / (2 * step[:, column])
    spread = np.einsum("rm,rmn,rn->r", slope, (often @ squares).reshape(-1, m, m), slope)
    spread -= np.einsum("rm,rm->r", slope, totals) ** 2 / k
    return np.sqrt(np.maximum(spread, 0.0) * k / (k - 1))


def _interval(
    value: float, error: float, draws: Floats, none: float | None, ends: tuple[float, float]
) -> tuple[float, float, float | None]:
    """The symmetric studentised interval, kept within what can be, and the p that agrees with it."""
    if error == 0:
        return value, value, 1.0 if none is not None and abs(value - none) <= ROUND else None
    half = float(np.quantile(draws, 1 - ALPHA, method="higher")) * error
    low, high = max(ends[0], value - half), min(ends[1], value + half)
    if none is None:
        return low, high, None
    seen = abs(value - none) / error
    return low, high, float(((draws >= seen - ROUND).sum() + 1) / (len(draws) + 1))
