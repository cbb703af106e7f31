"""Dockerfiles and workflows of GitHub Actions that a model writes: are they well formed, and do they hold what was asked?"""

from __future__ import annotations

import re

from solon.core.records import user
from solon.evals.asking import Ask, Card, Data, Graded, Means, Room, Said
from solon.evals.code import FENCE
from solon.evals.configs import dockerfile, workflow

VERSION = 1
FILES = ("starter:configs",)
CARD = Card(
    title="Dockerfiles and CI workflows, own",
    source="written for Solon (starter/configs.md)",
    licence="Apache-2.0",
    split="all 24 tasks: 12 Dockerfiles, 12 workflows of GitHub Actions",
    asked="the task by the chat template, greedy, 384 tokens; the first fenced block, else the whole reply, is the file",
    scored="met: well formed and each thing asked for is there; valid: a parser reads it and it keeps the rules of its reference "
    "(`evals.configs`). Nothing is built or run",
    figures={"met": "well formed and as asked", "valid": "well formed"},
    domain="coding",
    slices=("kind",),
)
CHECKS = {"dockerfile": dockerfile, "workflow": workflow}


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    form = "\n\nReply with the file in one fenced block."
    return [
        Ask(
            id=one.id,
            prompt=user(one.prompt[-1].content + form),
            reference=one.reference,
            max_tokens=384,
            chance={"met": 0.0, "valid": 0.0},
            tags={"kind": one.tags["kind"]},
        )
        for one in data[FILES[0]]
    ]


def grade(item: Ask, answer: Said, means: Means) -> Graded:
    graded = [_graded(item, draw[-1]) for draw in answer.draws]
    valid = [not wrong for wrong, _ in graded]
    met = [not wrong and not absent for wrong, absent in graded]
    figures = {"met": sum(met) / len(met), "valid": sum(valid) / len(valid)}
    return Graded(figures, {"wrong": [wrong for wrong, _ in graded], "absent": [absent for _, absent in graded]})


def _graded(item: Ask, reply: str) -> tuple[list[str], list[str]]:
    """What is wrong with the file, and which patterns of the task it lacks."""
    blocks = FENCE.findall(reply)
    text = blocks[0][1] if blocks else reply
    wanted = [one for one in item.reference["wants"] if not re.search(one, text, re.MULTILINE | re.IGNORECASE)]
    return CHECKS[item.tags["kind"]](text), wanted
