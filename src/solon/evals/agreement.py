"""How far two judges agree, and how well scores separate two classes. Calibration is in `core/intervals.py`."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from solon.core.errors import DataError
from solon.core.keys import rng
from solon.evals.statistics import ALPHA, RESAMPLES, Figure, Z


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable], name: str = "kappa") -> Figure:
    """Agreement of two labellings beyond chance (Cohen 1960), with a percentile bootstrap interval over items."""
    if len(a) != len(b) or not len(a):
        raise DataError("kappa needs two labels per item", got=f"{len(a)} and {len(b)}", expected="equal lengths")
    labels = {label: i for i, label in enumerate(dict.fromkeys([*a, *b]))}
    k, n = len(labels), len(a)
    cells = np.bincount([labels[x] * k + labels[y] for x, y in zip(a, b, strict=True)], minlength=k * k)
    value = float(_kappa(cells[None].astype(float), k)[0])
    if not math.isfinite(value):
        raise DataError("kappa is undefined: both labellings use one and the same label", got=next(iter(labels)))
    # Resampling items and counting cells is one multinomial draw over the cells.
    draws = _kappa(rng("kappa", name, n).multinomial(n, cells / n, size=RESAMPLES).astype(float), k)
    low, high = np.nanquantile(draws, (ALPHA / 2, 1 - ALPHA / 2))
    return Figure(value, float(low), float(high), n, f"Cohen's kappa, bootstrap 95 %, {RESAMPLES:,} resamples")


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


def _kappa(cells: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Kappa of each row of flattened k by k counts; not a number where chance agreement is complete."""
    table = cells.reshape(-1, k, k) / cells.sum(axis=1)[:, None, None]
    seen = np.trace(table, axis1=1, axis2=2)
    chance = (table.sum(axis=1) * table.sum(axis=2)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(chance < 1 - 1e-12, (seen - chance) / (1 - chance), np.nan)


def _paired(a: Sequence[float], b: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise DataError("two equally long columns are needed", got=f"{first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("a column holds missing values", fix="drop these items and report how many were missing")
    return first, second
