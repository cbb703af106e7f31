"""How a program takes part in a timed comparison: it says that it is ready, waits for its turn, works, and says how long it took.

The coordinator (`benchmarks/peers.py`) lets two programs take strict turns, so both are measured in one window of time and
only one of them works at any moment. Lines that begin with `@` are the protocol, anything else on standard output is
passed over. Nothing but the standard library is imported here: both sides and both environments use this file.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Turns:
    """One program's side. Every `take` is followed by one `give`; the first round is the warm-up."""

    def __init__(self) -> None:
        self.begun = 0.0

    def take(self) -> None:
        """Wait for the turn, then start the clock."""
        _say("ready", {})
        if not sys.stdin.readline():
            raise SystemExit("the coordinator is gone")
        self.begun = time.perf_counter()

    def give(self, **facts: Any) -> None:
        """Stop the clock. `seconds` may be given where only a part of the turn counts."""
        _say("done", {"seconds": time.perf_counter() - self.begun, **facts})

    def rounds(self, count: int, work: Callable[[int], dict[str, Any] | None]) -> None:
        """The warm-up and `count` rounds of `work(round)`, which may give facts."""
        for number in range(count + 1):
            self.take()
            self.give(**(work(number) or {}))

    def end(self, **facts: Any) -> None:
        """The last word: the peak of this process's memory, and whatever else is to be known of the run."""
        _say("end", {"peak_mb": peak_mb(), **facts})


def peak_mb() -> float:
    """The most memory that this process ever held (VmHWM), MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def _say(word: str, facts: dict[str, Any]) -> None:
    sys.__stdout__.write(f"@{word} {json.dumps(facts)}\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]
