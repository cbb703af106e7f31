"""Repair of a repository in SWE-bench's form: a patch is put on its files, then the tests that failed must pass and those that
passed must still pass (Jimenez et al. 2023, arXiv 2310.06770). The programs made here are for the sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from solon.core.errors import DataError
from solon.evals.code import FENCE, checked
from solon.evals.patches import patched

SETUP = """
import os, sys
for path, text in {files!r}.items():
    if os.path.dirname(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
sys.path.insert(0, os.getcwd())
"""
CALL = """
import importlib.util as _util
def _call(path, name):
    spec = _util.spec_from_file_location(path.replace("/", "_")[:-3], path)
    module = _util.module_from_spec(spec)
    spec.loader.exec_module(module)
    getattr(module, name)()
for _path, _name in {tests!r}:
    _call(_path, _name)
"""


@dataclass(frozen=True)
class Repair:
    """One task. `files` is the repository before (path -> text); tests are named `tests/test_x.py::test_y`."""

    id: str
    files: Mapping[str, str]
    patch: str
    test_patch: str
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]


def repair(row: Mapping[str, Any]) -> Repair:
    """A task from a row with SWE-bench's field names; `files` stands for `repo` at `base_commit`. Lists of tests may be
    lists or, as in the published rows, JSON texts. Raises `DataError` where a field is missing or of the wrong kind."""
    for name, kind in (("instance_id", str), ("files", dict), ("patch", str), ("test_patch", str)):
        if not isinstance(row.get(name), kind):
            raise DataError(f"a repair task has no {name!r}", got=type(row.get(name)).__name__, expected=kind.__name__)
    before, after = (_tests(row, name) for name in ("FAIL_TO_PASS", "PASS_TO_PASS"))
    if not before:
        raise DataError("a repair task has no test that fails before the repair", got=row["instance_id"], expected="FAIL_TO_PASS")
    return Repair(row["instance_id"], row["files"], row["patch"], row["test_patch"], before, after)


def _tests(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = row.get(name)
    try:
        found = json.loads(found) if isinstance(found, str) else found
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) and one.count(".py::") == 1 for one in found):
        raise DataError(f"{name} of {row.get('instance_id')} is no list of tests", got=row.get(name), expected='["tests/test_x.py::test_y"]')
    return tuple(found)


def patch_of(reply: str) -> str:
    """The diff in a reply: its first fenced block that is one, else the reply as it stands."""
    blocks = [body for _, body in FENCE.findall(reply) if "--- " in body]
    return blocks[0] if blocks else reply


def mended(task: Repair, patch: str) -> dict[str, str]:
    """The repository with a model's patch and then the task's tests, whose files are the task's whatever the model did to
    them. Raises `DataError` where the patch does not fit or names a place outside."""
    tested = patched(task.files, task.test_patch)
    tests = {path: text for path, text in tested.items() if task.files.get(path) != text or path.startswith("tests/")}
    files = {**patched(task.files, patch), **tests}
    for path in files:
        if path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise DataError("a patch reaches outside the repository", got=repr(path), expected="a relative path without ..")
    return files


def program(files: Mapping[str, str], tests: tuple[str, ...]) -> str:
    """A program that writes the files and calls each test function; it ends with 0 only if all passed."""
    named = [tuple(test.split("::")) for test in tests]
    return checked(SETUP.format(files=dict(files)), CALL.format(tests=named))
