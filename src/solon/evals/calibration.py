"""Whether a model's confidence means what it says, and what is gained by abstaining where it is low.

Bins, expected calibration error and Brier score are `core.intervals.calibration`, which judges are certified by too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solon.core.errors import DataError
from solon.core.intervals import calibration, equal_mass, wilson
from solon.core.keys import rng
from solon.evals.statistics import mean
from solon.evals.statistics.figures import (
    ALPHA,
    CHUNK,
    Figure,
    Floats,
    column,
    falling_root,
    only,
    pair,
    within,
)

BINS = 10
DRAWS = 2_000
COLDEST, HOTTEST = 1e-3, 1e3


@dataclass(frozen=True)
class Reliability:
    """One bin of a reliability diagram: mean confidence, the share that came true with its interval, how many."""

    confidence: float
    share: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Brier:
    """The Brier score and where it comes from: score = reliability - resolution + uncertainty + within.

    `reliability` (0 at best) is what recalibrating would gain, `resolution` what the confidences tell apart,
    `uncertainty` what the outcomes alone would cost, `within` what is lost by looking in bins (Stephenson et al. 2008)."""

    score: Figure
    reliability: float
    resolution: float
    uncertainty: float
    within: float


@dataclass(frozen=True)
class Coverage:
    """Answering only the most confident share of items: what share is answered, how many of those answers are wrong, and
    how confident one has to be."""

    coverage: float
    risk: float
    threshold: float


@dataclass(frozen=True)
class Abstention:
    """The risk-coverage curve, its area (`aurc`, the mean risk over all coverages; 0 at best), the area that a perfect
    order of the same items would have (`best`), and of no order at all (`blind`, the overall risk)."""

    curve: tuple[Coverage, ...]
    aurc: Figure
    best: float
    blind: float


def calibration_error(p: Sequence[float], y: Sequence[Any], bins: int = BINS, name: str = "ece") -> tuple[Figure, float]:
    """Expected calibration error over bins of equal mass, and the error that perfect calibration would stay below in 95 %
    of samples of these confidences.

    The second is needed to read the first, which is never 0 on a finite sample (Bröcker and Smith 2007). The interval
    is a basic bootstrap one, as resampling alone would make the error larger than it is.
    """
    chance, truth = _confidences(p, y)
    value = calibration(chance.tolist(), truth.tolist(), bins).ece
    place = equal_mass(chance, bins)
    n, k = len(chance), int(place.max()) + 1
    member = np.zeros((n, k))
    member[np.arange(n), place] = 1
    generator, errors, perfect, size = rng("calibration", name, n), [], [], max(1, CHUNK // n)
    for start in range(0, DRAWS, size):
        rows = min(size, DRAWS - start)
        often = generator.multinomial(n, np.full(n, 1 / n), size=rows)
        errors.append(np.abs((often * (chance - truth)) @ member).sum(axis=1) / n)
        perfect.append(np.abs((chance - (generator.random((rows, n)) < chance)) @ member).sum(axis=1) / n)
    low, high = np.quantile(np.concatenate(errors), (ALPHA / 2, 1 - ALPHA / 2))
    how = f"expected calibration error over {k} bins of equal mass, basic bootstrap 95 %, {DRAWS:,} resamples"
    figure = Figure(value, float(max(0.0, min(value, 2 * value - high))), float(max(value, 2 * value - low)), n, how)
    return figure, float(np.quantile(np.concatenate(perfect), 1 - ALPHA))


def reliability(p: Sequence[float], y: Sequence[Any], bins: int = BINS) -> tuple[Reliability, ...]:
    """The bins of a reliability diagram, of equal mass, with Wilson intervals."""
    chance, truth = _confidences(p, y)
    found = calibration(chance.tolist(), truth.tolist(), bins).bins
    return tuple(Reliability(one.p, one.y, *wilson(round(one.y * one.n), one.n), one.n) for one in found)


def brier(p: Sequence[float], y: Sequence[Any], bins: int = BINS, name: str = "brier") -> Brier:
    """The Brier score with its decomposition (Murphy 1973) over bins of equal mass; the parts add up exactly."""
    chance, truth = _confidences(p, y)
    place, base = equal_mass(chance, bins), float(truth.mean())
    good = apart = inside = 0.0
    for number in np.unique(place):
        f, o = chance[place == number], truth[place == number]
        weight = len(f) / len(chance)
        good += weight * float(f.mean() - o.mean()) ** 2
        apart += weight * float(o.mean() - base) ** 2
        inside += weight * float(f.var() - 2 * ((f - f.mean()) * (o - o.mean())).mean())
    score = mean(((chance - truth) ** 2).tolist(), name=name)
    return Brier(score, good, apart, base * (1 - base), inside)


def temperature(logits: Sequence[Sequence[float]] | Sequence[float], labels: Sequence[int]) -> float:
    """The temperature T that makes softmax(logits / T) fit the labels best (Guo et al. 2017): above 1, the model was too
    sure. One logit an item means yes or no. Fit it on other items than those it is then measured on.

    Raises `DataError` where no finite temperature is best: every answer right, or none better than chance."""
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if z.ndim == 1:
        z = np.stack([np.zeros_like(z), z], axis=1)
    if z.ndim != 2 or not len(z) or y.shape != (len(z),) or not np.isfinite(z).all():
        raise DataError("a temperature needs finite logits and a label for each item", got=f"{z.shape} and {y.shape}")
    if not np.isin(y, np.arange(z.shape[1])).all():
        raise DataError("a label has no logit", got=y[~np.isin(y, np.arange(z.shape[1]))][0], expected=f"0 to {z.shape[1] - 1}")
    y = y.astype(int)
    z = z - z.max(axis=1, keepdims=True)
    right = z[np.arange(len(z)), y].mean()

    def slope(log_sharpness: float) -> float:
        """The likelihood's slope in 1 / T: it falls, as the likelihood is concave there."""
        weight = np.exp(z * math.exp(log_sharpness))
        return float(right - ((weight * z).sum(axis=1) / weight.sum(axis=1)).mean())

    ends = -math.log(HOTTEST), -math.log(COLDEST)
    if slope(ends[0]) <= 0 or slope(ends[1]) >= 0:
        got = "logits that tell nothing" if slope(ends[0]) <= 0 else "logits that are never wrong"
        raise DataError("no temperature fits best", got=got, fix="fit on more items, wrong answers among them")
    return math.exp(-falling_root(slope, 0.0, *ends))


