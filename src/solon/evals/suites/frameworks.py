"""Code for given frameworks, a slice each: sqlite3, argparse, unittest and logging, which every Python has; tests decide, in the
sandbox."""

from __future__ import annotations

from solon.evals.asking import Ask, Card, Data, Room
from solon.evals.programs import asked, graded_fenced

VERSION = 1
NEEDS = ("run",)
FILES = ("starter:framework_programs",)
CARD = Card(
    title="Programs for four frameworks, own",
    source="written for Solon (starter/framework_programs.md)",
    licence="Apache-2.0",
    split="all 12 problems, three a framework; only those of the standard library, since the sandbox has no packages",
    asked="the problem by the chat template, its tests unseen; greedy, 512 tokens; the first Python block is the answer",
    scored="pass@1: all hidden tests pass in the sandbox (with n draws a problem, pass@k without bias); parses: the program is Python",
    figures={"pass@1": "hidden tests pass", "parses": "is Python"},
    domain="coding",
    slices=("framework",),
)
grade = graded_fenced


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    return [asked(one, "framework") for one in data[FILES[0]]]
