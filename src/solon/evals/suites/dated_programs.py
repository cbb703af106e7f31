"""Small programming problems of our own with the day on which each was written, so that a model can be asked only about those
that its training data cannot hold (`--since DATE`, `--until DATE`); hidden tests decide, in the sandbox."""

from __future__ import annotations

from solon.evals.asking import Ask, Card, Data, Room
from solon.evals.programs import asked, graded_fenced

VERSION = 1
NEEDS = ("run",)
FILES = ("starter:dated_programs",)
CARD = Card(
    title="Dated programming problems, own",
    source="written for Solon (starter/dated_programs.md); stands where LiveCodeBench would, and is not LiveCodeBench",
    licence="Apache-2.0",
    split="all 26 problems, or those written within the window",
    asked="the problem by the chat template, its tests unseen; greedy, 512 tokens; the first Python block is the answer",
    scored="pass@1: all hidden tests pass in the sandbox (with n draws a problem, pass@k without bias); parses: the program is Python",
    figures={"pass@1": "hidden tests pass", "parses": "is Python"},
    domain="coding",
    slices=("written",),
)
grade = graded_fenced


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    return [asked(one, "written") for one in data[FILES[0]]]