def abstention(confidence: Sequence[float], correct: Sequence[Any], name: str = "aurc") -> Abstention:
    """What abstaining gains, from any confidence (it need not be a probability). Items of equal confidence are answered
    in a random order, and the curve is its expectation."""
    sure, right = pair(confidence, correct)
    only(right, (0.0, 1.0), "correct")
    n, wrong = len(sure), 1 - right
    order = np.argsort(-sure, kind="stable")
    risk = _selective(sure[order], wrong[order])
    last = np.append(sure[order][1:] != sure[order][:-1], True)  # thresholds can only lie between different confidences
    curve = tuple(Coverage((i + 1) / n, float(risk[i]), float(sure[order][i])) for i in np.flatnonzero(last))
    generator = rng("abstention", name, n)
    draws = np.empty(DRAWS)
    for number in range(DRAWS):
        pick = np.sort(generator.integers(0, n, size=n))  # of the order: no need to sort by confidence again
        draws[number] = _selective(sure[order][pick], wrong[order][pick]).mean()
    low, high = np.quantile(draws, (ALPHA / 2, 1 - ALPHA / 2))
    how = f"area under the risk-coverage curve, percentile bootstrap 95 %, {DRAWS:,} resamples"
    best = _selective(-np.arange(n, dtype=float), np.sort(wrong)).mean()
    return Abstention(curve, Figure(float(risk.mean()), float(low), float(high), n, how), float(best), float(wrong.mean()))


def area(confidence: Floats, correct: Floats) -> float:
    """The area under the risk-coverage curve alone, for resampling."""
    order = np.argsort(-confidence, kind="stable")
    return float(_selective(confidence[order], 1 - correct[order]).mean())


def _selective(sure: Floats, wrong: Floats) -> Floats:
    """Of items in falling confidence, the risk of answering the first k, for each k; ties in expectation."""
    n = len(sure)
    start = np.flatnonzero(np.append(True, sure[1:] != sure[:-1]))
    size = np.diff(np.append(start, n))
    total = np.concatenate([[0.0], np.cumsum(wrong)])
    share = (total[start + size] - total[start]) / size
    k = np.arange(1, n + 1)
    return (np.repeat(total[start], size) + (k - np.repeat(start, size)) * np.repeat(share, size)) / k


def _confidences(p: Sequence[float], y: Sequence[Any]) -> tuple[Floats, Floats]:
    chance = within(column("p", p), 0, 1, "p")
    truth = only(column("y", y), (0.0, 1.0), "y")
    if len(chance) != len(truth):
        raise DataError("calibration needs as many outcomes as predictions", got=f"{len(chance)} and {len(truth)}")
    return chance, truth

