"""A/A comparisons, few of each: `benchmarks/aa_runs.py` runs thousands."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "aa_runs.py"
if not PATH.is_file():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
spec = importlib.util.spec_from_file_location("aa_runs", PATH)
aa = importlib.util.module_from_spec(spec)
__import__("sys").modules["aa_runs"] = aa  # dataclasses look their module up
spec.loader.exec_module(aa)
TRIALS = 80


@pytest.mark.parametrize("case", aa.cases(), ids=lambda case: case.name)
def test_no_difference_is_rarely_found(case):
    found = aa.run(case, TRIALS if "20" not in case.name else 25)
    assert found.verdict in ("as expected", "wrong, as expected"), found
