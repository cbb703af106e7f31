"""Short creative writing under a form: poems, tales and dialogues of which a program can see whether they keep what was asked."""

from __future__ import annotations

from solon.core.records import user
from solon.evals.asking import Ask, Card, Data, Graded, Means, Room, Said
from solon.evals.completion import fulfilled

VERSION = 1
FILES = ("starter:creative",)
CARD = Card(
    title="Creative writing under a form, own",
    source="written for Solon (starter/creative.md)",
    licence="Apache-2.0",
    split="all 12 tasks",
    asked="the task by the chat template, greedy, 160 tokens",
    scored="kept: every check of the task's form and words holds (`evals.completion`). Whether the text is any good is not seen; "
    "`mt_bench` with a judge asks that",
    figures={"kept": "all that was asked for is kept"},
    domain="writing",
)


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    return [
        Ask(id=one.id, prompt=user(one.prompt[-1].content), reference=one.reference, max_tokens=160)
        for one in data[FILES[0]]
    ]


def grade(item: Ask, answer: Said, means: Means) -> Graded:
    kept = [all(fulfilled(draw[-1], item.reference["checks"])) for draw in answer.draws]
    return Graded({"kept": sum(kept) / len(kept)})
