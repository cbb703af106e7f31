"""How good a score is at telling harm from no harm: ranking, decisions and calibration, each with its interval.

Intervals are percentile bootstraps over clusters (texts from one template or one prompt are drawn together), because
such texts are alike and counting them as independent would make every interval too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solon.core.errors import DataError
from solon.core.intervals import calibration
from solon.core.keys import rng

Floats = NDArray[np.float64]
RESAMPLES = 1000


@dataclass(frozen=True)
class Measured:
    """One figure with its 95 % interval, the number of texts and of those that are harmful, and how it was got."""

    value: float
    low: float
    high: float
    n: int
    positives: int
    how: str


def auroc(y: NDArray[Any], score: Floats) -> float:
    """The chance that a harmful text scores above a harmless one, ties as half; nan without both."""
    y = y.astype(bool)
    up, down = int(y.sum()), int((~y).sum())
    if not up or not down:
        return float("nan")
    from scipy.stats import rankdata

    return float((rankdata(score)[y].sum() - up * (up + 1) / 2) / (up * down))


def average_precision(y: NDArray[Any], score: Floats) -> float:
    """Area under precision over recall as a step sum (AUPRC); equal scores count as one step. nan without positives."""
    points = np.array(precision_recall(y, score))
    return float((points[:, 1] * np.diff(np.r_[0.0, points[:, 0]])).sum()) if len(points) else float("nan")


def f1(y: NDArray[Any], decided: NDArray[Any]) -> float:
    """The harmonic mean of precision and recall; 0 where nothing is found, nan where there was nothing."""
    y, decided = y.astype(bool), decided.astype(bool)
    both = int((y & decided).sum())
    return 2 * both / (int(y.sum()) + int(decided.sum())) if y.any() else float("nan")


def macro_f1(_: Any, known: Floats, decided: NDArray[Any]) -> float:
    """The mean of F1 over outputs, each on the texts whose label is known; `known [n, outputs]` is 1, 0 or nan. An output of
    which there is no text is left out; nan where that is all of them."""
    each = [f1(known[given, j] == 1, decided[given, j]) for j, given in enumerate(np.isfinite(known).T)]
    fit = [one for one in each if np.isfinite(one)]
    return float(np.mean(fit)) if fit else float("nan")


def precision_recall(y: NDArray[Any], score: Floats) -> list[tuple[float, float]]:
    """Points `(recall, precision)`, one for each distinct score, from the highest; none without positives."""
    order = np.argsort(-score, kind="stable")
    hits, ranked = np.cumsum(y[order].astype(np.float64)), score[order]
    last = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    return [(float(hits[i] / hits[-1]), float(hits[i] / (i + 1))) for i in last] if len(hits) and hits[-1] else []


def false_positive_rate(y: NDArray[Any], decided: NDArray[Any]) -> float:
    """The share of harmless texts that were flagged; nan without harmless texts."""
    harmless = ~y.astype(bool)
    return float(decided[harmless].mean()) if harmless.any() else float("nan")


def recall(y: NDArray[Any], decided: NDArray[Any]) -> float:
    """The share of harmful texts that were flagged; nan without harmful texts."""
    return float(decided[y.astype(bool)].mean()) if y.any() else float("nan")


def ece(y: NDArray[Any], p: Floats) -> float:
    """Expected calibration error in ten bins of equal mass."""
    return calibration(p.tolist(), y.astype(float).tolist()).ece


def measure(
    what: Callable[..., float], y: Any, *columns: Any, clusters: Sequence[Hashable], name: str
) -> Measured:
    """`what(y, *columns)` with its interval; `name` seeds the resampling. Resamples without both classes are left out."""
    truth, others = np.asarray(y, bool), [np.asarray(column) for column in columns]
    if not len(truth) or any(len(column) != len(truth) for column in (*others, clusters)):
        raise DataError("a figure needs as many scores as labels, and at least one", got=f"{len(truth)} labels")
    value = what(truth, *others)
    places: dict[Hashable, list[int]] = {}
    for i, cluster in enumerate(clusters):
        places.setdefault(cluster, []).append(i)
    members = [np.array(inside) for inside in places.values()]
    generator, draws = rng("safety bootstrap", name), []
    for _ in range(RESAMPLES if len(members) > 1 else 0):
        picked = np.concatenate([members[i] for i in generator.integers(0, len(members), len(members))])
        draws.append(what(truth[picked], *(column[picked] for column in others)))
    fit = [draw for draw in draws if np.isfinite(draw)]
    low, high = np.quantile(fit, (0.025, 0.975)) if len(fit) > RESAMPLES / 2 else (float("nan"), float("nan"))
    how = f"bootstrap over {len(members)} clusters, {len(fit)} resamples, 95 % percentile"
    return Measured(float(value), float(low), float(high), len(truth), int(truth.sum()), how)
