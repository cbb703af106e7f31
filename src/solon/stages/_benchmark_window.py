"""Items of a benchmark by the day on which they were written: what is older than a model's training data proves little."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from solon.core.errors import ConfigError
from solon.evals.asking import Item


def within(items: Sequence[Item], since: date | None, until: date | None, name: str) -> list[Item]:
    """The items whose tag `written` lies in the window, both ends included; all where there is no window.

    Raises `ConfigError` where the suite has no dates, the window is turned round, or nothing lies in it."""
    if since is None and until is None:
        return list(items)
    if since and until and since > until:
        raise ConfigError("the window ends before it begins", got=f"{since} to {until}", expected="--since before --until")
    if not all("written" in item.tags for item in items):
        fix = "leave --since and --until out, or use dated_programs"
        raise ConfigError(f"the suite {name!r} does not say when its items were written", fix=fix)
    found = [item for item in items if (since or date.min) <= date.fromisoformat(item.tags["written"]) <= (until or date.max)]
    if not found:
        days = sorted(item.tags["written"] for item in items)
        got = f"{since or 'the beginning'} to {until or 'now'}"
        raise ConfigError(f"no item of {name!r} was written in the window", got=got, expected=f"days from {days[0]} to {days[-1]}")
    return found
