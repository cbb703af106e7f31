"""HumanEval (Chen et al. 2021): finish a function from its head and docstring; its own tests decide, in the sandbox."""

from __future__ import annotations

from solon.evals.asking import Ask, Card, Data, Graded, Means, Room, Said
from solon.evals.programs import graded_programs

VERSION = 1
NEEDS = ("run",)
FILES = ("humaneval/HumanEval_even.jsonl.gz",)
CARD = Card(
    title="HumanEval, even tasks",
    source="Chen et al. 2021, arXiv 2107.03374",
    licence="MIT",
    split="even task numbers (82 of 164)",
    asked="the prompt itself, gone on with; greedy, 512 tokens, cut at a new top-level statement",
    scored="pass@1: the authors' tests pass in the sandbox (with n draws a task, pass@k without bias); parses: the "
    "program is Python",
    figures={"pass@1": "tests pass", "parses": "is Python"},
    domain="coding",
    targets={"pass@1": 0.99},
)
STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    return [
        Ask(
            id=row["task_id"],
            prompt=row["prompt"],
            reference={"head": row["prompt"], "test": f"{row['test']}\ncheck({row['entry_point']})"},
            max_tokens=512,
            stop=STOP,
            chance={"pass@1": 0.0},
        )
        for row in data[FILES[0]]
    ]


def grade(item: Ask, answer: Said, means: Means) -> Graded:
    head = item.reference["head"]
    return graded_programs([head + draw[-1] for draw in answer.draws], item.reference["test"], means)
