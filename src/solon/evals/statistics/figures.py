"""The two records that every statistic ends in, and the columns that every statistic begins with."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solon.core.errors import DataError

Floats = NDArray[np.float64]

RESAMPLES = 10_000
ALPHA = 0.05
Z = NormalDist().inv_cdf(1 - ALPHA / 2)
CHUNK = 2_000_000  # numbers of one resampling at once, so that memory stays near 16 MB


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

    `detectable` is the smallest difference that this many items would have shown in 80 % of repetitions. `effect_ci` is the
    95 % interval of the effect size, None where none can be estimated.
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
    effect_ci: tuple[float, float] | None = None


def column(name: str, values: Sequence[Any] | Floats) -> Floats:
    """One finite number an item. Raises `DataError` for an empty column, for text and for missing values."""
    try:
        numbers = np.asarray(list(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        fix = "drop the items that could not be judged"
        raise DataError(f"{name} must be numbers", got=str(error), fix=fix) from None
    if numbers.ndim != 1 or numbers.size == 0:
        raise DataError(f"{name} holds no items", got=f"shape {numbers.shape}", expected="one number per item")
    if not np.isfinite(numbers).all():
        bad = int((~np.isfinite(numbers)).sum())
        fix = "drop the item on both sides and report how many were missing"
        raise DataError(f"{name} holds missing values", got=f"{bad} of {numbers.size} not finite", fix=fix)
    return numbers


def pair(a: Sequence[Any], b: Sequence[Any]) -> tuple[Floats, Floats]:
    """Two columns over the same items. Raises `DataError` where they differ in length."""
    first, second = column("a", a), column("b", b)
    if len(first) != len(second):
        fix = "give both models' values for the same items, in the same order"
        raise DataError("a and b are not paired", got=f"{len(first)} and {len(second)} items", fix=fix)
    return first, second


def only(values: Floats, allowed: tuple[float, ...], name: str) -> Floats:
    """The column, if it holds none but the allowed values; else `DataError`."""
    odd = values[~np.isin(values, allowed)]
    if odd.size:
        expected = " or ".join(f"{x:g}" for x in allowed)
        raise DataError(f"{name} holds a value out of range", got=odd[0], expected=expected)
    return values


def within(values: Floats, low: float, high: float, name: str) -> Floats:
    """The column, if it lies in [low, high]; else `DataError`."""
    odd = values[(values < low) | (values > high)]
    if odd.size:
        raise DataError(f"{name} holds a value out of range", got=odd[0], expected=f"{low:g} to {high:g}")
    return values


def by_cluster(values: Floats, clusters: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Sum and count per cluster; without clusters each item is its own."""
    if clusters is None:
        return values, np.ones_like(values)
    if len(clusters) != len(values):
        raise DataError("clusters do not match the items", got=f"{len(clusters)} for {len(values)} items")
    place: dict[Hashable, int] = {}
    index = np.array([place.setdefault(cluster, len(place)) for cluster in clusters])
    return np.bincount(index, weights=values).astype(np.float64), np.bincount(index).astype(np.float64)


def falling_root(f: Callable[[float], float], level: float, low: float = -1.0, high: float = 1.0) -> float:
    """Where a falling function crosses the level; bisection, because the ends may be infinite."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) > level else (low, middle)
    return (low + high) / 2
