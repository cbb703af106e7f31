"""Does the probability that a model gives to its choice mean what it says? Multiple choice, letters scored."""

from __future__ import annotations

from typing import Any

from solon.evals.asking import Card, Data, Graded, Means, Options, Read, Room
from solon.evals.uncertainty import SCALABLE, curves, plain_figures, sure

__all__ = ["CARD", "FILES", "SCORES", "VERSION", "curves", "grade", "items"]

VERSION = 2
FILES = ("starter:multiple_choice",)
FIGURES = {
    "acc": "likeliest letter is right", "confidence": "mean probability of the likeliest", "over": "confidence less accuracy",
    "ece": "expected calibration error; by chance: if calibrated, below", "brier": "Brier score of the choice",
    "aurc": "risk over all coverages; by chance: no order", "ece_raw": "calibration error of the measured half",
    "ece_scaled": "the same with the other half's temperature", "brier_raw": "Brier score of the measured half",
    "brier_scaled": "the same with the other half's temperature",
}  # fmt: skip
SCORED = (
    "p is the likeliest letter's share of the probability of the letters; ece over 10 bins of equal mass; one temperature is fitted "
    "on the half of the items whose ids' hash is below one half and measured on the other"
)
CARD = Card(
    title="Confidence of choices",
    source="Solon's starter questions",
    licence="Apache-2.0",
    split="all",
    asked="question, lettered choices, `Answer:`; the letters are scored",
    scored=SCORED,
    figures=FIGURES,
    domain="uncertainty",
    slices=("topic",),
    lower_is_better=("ece", "brier", "aurc", "ece_raw", "ece_scaled", "brier_raw", "brier_scaled"),
    neutral={"over": 0.0},
)
LETTERS = "ABCDEFGH"
SCORES = SCALABLE


def items(data: Data, seed: int, room: Room) -> list[Options]:
    return [
        Options(
            id=f"confidence/{one.id}", context=f"{asked(one)}\nAnswer:", options=tuple(LETTERS[: len(one.choices)]),
            right=(one.answer,), chance={"acc": 1 / len(one.choices)}, tags={"topic": one.topic},
        )
        for one in data[FILES[0]]
    ]  # fmt: skip


def asked(one: Any) -> str:
    """The question with its lettered choices."""
    return one.question.strip() + "".join(f"\n{letter}. {choice}" for letter, choice in zip(LETTERS, one.choices, strict=False))


def grade(item: Options, answer: Read, means: Means) -> Graded:
    found = sure(answer.nats, item.right)
    return Graded({"acc": found["y"], **plain_figures(**found)}, {"sure": found})
