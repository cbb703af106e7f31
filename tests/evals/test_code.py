"""Programs of HumanEval and MBPP: right ones pass in the sandbox, wrong and sly ones do not; pass@k by closed forms."""

from __future__ import annotations

import gzip
import json
import math
import os
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solon.core.errors import DataError
from solon.evals.code import checked, code_of, humaneval, mbpp, pass_at, pass_at_k
from solon.evals.statistics import mean
from solon.tools.sandbox import Limits, available, calibrate, run, run_many

needs_sandbox = pytest.mark.skipif(bool(available()), reason=f"no sandbox here: {available()}")
DATA = Path(os.environ.get("SOLON_DATA", "/nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="SOLON_DATA names no folder of data sets")

DOUBLE = {
    "task_id": "HumanEval/x", "prompt": 'def double(x):\n    """ Twice x. """\n', "entry_point": "double",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 6\n",
}  # fmt: skip
ANSWERS = {
    "    return 2 * x\n": "passed",
    "def double(x):\n    return x + x\n": "passed",
    "    print('noise')\n    return 2 * x\n": "passed",
    "    return x ** 2\n": "failed",
    "    return\n": "failed",
    "    return 2 *\n": "failed",
    "    while True: pass\n": "timeout",
    "    return 'x' * (1 << 40)\n": "memory",
    "    import socket; socket.socket()\n": "forbidden",
    "    import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)\n": "forbidden",
    # Out before the tests are through, with the exit code of a program that passed.
    "    raise SystemExit\n": "failed",
    "    exit(0)\n": "failed",
    "    import os; os._exit(0)\n": "failed",
    "    return 2 * x\nimport os; os._exit(0)\n": "failed",
    "    import os; os.fork(); os._exit(0)\n": "failed",
    "    import sys; sys.stdout.close(); sys.stdout = None; return 0\n": "failed",
}


def rows(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return json.load(file) if name.endswith(".json.gz") else [json.loads(line) for line in file]


def programs(right: bool) -> list[str]:
    """Every problem with its authors' solution, or with one that is always wrong."""
    made = [
        humaneval(row, row["canonical_solution"] if right else "    return ...\n")
        for row in rows("humaneval/HumanEval_even.jsonl.gz")
    ]
    for name in ("mbpp/mbpp_train_val_prompt.jsonl.gz", "mbpp/sanitized-mbpp_train_val_prompt.json.gz"):
        made += [mbpp(row, row["code"] if right else "def answer(*rest): return ...") for row in rows(name)]
    return made


@needs_sandbox
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_gets_its_verdict(answer: str):
    outcome = run(humaneval(DOUBLE, answer), Limits(seconds=3, cpu_seconds=1))
    assert outcome.status == ANSWERS[answer], outcome


@needs_sandbox
def test_an_error_names_its_place():
    outcome = run(checked("def f():\n    return 1 / 0\n", "\nf()"))
    assert 'File "tests.py", line 2' in outcome.stderr and 'File "answer.py", line 2' in outcome.stderr
    assert outcome.detail == "ZeroDivisionError: division by zero"


@needs_sandbox
def test_modules_that_look_at_the_program_find_it():
    answer = "from __future__ import annotations\nimport dataclasses, inspect\n"
    answer += "@dataclasses.dataclass\nclass P:\n    x: int\n"
    assert run(checked(answer, "assert P(1) == P(1) and 'x: int' in inspect.getsource(P)")).status == "passed"


@needs_sandbox
@needs_data
@pytest.mark.parametrize("right", [True, False])
def test_solutions_of_the_authors_pass_and_no_other(right: bool):
    some = programs(right)[::61]
    assert {outcome.status for outcome in run_many(some)} == {"passed" if right else "failed"}
    assert len(some) >= 12


@needs_sandbox
@needs_data
@pytest.mark.slow
def test_all_solutions_of_the_authors_pass_and_no_others():
    right, limits = programs(True), calibrate()
    bad = [
        (program[-300:], outcome)
        for program, outcome in zip(right, run_many(right, limits=limits))
        if outcome.status != "passed"
    ]
    assert bad == []
    assert len(right) >= 82 + 474 + 170
    assert {outcome.status for outcome in run_many(programs(False), limits=limits)} == {"failed"}


@pytest.mark.parametrize("draws", range(1, 7))
def test_pass_at_k_is_the_share_of_samples_with_a_hit(draws: int):
    """Brute force: of all ways to take k of the draws, the share with at least one that passed."""
    for right in range(draws + 1):
        for k in range(1, draws + 1):
            hits = [any(place < right for place in taken) for taken in combinations(range(draws), k)]
            assert pass_at_k([(draws, right)], k).value == pytest.approx(float(Fraction(sum(hits), len(hits))))


def test_pass_at_k_is_the_paper_s_product_for_many_draws():
    """The numerically stable product that the paper prints, over counts too large to enumerate."""
    tasks, k = [(200, right) for right in (0, 1, 7, 150, 199, 200)], 10
    by_product = [1.0 if n - c < k else 1.0 - float(np.prod(1.0 - k / np.arange(n - c + 1, n + 1))) for n, c in tasks]
    figure = pass_at_k(tasks, k)
    assert figure.value == pytest.approx(math.fsum(by_product) / len(tasks))
    assert figure.low < figure.value < figure.high and figure.n == 6


def test_pass_at_k_has_no_bias():
    """Over many runs of eight draws the mean is 1 - (1 - p)^k; plugging in the share of hits instead would be too low."""
    generator, k, n, p, runs = np.random.default_rng(5), 3, 8, 0.2, 20_000
    right = generator.binomial(n, p, size=runs)
    values = np.array([pass_at(k, n, int(count)) for count in right])
    true, error = 1 - (1 - p) ** k, values.std() / math.sqrt(runs)
    assert abs(values.mean() - true) < 4 * error
    assert true - np.mean(1 - (1 - right / n) ** k) > 4 * error


def test_the_interval_is_over_tasks():
    tasks = [(4, n % 5) for n in range(40)]
    expected = mean([pass_at(2, draws, right) for draws, right in tasks], name="pass@2")
    assert pass_at_k(tasks, 2, name="pass@2") == expected and expected.low < expected.value < expected.high


def test_one_draw_a_task_is_a_plain_share():
    figure = pass_at_k([(1, 1), (1, 0), (1, 0), (1, 1), (1, 1)], 1)
    assert (figure.value, figure.n) == (0.6, 5) and figure.how.startswith("share, Wilson")


@pytest.mark.parametrize("task, k", [((3, 1), 4), ((3, 4), 1), ((0, 0), 1), ((3, 1), 0), ((3, -1), 1)])
def test_pass_at_k_refuses_too_few_draws(task: tuple[int, int], k: int):
    with pytest.raises(DataError, match="at least k"):
        pass_at_k([task], k)


@pytest.mark.parametrize(
    "reply, code",
    [
        ("Here:\n```python\nx = 1\n```\nThat is it.", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```bash\npip install x\n```\n```py\ny = 2\n```", "y = 2\n"),
        ("```python\nx = 1\nno end", "x = 1\nno end"),
        ("    return 2 * x", "    return 2 * x"),
    ],
)
def test_code_is_found_in_a_reply(reply: str, code: str):
    assert code_of(reply) == code


def test_rows_of_another_form_are_named():
    with pytest.raises(DataError, match="entry_point"):
        humaneval({"prompt": "x", "test": "y"}, "z")
    with pytest.raises(DataError, match="test_list"):
        mbpp({"text": "x"}, "z")
