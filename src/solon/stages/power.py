"""Before a run: the smallest difference between two models that a suite's items would show, and how many items one needs."""

from __future__ import annotations

from collections.abc import Sequence

from solon.core.artifacts import Record
from solon.core.errors import ConfigError, DataError, MissingError
from solon.evals.asking import Room, load
from solon.evals.statistics.power import POWER, detectable, items_needed
from solon.stages.benchmark import contents, unit

CHANGED = (0.1, 0.2, 0.4)
"""Shares of items whose answer changes either way: nobody knows it before the run, so all are told."""
ROOM = Room(1_000_000, lambda text: 0)
"""No model is loaded, so no item is left out as too long for one."""


def power(suites: Sequence[str], limit: int | None = None, difference: float | None = None, seed: int = 0) -> list[Record]:
    """A row a suite: its items `n` (groups, where items belong together; at most `limit`), for each of `CHANGED` the smallest
    difference that McNemar's test finds in four of five repetitions, and with `difference` the items that would be needed
    (None: no number is enough). `n` is None where the suite's data are not here. For figures that are shares.

    Raises `ConfigError` for a difference that is no share above 0."""
    if difference is not None and not 0 < difference < 1:
        raise ConfigError("a difference is a share of the items", got=difference, expected="above 0 and below 1, for instance 0.05")
    rows = []
    for name in suites:
        n = size(name, seed)
        n = min(n, limit) if n is not None and limit is not None else n
        rows.append({
            "suite": name, "n": n, "power": POWER,
            "detectable": {f"{share:g}": detectable(n, discordant=share) for share in CHANGED} if n else None,
            "difference": difference, "needed": {f"{share:g}": _needed(difference, share) for share in CHANGED} if difference else None,
        })  # fmt: skip
    return rows


def size(name: str, seed: int = 0) -> int | None:
    """A suite's items (groups, where items belong together); None where its data are not here."""
    suite = load(name)
    try:
        return len({unit(item) for item in suite.items({path: contents(path) for path in suite.FILES}, seed, ROOM)})
    except MissingError:
        return None


def _needed(difference: float, share: float) -> int | None:
    try:
        return items_needed(difference, discordant=share)
    except DataError:
        return None
