"""Repairs: patches as the system's own `patch` puts them, tests that decide in the sandbox, and a reader of SWE-bench's form."""

from __future__ import annotations

import difflib
import json
import random
import shutil
import subprocess

import pytest

from solon.core.errors import DataError
from solon.curate import starter
from solon.evals.asking import Means, Room, Said
from solon.evals.patches import patched
from solon.evals.repairs import mended, patch_of, program, repair
from solon.evals.suites import repairs
from solon.tools.sandbox import available, run, run_many

needs_sandbox = pytest.mark.skipif(bool(available()), reason=f"no sandbox here: {available()}")
ROWS = starter.load("repairs")
ITEMS = repairs.items({repairs.FILES[0]: ROWS}, 0, Room(512, len))
SANDBOX = Means(run=lambda text: run(text).status)


@needs_sandbox
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_tests_fail_before_and_pass_after(row):
    task = repair({"instance_id": row.id, **row.reference})
    before = patched(task.files, task.test_patch)
    named = [*task.fail_to_pass, *task.pass_to_pass]
    alone = run_many([program(before, (name,)) for name in named])
    assert [one.status for one in alone] == ["failed"] * len(task.fail_to_pass) + ["passed"] * len(task.pass_to_pass)
    (item,) = [item for item in ITEMS if item.id == row.id]
    right, wrong = (repairs.grade(item, Said(((f"So:\n```diff\n{row.reference[key]}```",),)), SANDBOX) for key in ("patch", "wrong"))
    assert right.figures == {"resolved": 1.0, "applies": 1.0} and right.facts["statuses"] == ["passed"]
    assert wrong.figures == {"resolved": 0.0, "applies": 1.0}


@needs_sandbox
def test_a_patch_cannot_change_the_tests_or_leave_early():
    task = ITEMS[0].reference
    sly = {path: "def test_nearest_penny(): pass\ndef test_halves_go_up(): pass\n" for path in task.files if path.startswith("tests/")}
    ended = {"basket/__init__.py": "import os\nos._exit(0)\n"}
    for files in (sly, ended):
        diff = "".join(
            line for path, text in files.items()
            for line in difflib.unified_diff(task.files[path].splitlines(True), text.splitlines(True), f"a/{path}", f"b/{path}")
        )  # fmt: skip
        assert repairs.status(task, diff, SANDBOX) == "failed"


def test_what_is_asked_shows_the_files_but_no_hidden_test():
    assert len(ITEMS) >= 6
    for item in ITEMS:
        text = item.prompt[-1].content
        assert all(one in text for one in item.reference.files.values())
        assert not any(name.split("::")[1] in text for name in item.reference.fail_to_pass)


@pytest.mark.skipif(shutil.which("patch") is None, reason="there is no program patch here")
@pytest.mark.parametrize("seed", range(12))
def test_patches_as_patch_puts_them(tmp_path, seed):
    """Random edits of a random text with many equal lines; the reference is the system's own program."""
    draw = random.Random(seed)
    old = [f"line {draw.randrange(12)}" for _ in range(60)]
    new = [line for line in old if draw.random() > 0.1]
    for _ in range(6):
        new.insert(draw.randrange(len(new)), f"new {draw.randrange(99)}")
    texts = ["\n".join(lines) + "\n" for lines in (old, new)]
    diff = "".join(difflib.unified_diff(*(text.splitlines(True) for text in texts), "a/x.txt", "b/x.txt", n=draw.randrange(4)))
    (tmp_path / "x.txt").write_text(texts[0])
    subprocess.run(["patch", "-p1", "-s"], cwd=tmp_path, input=diff, text=True, check=True)
    found = patched({"x.txt": texts[0], "y": "kept"}, diff)
    assert found == {"x.txt": (tmp_path / "x.txt").read_text(), "y": "kept"} and found["x.txt"] == texts[1]


def test_patches_with_wrong_counts_new_and_deleted_files():
    files = {"a.py": "one\ntwo\nthree\n"}
    assert patched(files, "--- a/a.py\n+++ b/a.py\n@@ -40,9 +1,1 @@\n one\n-two\n+2\n") == {"a.py": "one\n2\nthree\n"}
    made = patched(files, "diff --git a/b.py b/b.py\nnew file\n--- /dev/null\n+++ b/b.py\n@@ -0,0 +1,2 @@\n+x\n+y\n")
    assert made == {**files, "b.py": "x\ny\n"}
    assert patched(made, "--- a/b.py\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-x\n-y\n") == files


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ("", "no unified diff"), ("Change two to 2.", "no unified diff"), ("--- a/z.py\n+++ b/z.py\n@@ -1 +1 @@\n-x\n+y", "does not exist"),
        ("--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-four\n+4", "does not fit"),
    ],
)  # fmt: skip
def test_what_is_no_patch_is_refused(patch, said):
    with pytest.raises(DataError, match=said):
        patched({"a.py": "one\ntwo\n"}, patch)


def test_a_patch_stays_in_the_repository():
    task = ITEMS[0].reference
    for path in ("../out.py", "/out.py", "x/../../out.py"):
        with pytest.raises(DataError, match="outside"):
            mended(task, f"--- /dev/null\n+++ {path}\n@@ -0,0 +1 @@\n+x")
    graded = repairs.grade(ITEMS[0], Said((("no idea",), (ROWS[0].reference["patch"],))), Means())
    assert graded.figures == {"applies": 0.5} and "not run" in graded.missing


def test_rows_in_the_published_form_are_read():
    row = {"instance_id": ROWS[0].id, **ROWS[0].reference}
    texts = {**row, "FAIL_TO_PASS": json.dumps(row["FAIL_TO_PASS"]), "PASS_TO_PASS": json.dumps(row["PASS_TO_PASS"])}
    assert repair(texts) == repair(row)
    for wrong, said in (({"FAIL_TO_PASS": "[]"}, "no test that fails"), ({"FAIL_TO_PASS": "["}, "no list"), ({"files": None}, "no 'files'"), ({"PASS_TO_PASS": ["x"]}, "no list")):
        with pytest.raises(DataError, match=said):
            repair({**row, **wrong})
    assert patch_of("```python\nx\n```\n```\n--- a\n+++ b\n```") == "--- a\n+++ b\n"
