"""Many tests at once: p-values adjusted for how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from solon.core.errors import DataError
from solon.evals.statistics import words


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted so that the chance of any false alarm in the family stays at the level (Holm 1979)."""
    _checked(ps)
    n = len(ps)
    order = sorted(range(n), key=lambda i: ps[i])
    adjusted, so_far = [0.0] * n, 0.0
    for rank, i in enumerate(order):
        so_far = max(so_far, min(1.0, (n - rank) * ps[i]))
        adjusted[i] = so_far
    return adjusted


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
    """p-values adjusted so that the expected share of false alarms among the findings stays at the level (1995)."""
    _checked(ps)
    n = len(ps)
    order = sorted(range(n), key=lambda i: ps[i], reverse=True)
    adjusted, so_far = [0.0] * n, 1.0
    for rank, i in enumerate(order):
        so_far = min(so_far, ps[i] * n / (n - rank))
        adjusted[i] = so_far
    return adjusted


def correct(table: Sequence[dict[str, Any]]) -> None:
    """Write `p_holm` into each row of one family, and into its sentence (`plain`, where it has one) what is left of it then.

    Rows whose `p` is None were not tested: they get None and do not count."""
    tested = [row for row in table if row["p"] is not None]
    adjusted = iter(holm([float(row["p"]) for row in tested]))
    for row in table:
        row["p_holm"] = None if row["p"] is None else next(adjusted)
        if "plain" in row and row["p"] is not None:
            row["plain"] = words.after_correction(row["plain"], row["p"], row["p_holm"], len(tested))


def _checked(ps: Sequence[float]) -> None:
    odd = [p for p in ps if not 0 <= p <= 1]  # not a number is never between
    if odd:
        raise DataError("a p-value lies outside of 0 to 1", got=odd[0], fix="leave tests that were not run out")
