"""Repair of tiny repositories of our own in SWE-bench's form: the model writes a patch, tests decide in the sandbox."""

from __future__ import annotations

from solon.core.errors import DataError
from solon.core.records import user
from solon.evals.asking import Ask, Card, Data, Graded, Means, Room, Said
from solon.evals.code import pass_at
from solon.evals.repairs import Repair, mended, patch_of, program, repair

VERSION = 1
NEEDS = ("run",)
FILES = ("starter:repairs",)
CARD = Card(
    title="Repairs of tiny repositories, own",
    source="written for Solon (starter/repairs.md); SWE-bench's form (Jimenez et al. 2023, arXiv 2310.06770), and is not SWE-bench",
    licence="Apache-2.0",
    split="all 8 repositories",
    asked="the report and all files by the chat template, the tests unseen; a unified diff is wanted; greedy, 512 tokens",
    scored="resolved: the patch fits, all of FAIL_TO_PASS and of PASS_TO_PASS pass in the sandbox (with n draws, pass@1 without "
    "bias); applies: the patch fits",
    figures={"resolved": "all tests pass", "applies": "the patch fits"},
    domain="coding",
)
FORM = "Write a patch that mends it, as a unified diff in one fenced block:\n```diff\n--- a/FILE\n+++ b/FILE\n@@ -1,3 +1,3 @@\n...\n```"


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    made = []
    for one in data[FILES[0]]:
        task = repair({"instance_id": one.id, **one.reference})
        shown = "".join(f"\n\n`{path}`:\n```python\n{text}```" for path, text in sorted(task.files.items()))
        prompt = f"{one.prompt[-1].content}{shown}\n\n{FORM}"
        made.append(Ask(id=task.id, prompt=user(prompt), reference=task, max_tokens=512, chance={"resolved": 0.0}))
    return made


def grade(item: Ask, answer: Said, means: Means) -> Graded:
    patches = [patch_of(draw[-1]) for draw in answer.draws]
    statuses = [status(item.reference, patch, means) for patch in patches]
    figures = {"applies": sum(one != "does not fit" for one in statuses) / len(statuses)}
    if means.run is None:
        return Graded(figures, missing="not run: there is no sandbox here")
    if "sandbox_error" in statuses:  # the machine's fault, not the patch's
        return Graded(figures, {"statuses": statuses}, missing="not run: the sandbox failed")
    return Graded({"resolved": pass_at(1, len(statuses), statuses.count("passed")), **figures}, {"statuses": statuses})


def status(task: Repair, patch: str, means: Means) -> str:
    """`does not fit`, `not run`, `passed`, or how the first list of tests that did not pass ended."""
    try:
        files = mended(task, patch)
    except DataError:
        return "does not fit"
    if means.run is None:
        return "not run"
    first = means.run(program(files, task.fail_to_pass))
    return first if first != "passed" or not task.pass_to_pass else means.run(program(files, task.pass_to_pass))
