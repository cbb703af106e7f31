"""What the guard decided of one text, and how: records that hold no word of the text itself.

A ruling is meant to be kept for every turn that is served, so it is built from names of tiers, rules and categories,
from numbers and from offsets alone. Whoever wants to see the text looks it up elsewhere, with the right to do so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Side = Literal["input", "output", "retrieved", "tool_call"]
Decision = Literal["pass", "stop"]
Outcome = Literal["pass", "stop", "ask", "failed", "missing"]
FAIL_CLOSED = "fail_closed"
"""Who decided where a tier failed or none could be asked."""


@dataclass(frozen=True)
class Opinion:
    """What one tier says of one text: how harmful it is, from 0 to 1, and which refusal category fits (may be empty)."""

    score: float
    category: str = ""


@dataclass(frozen=True)
class Finding:
    """A rule that fired: its name, where (an offset in the text, or the name of a declared argument), and its weight."""

    rule: str
    where: str
    weight: float


@dataclass(frozen=True)
class Step:
    """One tier's part in a ruling: what came of asking it, its score, the milliseconds it took, and why it failed."""

    tier: str
    outcome: Outcome
    score: float | None = None
    ms: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Ruling:
    """What the guard decided of a text. `decided_by` is a tier's name or `fail_closed`; `steps` are the tiers in the order
    in which they were asked; `category` and `alternative` are set where the text was stopped. Of a reply, `tokens` were
    read when it was decided and `released` characters of it had been let through."""

    side: Side
    decision: Decision
    decided_by: str
    reason: str
    category: str = ""
    alternative: str = ""
    steps: tuple[Step, ...] = ()
    findings: tuple[Finding, ...] = ()
    tokens: int = 0
    released: int = 0

    @property
    def stopped(self) -> bool:
        return self.decision == "stop"

    @property
    def score(self) -> float | None:
        """The score of the tier that was asked last and answered."""
        return next((step.score for step in reversed(self.steps) if step.score is not None), None)

    def record(self) -> dict[str, Any]:
        """The JSON form, to be kept. The alternative is left out: it follows from the category."""
        out = asdict(self)
        del out["alternative"]
        return out
