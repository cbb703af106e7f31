"""`solon.safety.score` as two things that a pipeline holds: a filter that keeps what may pass, and an evaluator of many texts.

Both only ask the classifier. What a constitution says of an item is added by a hook, any function from items to verdicts: the
filter then also stops what the hook finds (`Verdict.value` of one half or more is a breach), the evaluator also counts it.
Without a hook both do exactly what they did before there was one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from solon.core.errors import ConfigError, DataError
from solon.core.records import Verdict
from solon.safety import score
from solon.safety.classifier import SHIPPED, Item, Score
from solon.safety.redteam.rates import Rate, share

Hook = Callable[[Sequence[Item]], Sequence[Verdict]]
BREACH = 0.5


@dataclass(frozen=True)
class Checked:
    """One item's score, the hook's verdict on it (None without a hook), and whether it may pass."""

    score: Score
    verdict: Verdict | None
    passes: bool


class SafetyFilter:
    """Lets an item pass unless the classifier flags it or the hook finds a breach.

    `threshold` is on `Score.harm`, in (0, 1]; None is the card's own. Raises `ConfigError` for one outside."""

    def __init__(self, head: str = SHIPPED, threshold: float | None = None, hook: Hook | None = None):
        if threshold is not None and not 0 < threshold <= 1:
            raise ConfigError("a threshold is a probability of harm", got=threshold, expected="above 0, at most 1")
        self.head, self.threshold, self.hook = head, threshold, hook

    def check(self, items: Sequence[Item]) -> list[Checked]:
        """One result an item, in order. Raises `DataError` for a wrong item, or a hook that gives another number of verdicts."""
        scores = score(items, self.head)
        verdicts: Sequence[Verdict | None] = [None] * len(scores) if self.hook is None else self.hook(items)
        if len(verdicts) != len(scores):
            raise DataError("the hook gave another number of verdicts than there are items", got=len(verdicts), expected=len(scores))
        return [Checked(one, said, not self._harmful(one) and not _breach(said)) for one, said in zip(scores, verdicts, strict=True)]

    def keep(self, items: Sequence[Item]) -> list[Item]:
        """The items that may pass, in order."""
        return [item for item, one in zip(items, self.check(items), strict=True) if one.passes]

    def _harmful(self, one: Score) -> bool:
        return one.flagged if self.threshold is None else one.harm >= self.threshold


class SafetyEvaluator:
    """Counts over many items what a filter with the same settings would say of each."""

    def __init__(self, head: str = SHIPPED, threshold: float | None = None, hook: Hook | None = None):
        self.filter = SafetyFilter(head, threshold, hook)

    def evaluate(self, items: Sequence[Item]) -> dict[str, Any]:
        """`flagged` by the classifier and, with a hook, `breaches` and `stopped` (by either): shares with exact intervals. `harm`
        and `severity` are means. Raises `DataError` without items."""
        found = self.filter.check(items)
        if not found:
            raise DataError("there is nothing to evaluate", got="no items", expected="one at least")
        out: dict[str, Any] = {
            "n": len(found), "card": found[0].score.card, "flagged": _share([self.filter._harmful(one.score) for one in found]),
            "harm": sum(one.score.harm for one in found) / len(found), "severity": sum(one.score.severity for one in found) / len(found),
        }  # fmt: skip
        if self.filter.hook is not None:
            out |= {"breaches": _share([_breach(one.verdict) for one in found]), "stopped": _share([not one.passes for one in found])}
        return out


def _breach(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.value >= BREACH


def _share(hits: Sequence[bool]) -> Rate:
    return share(sum(hits), len(hits))
