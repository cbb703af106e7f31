"""Does the probability that a model gives to its choice mean what it says? MMLU's own form, letters scored."""

from __future__ import annotations

from dataclasses import replace

from solon.evals.asking import Data, Options, Room
from solon.evals.suites import confidence, mmlu
from solon.evals.suites.confidence import curves, grade

__all__ = ["CARD", "FILES", "SCORES", "VERSION", "curves", "grade", "items"]

VERSION = 2
FILES = mmlu.FILES
CARD = replace(
    mmlu.CARD, title="Confidence of choices, MMLU", scored=confidence.SCORED, figures=confidence.FIGURES, domain="uncertainty",
    slices=("domain",), lower_is_better=confidence.CARD.lower_is_better, neutral=confidence.CARD.neutral,
)  # fmt: skip
SCORES = confidence.SCORES


def items(data: Data, seed: int, room: Room) -> list[Options]:
    """MMLU's items; their tag `domain` is of the subject, as in the suite `mmlu`, but they stand in no capability table."""
    return [
        replace(one, id=f"confidence_{one.id}", tags={"domain": f"questions of {one.tags['domain']}", "subject": one.tags["subject"]})
        for one in mmlu.items(data, seed, room)
    ]
