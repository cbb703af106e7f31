"""Written programs as questions: from a problem and an answer to a program whose exit code is the verdict; pass@k.

HumanEval (Chen et al., arXiv 2107.03374) and MBPP (Austin et al., arXiv 2108.07732) in their own forms. Nothing is run
here: the programs are for the sandbox (`solon.tools.sandbox`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from solon.core.errors import DataError
from solon.evals.statistics import Figure, mean, proportion

FENCE = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)


def checked(answer: str, tests: str) -> str:
    """A program that runs `answer`, then `tests` in the same names, and exits with 0 only if both ran to their end.

    An answer that calls `exit(0)` or `os._exit(0)` fails. What is not caught is an answer that looks for the check's word
    in memory, or values that claim to equal everything.
    """
    return f"{_checking()}\n\ncheck({answer!r}, {tests!r})\n"


def humaneval(row: Mapping[str, Any], completion: str) -> str:
    """The program of a HumanEval row and what a model wrote after its prompt: a body, or the whole function anew."""
    prompt, test, entry = _texts(row, "prompt", "test", "entry_point")
    return checked(prompt + completion, f"{test}\ncheck({entry})")


def mbpp(row: Mapping[str, Any], answer: str) -> str:
    """The program of an MBPP row (either edition) and a model's answer; its set-up may use names of the answer."""
    tests = row.get("test_list")
    if not isinstance(tests, list) or not tests:
        raise DataError("a row of MBPP has no tests", got=sorted(row), expected="a list named test_list")
    return checked(answer, "\n".join([*row.get("test_imports", []), row.get("test_setup_code", ""), *tests]))


def code_of(reply: str) -> str:
    """The code in a chat reply: its first fenced block that is Python or says nothing, else all of it as it stands."""
    for language, body in FENCE.findall(reply):
        if language.lower() in ("", "python", "python3", "py"):
            return body
    return reply


def pass_at_k(tasks: Sequence[tuple[int, int]], k: int, name: str = "pass@k") -> Figure:
    """pass@k over tasks, each given as (draws, draws that passed); without bias (Chen et al. 2021, equation 1).

    The interval is over tasks: Wilson's where each had one draw, else bootstrap. Fewer than k draws are a `DataError`.
    """
    for draws, right in tasks:
        if not 0 <= right <= draws or not 1 <= k <= draws:
            raise DataError("pass@k needs at least k draws a task", got=f"{right} of {draws} passed, k {k}")
    if all(draws == 1 for draws, _ in tasks):
        return proportion([right for _, right in tasks])
    return mean([pass_at(k, draws, right) for draws, right in tasks], name=name)


def pass_at(k: int, n: int, right: int) -> float:
    """Chance that one of k draws, out of n of which `right` pass, passes: 1 - C(n - right, k) / C(n, k)."""
    return 1.0 if n - right < k else 1.0 - math.comb(n - right, k) / math.comb(n, k)


@cache
def _checking() -> str:
    return Path(__file__).with_name("_checking.py").read_text("utf-8")


def _texts(row: Mapping[str, Any], *names: str) -> list[str]:
    for name in names:
        if not isinstance(row.get(name), str):
            raise DataError(f"a row of HumanEval has no text {name!r}", got=sorted(row))
    return [row[name] for name in names]
