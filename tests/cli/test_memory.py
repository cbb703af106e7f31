"""Pages of 2 MB: the process starts again once, with the same arguments."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SHOW = "from solon.cli.memory import in_huge_pages; import os, sys; in_huge_pages(); print(os.getpid(), os.environ['GLIBC_TUNABLES'], sys.argv[1:])"


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
@pytest.mark.parametrize(("before", "after"), [("", "glibc.malloc.hugetlb=1"), ("glibc.malloc.check=1", "glibc.malloc.check=1:glibc.malloc.hugetlb=1")])  # fmt: skip
def test_the_same_process_goes_on_in_huge_pages(before: str, after: str) -> None:
    env = {**os.environ, "GLIBC_TUNABLES": before}
    child = subprocess.Popen([sys.executable, "-c", SHOW, "a b", "--c"], stdout=subprocess.PIPE, text=True, env=env)
    out, _ = child.communicate(timeout=60)
    assert out.strip() == f"{child.pid} {after} ['a b', '--c']"
