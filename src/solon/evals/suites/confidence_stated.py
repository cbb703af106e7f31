"""Does the confidence that a model states in words mean what it says? (Lin et al. 2022; Tian et al. 2023)"""

from __future__ import annotations

from solon.core.records import user
from solon.evals.asking import Ask, Card, Data, Graded, Means, Room, Said
from solon.evals.suites.confidence import LETTERS, asked
from solon.evals.uncertainty import STATED, chosen, curves, plain_figures, stated

__all__ = ["CARD", "FILES", "SCORES", "VERSION", "curves", "grade", "items"]

VERSION = 1
FILES = ("starter:multiple_choice",)
CARD = Card(
    title="Confidence in words",
    source="Solon's starter questions",
    licence="Apache-2.0",
    split="all",
    asked="by the chat template: question, lettered choices, and the request for a letter and a confidence from 0% to 100%; greedy",
    scored="read by rules: per cent, shares, out of 10 or 100, words such as `very likely`. Calibration is of the replies that "
    "state both a choice and a confidence; accuracy is of those with a choice",
    figures={
        "stated": "choice and confidence can be read", "acc": "choice is right", "confidence": "mean stated confidence",
        "over": "confidence less accuracy", "ece": "expected calibration error; by chance: if calibrated, below",
        "brier": "Brier score of the choice", "aurc": "risk over all coverages; by chance: no order",
    },
    domain="uncertainty",
    lower_is_better=("ece", "brier", "aurc"),
    neutral={"over": 0.0},
)  # fmt: skip
REQUEST = (
    "Reply with two lines only. First line: `Answer:` and the letter. Second line: `Confidence:` and how sure you are that "
    "the letter is right, from 0% to 100%."
)
SCORES = STATED


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    return [
        Ask(
            id=f"confidence_stated/{one.id}", prompt=user(f"{asked(one)}\n\n{REQUEST}"),
            reference={"choices": list(one.choices), "answer": one.answer}, max_tokens=40, temperature=0.0, samples=1,
            chance={"acc": 1 / len(one.choices)}, tags={"topic": one.topic},
        )
        for one in data[FILES[0]]
    ]  # fmt: skip


def grade(item: Ask, answer: Said, means: Means) -> Graded:
    choices = item.reference["choices"]
    picked, p = chosen(answer.text, LETTERS[: len(choices)], choices), stated(answer.text)
    whole = picked is not None and p is not None
    figures, facts = {"stated": float(whole)}, {"picked": picked, "said": p}
    if picked is None:
        return Graded(figures, facts)
    y = float(picked == item.reference["answer"])
    figures["acc"] = y
    if p is None:
        return Graded(figures, facts)
    return Graded(figures | plain_figures(p, y), {**facts, "sure": {"p": p, "y": y}})
