"""An experiment on live traffic from its log: who was put into which arm, how satisfied they were, and whether the arms differ.

The log is in order of arrival. A unit (a user, a session) belongs to one arm; only its first outcome counts, as the later ones
of one person are no new evidence. The test may be looked at at all times (`sequential.ab`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solon.core.errors import DataError, nearest
from solon.evals.sequential import ab
from solon.evals.statistics import ALPHA, Figure, mean

KNOWN = ("unit", "arm")
UNEVEN = 0.001  # p of a split below which the assignment itself is in doubt, as is usual for this check


@dataclass(frozen=True)
class Arm:
    """One arm: units assigned, and the mean of every metric over the units that have it (None of a metric that none has)."""

    name: str
    assigned: int
    metrics: dict[str, Figure | None]


@dataclass(frozen=True)
class Experiment:
    """`difference` is of the metric, treatment minus control, with an interval that holds at all times together; `p` may be
    looked at at all times; `decided` is the couple of outcomes at which it could first be rejected. `split_p` asks whether units
    were divided as planned. `repeated` counts outcomes that were left out as a unit's later ones."""

    metric: str
    arms: tuple[Arm, Arm]
    difference: Figure
    p: float
    decided: int | None
    split_p: float
    repeated: int
    plain: str


def experiment(
    rows: Iterable[tuple[str, Mapping[str, Any]]], metric: str = "satisfaction", control: str = "control", share: float = 0.5
) -> Experiment:
    """The report of a log of (place, row). A row is `{"unit", "arm"}` with any numbers as metrics; a row without the metric is an
    assignment whose outcome is not known yet. The metric lies in [0, 1]. `share` is what part of units was to get the control.

    Raises `DataError` for a unit in two arms, another number of arms than two, and a metric that is out of range or in no row."""
    if not 0 < share < 1:
        raise DataError("the control's planned share of units is no share", got=share, expected="between 0 and 1")
    units, outcomes, numbers, repeated = _read(rows, metric)
    names = list(dict.fromkeys(units.values()))
    if len(names) != 2:
        raise DataError("an experiment has two arms", got=f"{len(names)}: {', '.join(sorted(names))}", expected="control and treatment")
    if control not in names:
        raise DataError(f"no unit is in the control arm {control!r}", fix=nearest(control, names))
    treatment = next(name for name in names if name != control)
    if not outcomes:
        metrics = sorted({name for values in numbers.values() for name in values})
        raise DataError(f"no row has the metric {metric!r}", fix=nearest(metric, metrics) if metrics else "log it in [0, 1]")
    found = ab([units[unit] for unit in outcomes], list(outcomes.values()), control, treatment)
    how = f"mean of {len(found.mean):,} couples of outcomes in order; interval by betting, holds at all times together, 95 %"
    gap = Figure(float(found.mean[-1]), float(found.low[-1]), float(found.high[-1]), len(found.mean), how)
    p, decided = float(found.p[-1]), found.decided()
    arms = tuple(_arm(name, units, numbers) for name in (control, treatment))
    split = _split(arms[0].assigned, arms[1].assigned, share)
    return Experiment(metric, (arms[0], arms[1]), gap, p, decided, split, repeated, _plain(treatment, metric, gap, decided, split))


def _read(
    rows: Iterable[tuple[str, Mapping[str, Any]]], metric: str
) -> tuple[dict[str, str], dict[str, float], dict[str, dict[str, float]], int]:
    """The arm of each unit, its outcome in order of arrival, its first number of every metric, and how many were left out."""
    units: dict[str, str] = {}
    outcomes: dict[str, float] = {}
    numbers: dict[str, dict[str, float]] = {}
    repeated = 0
    for place, row in rows:
        unit, arm = row.get("unit"), row.get("arm")
        if not isinstance(unit, str | int) or not isinstance(arm, str) or not arm:
            raise DataError(f"{place} does not say who was in which arm", got=f"unit {unit!r}, arm {arm!r}", expected='{"unit", "arm"}')
        if units.setdefault(str(unit), arm) != arm:
            got, fix = f"{units[str(unit)]} and {arm}", "assign a unit once and keep it there"
            raise DataError(f"{place}: the unit {unit!r} is in two arms", got=got, fix=fix)
        own = numbers.setdefault(str(unit), {})
        for name, value in row.items():
            if name in KNOWN or isinstance(value, bool) and name != metric or not isinstance(value, int | float):
                if name == metric and value is not None:
                    raise DataError(f"{place}: {metric} is no number", got=value, expected="a number in [0, 1]")
                continue
            if name == metric and not 0 <= value <= 1:
                raise DataError(f"{place}: {metric} is out of range", got=value, expected="a number in [0, 1]", fix="scale it before it is logged")
            own.setdefault(name, float(value))
            if name == metric:
                repeated += str(unit) in outcomes
                outcomes.setdefault(str(unit), float(value))
    return units, outcomes, numbers, repeated


def _arm(name: str, units: Mapping[str, str], numbers: Mapping[str, Mapping[str, float]]) -> Arm:
    inside = [unit for unit, arm in units.items() if arm == name]
    metrics = dict.fromkeys(metric for values in numbers.values() for metric in values)
    values: dict[str, Sequence[float]] = {m: [numbers[unit][m] for unit in inside if m in numbers[unit]] for m in metrics}
    return Arm(name, len(inside), {m: mean(own, name=f"ab {name} {m}") if own else None for m, own in values.items()})


def _split(control: int, treatment: int, share: float) -> float:
    from scipy.stats import binomtest

    return float(binomtest(control, control + treatment, share).pvalue)


def _plain(treatment: str, metric: str, gap: Figure, decided: int | None, split: float) -> str:
    told = f"{metric} {gap.value:+.3f} (95 % CI {gap.low:+.3f} to {gap.high:+.3f}, at all times)"
    if split < UNEVEN:
        return f"no verdict: units were not divided as planned (p {split:.2g}), so the arms are not alike to begin with; {told}"
    if decided is None:
        return f"no detectable difference of {treatment}, p above {ALPHA:g}: {told}; the experiment may go on"
    return f"{treatment} {'does better' if gap.value > 0 else 'does worse'}: {told}; decided after {decided:,} couples"
