"""How far raters agree beyond chance, and how well scores separate two classes. Calibration is in `calibration.py`.

Every coefficient resamples items (never single ratings) for its interval. A table of ratings has one row an item and one
place a rater; None is a rating that is missing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from solon.core.errors import DataError
from solon.core.keys import rng
from solon.evals.statistics import ALPHA, RESAMPLES, Figure, Z
from solon.evals.statistics.figures import CHUNK, Floats

Weights = Literal["none", "linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]
Ratings = Sequence[Sequence[Hashable | None]]


def cohen_kappa(
    a: Sequence[Hashable],
    b: Sequence[Hashable],
    name: str = "kappa",
    weights: Weights = "none",
    order: Sequence[Hashable] | None = None,
) -> Figure:
    """Agreement of two labellings beyond chance (Cohen 1960), with a percentile bootstrap interval over items.

    With `weights` a near miss counts as less of one (Cohen 1968): by the distance of the labels' places in `order`, or
    in sorted order. Raises `DataError` where it is undefined: when both use one and the same label throughout.
    """
    if len(a) != len(b) or not len(a):
        raise DataError("kappa needs two labels per item", got=f"{len(a)} and {len(b)}", expected="equal lengths")
    labels = _places([*a, *b], order, ordered=weights != "none")
    k, n = len(labels), len(a)
    cells = np.bincount([labels[x] * k + labels[y] for x, y in zip(a, b, strict=True)], minlength=k * k)
    gap = np.abs(np.arange(k)[:, None] - np.arange(k)).astype(float)
    cost = {"none": (gap > 0).astype(float), "linear": gap, "quadratic": gap**2}[weights]
    value = float(_kappa(cells[None].astype(float), cost)[0])
    if not math.isfinite(value):
        raise DataError("kappa is undefined: both labellings use one and the same label", got=next(iter(labels)))
    # Resampling items and counting cells is one multinomial draw over the cells.
    draws = _kappa(rng("kappa", name, n).multinomial(n, cells / n, size=RESAMPLES).astype(float), cost)
    how = "Cohen's kappa" + ("" if weights == "none" else f", {weights} weights")
    return _figure(value, draws, n, how)


def fleiss_kappa(ratings: Ratings, name: str = "fleiss") -> Figure:
    """Agreement of several raters beyond chance (Fleiss 1971); every item needs the same number of ratings."""
    counts, n = _counted(ratings)
    raters = counts.sum(axis=1)
    if np.ptp(raters) or raters[0] < 2:
        got, fix = f"{int(raters.min())} to {int(raters.max())}", "use krippendorff_alpha, which allows gaps"
        raise DataError("Fleiss' kappa needs equally many ratings of each item, two at least", got=got, fix=fix)
    seen = ((counts * (counts - 1)).sum(axis=1) / (raters * (raters - 1)))[:, None]

    def kappa(sums: Floats) -> Floats:
        chance = ((sums[:, 1:] / sums[:, 1:].sum(axis=1, keepdims=True)) ** 2).sum(axis=1)
        return _beyond(sums[:, 0] / n, chance)

    return _over_items(np.hstack([seen, counts]), kappa, "Fleiss' kappa", name)


def krippendorff_alpha(ratings: Ratings, level: Level = "nominal", name: str = "alpha") -> Figure:
    """Krippendorff's alpha (Content Analysis, 2004): any number of raters, gaps allowed.

    `level` says how far apart two values are: all equally (nominal), by rank (ordinal), or by squared distance
    (interval). Ordinal and interval values must be numbers. Items with fewer than two ratings tell nothing and are left
    out of n.
    """
    counts, _ = _counted(ratings, numbers=level != "nominal")
    values = _values(ratings) if level != "nominal" else np.arange(counts.shape[1], dtype=float)
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        raise DataError("alpha needs items that two raters have rated", got="none", expected="at least one")
    k, raters = counts.shape[1], counts.sum(axis=1)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(k)
    coincidences = (pairs / (raters - 1)[:, None, None]).reshape(len(counts), k * k)

    def alpha(sums: Floats) -> Floats:
        found = sums.reshape(-1, k, k)
        totals = found.sum(axis=2)
        n = totals.sum(axis=1)
        distance = _distance(level, values, totals)
        seen = (found * distance).sum(axis=(1, 2)) / n
        product = totals[:, :, None] * totals[:, None, :]
        chance = (product * distance).sum(axis=(1, 2)) / (n * (n - 1))
        return _beyond(1 - seen, 1 - chance)

    return _over_items(coincidences, alpha, f"Krippendorff's alpha, {level}", name)


def gwet_ac1(ratings: Ratings, name: str = "ac1") -> Figure:
    """Gwet's AC1 (2008): agreement beyond chance that stays high where nearly all labels are the same, as kappa does not.

    Any number of raters, gaps allowed. Labels that nobody gave do not count as possible."""
    counts, n = _counted(ratings)
    raters = counts.sum(axis=1)
    several, k = (raters >= 2).astype(float), counts.shape[1]
    if not several.any():
        raise DataError("AC1 needs items that two raters have rated", got="none", expected="at least one")
    agreed = np.where(raters >= 2, (counts * (counts - 1)).sum(axis=1) / np.maximum(raters * (raters - 1), 1), 0)
    shares = counts / np.maximum(raters, 1)[:, None]

    def ac1(sums: Floats) -> Floats:
        pi = sums[:, 2:] / sums[:, 2:].sum(axis=1, keepdims=True)
        chance = (pi * (1 - pi)).sum(axis=1) / (k - 1) if k > 1 else np.zeros(len(sums))
        with np.errstate(invalid="ignore", divide="ignore"):
            return _beyond(sums[:, 0] / sums[:, 1], chance)

    return _over_items(np.hstack([agreed[:, None], several[:, None], shares]), ac1, "Gwet's AC1", name)


def auc(scores: Sequence[float], y: Sequence[float]) -> Figure:
    """The probability that a random positive scores above a random negative (ties half), DeLong's interval (1988)."""
    from scipy.stats import rankdata

    value, truth = _paired(scores, y)
    positive, negative = value[truth == 1], value[truth == 0]
    if not len(positive) or not len(negative) or len(positive) + len(negative) != len(value):
        raise DataError("auc needs both classes", got=f"{len(positive)} ones and {len(negative)} zeros of {len(value)}")
    m, n, ranks = len(positive), len(negative), rankdata(value)
    above = (ranks[truth == 1] - rankdata(positive)) / n  # per positive, the share of negatives below it
    below = 1 - (ranks[truth == 0] - rankdata(negative)) / m
    area = float(above.mean())
    if area in (0.0, 1.0) or min(m, n) < 2:
        bound = (ALPHA / 2) ** (1 / min(m, n))  # exact bound for as many independent pairs as the rarer class allows
        low, high = (bound, 1.0) if area == 1 else (0.0, 1 - bound) if area == 0 else (0.0, 1.0)
        return Figure(area, low, high, m + n, "area under ROC, exact bound 95 %")
    error = math.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    logit, width = math.log(area / (1 - area)), Z * error / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-(logit + side))) for side in (-width, width))
    return Figure(area, low, high, m + n, "area under ROC, DeLong 95 % on the logit")


