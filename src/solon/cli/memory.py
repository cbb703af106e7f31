"""How the process takes memory from the system; it must be settled before the interpreter starts."""

from __future__ import annotations

import os
import sys

TUNABLE = "glibc.malloc.hugetlb"


def in_huge_pages() -> None:
    """Start the same command again with large blocks in pages of 2 MB, unless it already runs so.

    A step of training takes and gives back a gigabyte, and clearing it in pages of 4 kB is a tenth of the step (docs/log.md).
    glibc reads this setting only when a process begins; other systems go on as they are.
    """
    before = os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or TUNABLE in before:
        return
    tunables = ":".join(filter(None, (before, f"{TUNABLE}=1")))
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "GLIBC_TUNABLES": tunables})
