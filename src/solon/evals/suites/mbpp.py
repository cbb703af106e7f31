"""MBPP (Austin et al. 2021): write a small Python function from one sentence and three tests, in the sandbox."""

from __future__ import annotations

from solon.evals.asking import Ask, Card, Data, Graded, Means, Record, Room, Said
from solon.evals.programs import graded_programs

VERSION = 1
NEEDS = ("run",)
FILES = ("mbpp/mbpp_train_val_prompt.jsonl.gz",)
SHOWN = (2, 3, 4)
"""The tasks that the authors show as examples."""
CARD = Card(
    title="MBPP, training and validation rows",
    source="Austin et al. 2021, arXiv 2108.07732",
    licence="CC BY 4.0",
    split="tasks 511 to 974 (the test rows, 11 to 510, are held out); tasks 2, 3 and 4 are shown",
    asked="the authors' prompt with three worked tasks, greedy, 256 tokens, cut at `[DONE]`",
    scored="pass@1: all tests of the task pass in the sandbox (with n draws a task, pass@k without bias); parses: the "
    "program is Python",
    figures={"pass@1": "tests pass", "parses": "is Python"},
    domain="coding",
    targets={"pass@1": 0.98},
)


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    by_id = {int(row["task_id"]): row for row in data[FILES[0]]}
    head = "".join(f"{question(by_id[id])}{by_id[id]['code']}\n[DONE]\n\n" for id in SHOWN)
    return [
        Ask(
            id=f"mbpp/{id}",
            prompt=head + question(row),
            reference={"test": "\n".join(filter(None, [row.get("test_setup_code", ""), *row["test_list"]]))},
            max_tokens=256,
            stop=("[DONE]",),
            chance={"pass@1": 0.0},
        )
        for id, row in by_id.items()
        if id > 10
    ]


def question(row: Record) -> str:
    tests = "\n".join(row["test_list"][:3])
    return f"You are an expert Python programmer, and here is your task: {row['text']} Your code should pass these tests:\n\n{tests}\n[BEGIN]\n"


def grade(item: Ask, answer: Said, means: Means) -> Graded:
    return graded_programs([draw[-1] for draw in answer.draws], item.reference["test"], means)
