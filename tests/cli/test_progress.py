"""Progress: plain lines where there is no terminal, a bar where there is one, and never what users wrote."""

from __future__ import annotations

import io
import signal
import subprocess
import sys

import pytest

from solon.cli.progress import Progress, _Pace
from solon.cli.show import clean, clock, size


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_lines_without_a_terminal():
    out, now = io.StringIO(), Clock()
    progress = Progress(out, now)
    with progress.stage("revise"), progress.task("round 1", 1000, "tok") as advance:
        for _ in range(10):
            now.time += 5
            advance(100, "loss 2.31")
    assert out.getvalue().splitlines() == [
        "revise",
        "  round 1: 30 %, 20 tok/s, 35 s left, loss 2.31",
        "  round 1: 60 %, 20 tok/s, 20 s left, loss 2.31",
        "  round 1: 90 %, 20 tok/s, 5.0 s left, loss 2.31",
        "  round 1: 1,000 tok in 50 s, 20 tok/s, loss 2.31",
        "revise: done in 50 s",
    ]


def test_a_failure_ends_what_was_shown():
    out = io.StringIO()
    progress = Progress(out, Clock())
    with pytest.raises(ValueError), progress.stage("a"), progress.stage("b"), progress.task("t", 3):
        raise ValueError
    assert "stopped after" in out.getvalue() and progress.depth == 0


def test_bar_on_a_terminal_leaves_a_line():
    out = Terminal()
    progress = Progress(out)
    with progress.stage("sft"), progress.task("steps", 2, "tok") as outer:
        outer(1)
        with progress.task("inner", 0) as inner:
            inner(5, "loss 1.0")
        outer(1)
    text = out.getvalue()
    assert "sft: done" in text and "steps: 2 tok in" in text and "inner: 5 items" in text and progress._live is None


def test_notes_are_short_and_cannot_steer_the_terminal():
    out, now = io.StringIO(), Clock()
    with Progress(out, now).task("t", 2) as advance:
        now.time = 1
        advance(1, "\x1b[31m" + "x" * 500)
    assert "\x1b" not in out.getvalue() and len(out.getvalue()) < 120


def test_figures():
    assert [clock(s) for s in (0.44, 41, 187, 3753)] == ["0.4 s", "41 s", "3:07", "1:02:33"]
    assert [size(134_515_008), size(98_362_432, "B"), size(12), size(8.5e9)] == ["134.5M", "98.4 MB", "12", "8.5B"]
    assert clean("a\x1b]0;x\x07\n👩‍👩 é") == "a\ufffd]0;x\ufffd\n👩‍👩 é"


def test_what_a_stopped_call_did_counts_but_is_not_timed() -> None:
    now = Clock()
    pace = _Pace(100, "tok", now)
    pace.add(40, "", before=True)
    assert pace.figures() == "" and pace.percent() == "40 %, "
    now.time = 5.0
    pace.add(20, "")
    assert pace.percent() == "60 %, " and pace.rate() == 4.0 and "10 s left" in pace.figures()
    assert pace.summary().startswith("20 tok in ")


def test_a_swallowed_interrupt_is_raised_again(monkeypatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = signal.getsignal(signal.SIGINT)
    progress = Progress(io.StringIO(), Clock())
    try:
        progress.listen()
        with pytest.raises(KeyboardInterrupt), progress.task("t", 2) as advance:
            advance(1)
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                pass  # as a library's callback does
            advance(1)
        with progress.task("t", 1) as advance:  # it is raised once
            advance(1)
    finally:
        signal.signal(signal.SIGINT, before)


IN_A_COLLECTION = """
import gc, io, signal, sys
from solon.cli.progress import Progress
progress = Progress(io.StringIO())
progress.listen()
strike = lambda *_: signal.raise_signal(signal.SIGINT)
gc.callbacks.append(strike)
gc.collect(0)
gc.callbacks.remove(strike)
try:
    with progress.stage("next"):
        sys.exit("not heard")
except KeyboardInterrupt:
    print("heard")
class Broken:
    def __del__(self):
        raise ValueError("still told")
broken = Broken()
del broken
"""


def test_a_control_c_that_falls_into_a_collection_shows_no_traceback():
    done = subprocess.run([sys.executable, "-c", IN_A_COLLECTION], capture_output=True, text=True)
    assert done.stdout == "heard\n", done.stderr
    assert "KeyboardInterrupt" not in done.stderr
    assert "ValueError: still told" in done.stderr  # what else is dropped is told as ever
