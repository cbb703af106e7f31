"""Programs that a model wrote: are they Python, and do they pass their tests in a sandbox that is handed in?"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence

from solon.evals.asking import Graded, Means
from solon.evals.code import checked, pass_at


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
