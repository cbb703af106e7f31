"""Programs that a model wrote: are they Python, and do they pass their tests in a sandbox that is handed in?"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence

from solon.core.records import Sample, user
from solon.evals.asking import Ask, Graded, Means, Said
from solon.evals.code import checked, code_of, pass_at

FENCED = "\n\nReply with the Python code in one fenced block."


def asked(one: Sample, *tags: str) -> Ask:
    """A problem of ours as it is asked, with those of its tags by which figures are sliced."""
    return Ask(
        id=one.id,
        prompt=user(one.prompt[-1].content + FENCED),
        reference=one.reference,
        max_tokens=512,
        chance={"pass@1": 0.0},
        tags={tag: one.tags[tag] for tag in tags},
    )


def graded_fenced(item: Ask, answer: Said, means: Means) -> Graded:
    """The first fenced block of each draw against the hidden tests."""
    return graded_programs([code_of(draw[-1]) for draw in answer.draws], item.reference["tests"], means)


def graded_programs(programs: Sequence[str], test: str, means: Means) -> Graded:
    """`parses` over all draws, and `pass@k` for k = 1, 10, 100 as far as there are draws.

    Without a sandbox the programs are never run: only `parses` is known, and the row says so."""
    parses = [is_python(program) for program in programs]
    figures: dict[str, float | list[float]] = {"parses": sum(parses) / len(parses)}
    if means.run is None:
        return Graded(figures, missing="not run: there is no sandbox here")
    statuses = [
        means.run(checked(program, test)) if ok else "not Python"
        for program, ok in zip(programs, parses, strict=True)
    ]
    if "sandbox_error" in statuses:  # the machine's fault, not the program's
        return Graded(figures, {"statuses": statuses}, missing="not run: the sandbox failed")
    right = statuses.count("passed")
    for k in (1, 10, 100):
        if k <= len(programs):
            figures[f"pass@{k}"] = pass_at(k, len(programs), right)
    return Graded(figures, {"statuses": statuses})


def is_python(program: str) -> bool:
    """Whether it can be parsed; nothing is run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of strings such as "\d"
            ast.parse(program)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True