def _kappa(cells: Floats, cost: Floats) -> Floats:
    """Kappa of each row of flattened k by k counts; not a number where chance agreement is complete."""
    k = len(cost)
    table = cells.reshape(-1, k, k) / cells.sum(axis=1)[:, None, None]
    missed = (table * cost).sum(axis=(1, 2))
    chance = np.einsum("ri,rj,ij->r", table.sum(axis=2), table.sum(axis=1), cost)
    return _beyond(1 - missed, 1 - chance)


def _beyond(seen: Floats, chance: Floats) -> Floats:
    """What is seen beyond chance, as a share of what could be; not a number where chance alone would be complete."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(chance < 1 - 1e-12, (seen - chance) / (1 - chance), np.nan)


def _over_items(rows: Floats, statistic: Callable[[Floats], Floats], what: str, name: str) -> Figure:
    """A statistic of the sums of rows, one row an item. Items that are alike are resampled as one multinomial cell."""
    n = len(rows)
    value = float(statistic(rows.sum(axis=0)[None])[0])
    if not math.isfinite(value):
        raise DataError(f"{what} is undefined: every rating is the same", fix="report the share of equal ratings instead")
    kinds, copies = np.unique(rows, axis=0, return_counts=True)
    generator, parts, size = rng(what, name, n), [], max(1, CHUNK // max(len(kinds), rows.shape[1]))
    for start in range(0, RESAMPLES, size):
        often = generator.multinomial(n, copies / n, size=min(size, RESAMPLES - start))
        parts.append(statistic(often @ kinds))
    return _figure(value, np.concatenate(parts), n, what)


def _figure(value: float, draws: Floats, n: int, what: str) -> Figure:
    """Resamples in which chance agreement is complete have no value and are passed over."""
    if not np.isfinite(draws).any():
        return Figure(value, value, value, n, f"{what}; no interval can be estimated")
    low, high = np.nanquantile(draws, (ALPHA / 2, 1 - ALPHA / 2))
    return Figure(value, float(low), float(high), n, f"{what}, bootstrap 95 %, {RESAMPLES:,} resamples")


def _distance(level: Level, values: Floats, totals: Floats) -> Floats:
    """Squared distances of the values, [resamples or 1, k, k]; ordinal ones depend on how often each value occurs."""
    if level == "nominal":
        return (1 - np.eye(len(values)))[None]
    if level == "interval":
        return ((values[:, None] - values) ** 2)[None]
    before = np.cumsum(totals, axis=1) - totals / 2  # the middle rank of each value
    return (before[:, :, None] - before[:, None, :]) ** 2


def _counted(ratings: Ratings, numbers: bool = False) -> tuple[Floats, int]:
    """How often each item got each label, [items, labels], and the number of items."""
    if not ratings:
        raise DataError("agreement needs rated items", got="none", expected="at least one")
    given = [value for row in ratings for value in row if value is not None]
    if not given:
        raise DataError("agreement needs ratings", got="every one is missing")
    labels = _places(given, None, ordered=numbers)
    counts = np.zeros((len(ratings), len(labels)))
    for place, row in enumerate(ratings):
        for label, often in Counter(value for value in row if value is not None).items():
            counts[place, labels[label]] = often
    return counts, len(ratings)


def _values(ratings: Ratings) -> Floats:
    """The numbers that were given, in order."""
    given = {value for row in ratings for value in row if value is not None}
    if not all(isinstance(value, int | float | np.number) and math.isfinite(value) for value in given):
        raise DataError("ordinal and interval agreement need numbers", got=next(iter(given)), fix="number the labels")
    return np.array(sorted(given), dtype=np.float64)  # type: ignore[type-var, arg-type]


def _places(labels: Sequence[Hashable], order: Sequence[Hashable] | None, ordered: bool) -> dict[Hashable, int]:
    """The place of each label: in the given order, sorted where order matters, else as they come."""
    if any(isinstance(label, float) and math.isnan(label) for label in labels):
        raise DataError("a label is not a number", fix="drop the item, or give None where a rating may be missing")
    if any(label is None for label in labels):
        raise DataError("a label is missing", fix="drop the item on both sides and report how many were missing")
    known = list(dict.fromkeys(labels))
    if order is not None:
        if set(known) - set(order):
            raise DataError("a label has no place in the order", got=sorted(map(str, set(known) - set(order)))[0], expected=list(order))
        known = list(dict.fromkeys(order))
    elif ordered:
        try:
            known = sorted(known)  # type: ignore[type-var]
        except TypeError:
            raise DataError("labels of several types have no order", got=known[:4], fix="give `order`") from None
    return {label: place for place, label in enumerate(known)}


def _paired(a: Sequence[float], b: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise DataError("two equally long columns are needed", got=f"{first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("a column holds missing values", fix="drop these items and report how many were missing")
    return first, second
