"""How large a share is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from solon.core.intervals import at_most, clopper_pearson, wilson
from solon.evals.statistics.figures import Figure, column, only


def proportion(hits: Sequence[Any]) -> Figure:
    """The share of true items, with Wilson's interval; at none or all, the exact (Clopper-Pearson) bound."""
    k, n = _counted(hits)
    if k in (0, n):
        return Figure(k / n, *clopper_pearson(k, n), n, "share, Clopper-Pearson 95 %")
    return Figure(k / n, *wilson(k, n), n, "share, Wilson 95 %")


def exact_proportion(hits: Sequence[Any]) -> Figure:
    """The share of true items with the exact interval, for claims that must not be too narrow."""
    k, n = _counted(hits)
    return Figure(k / n, *clopper_pearson(k, n), n, "share, Clopper-Pearson 95 %")


def ceiling(hits: Sequence[Any]) -> Figure:
    """The share of true items and how high it could still be: the one-sided exact bound, some 3 / n at no hits."""
    k, n = _counted(hits)
    return Figure(k / n, 0.0, at_most(k, n), n, "share, exact one-sided upper bound 95 %")


def _counted(hits: Sequence[Any]) -> tuple[int, int]:
    values = only(column("hits", hits), (0.0, 1.0), "hits")
    return int(values.sum()), len(values)
