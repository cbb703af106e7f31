"""Programs of our own: every reference solution passes its hidden tests in the sandbox, every wrong one fails."""

from __future__ import annotations

from datetime import date

import pytest

from solon.curate import starter
from solon.evals.asking import Means, Room, Said
from solon.evals.code import checked
from solon.evals.suites import dated_programs, frameworks
from solon.tools.sandbox import available, run_many

ROOM = Room(512, len)
needs_sandbox = pytest.mark.skipif(bool(available()), reason=f"no sandbox here: {available()}")


@needs_sandbox
@pytest.mark.parametrize("name", ["dated_programs", "framework_programs"])
def test_solutions_pass_and_wrong_ones_fail(name):
    rows = [one.reference for one in starter.load(name)]
    for key, want in (("solution", "passed"), ("wrong", "failed")):
        outcomes = run_many([checked(row[key], row["tests"]) for row in rows])
        assert {one.status for one in outcomes} == {want}, [(one.detail, row[key]) for one, row in zip(outcomes, rows, strict=True) if one.status != want]


def test_problems_are_dated_and_tests_stay_hidden():
    rows = starter.load("dated_programs")
    items = dated_programs.items({dated_programs.FILES[0]: rows}, 0, ROOM)
    assert len(items) >= 24
    for item in items:
        assert date.fromisoformat(item.tags["written"]) >= date(2026, 11, 21)
        assert "assert" not in item.prompt[-1].content and "assert" in item.reference["tests"]


def test_the_first_python_block_is_the_answer():
    (item, *_) = dated_programs.items({dated_programs.FILES[0]: starter.load("dated_programs")}, 0, ROOM)
    ran = []
    reply = "Here:\n```python\nx = 1\n```\nand ```\ny = 2\n```"
    graded = dated_programs.grade(item, Said(((reply,),)), Means(run=lambda program: ran.append(program) or "passed"))
    assert graded.figures == {"parses": 1.0, "pass@1": 1.0} and ran == [checked("x = 1\n", item.reference["tests"])]


def test_frameworks_are_slices():
    items = frameworks.items({frameworks.FILES[0]: starter.load("framework_programs")}, 0, ROOM)
    named = [item.tags["framework"] for item in items]
    assert len(items) >= 12 and {named.count(one) for one in named} == {3} and frameworks.CARD.slices == ("framework",)
    assert all(item.tags["framework"] in item.prompt[-1].content.lower() for item in items)
