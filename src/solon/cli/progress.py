"""What a run is doing: stage, bar, rate and time left on a terminal; a line now and then in a log.

Notes come from the stages and hold figures (a loss, a count). Prompts, replies and keys are never given to it.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from solon.cli.show import clock

PAUSE = 15.0  # seconds between two lines of one task where there is no terminal
NOTE = 48


class Progress:
    """The terminal's form of `solon.core.artifacts.Silent`."""

    def __init__(self, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic):
        self._stopped = False
        self.stream = stream or sys.stderr
        self.now = now
        self.depth = 0
        self._live: Any = None

    def listen(self) -> None:
        """Python drops a Ctrl-C that falls into a finaliser or a callback of a library, with a traceback that helps
        nobody. From here on it is also written down, and whatever is shown next raises it again."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._stop)
            sys.unraisablehook = self._dropped

    def _stop(self, *_: Any) -> None:
        self._stopped = True
        raise KeyboardInterrupt

    def _dropped(self, what: sys.UnraisableHookArgs) -> None:
        if not (self._stopped and isinstance(what.exc_value, KeyboardInterrupt)):
            sys.__unraisablehook__(what)

    def _go_on(self) -> None:
        if self._stopped:
            self._stopped = False
            raise KeyboardInterrupt

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One stage of a recipe; says how long it took."""
        self._go_on()
        begin = self.now()
        self._say("  " * self.depth + name)
        self.depth += 1
        try:
            yield
        except BaseException:
            self._say("  " * (self.depth - 1) + f"{name}: stopped after {clock(self.now() - begin)}")
            raise
        else:
            self._say("  " * (self.depth - 1) + f"{name}: done in {clock(self.now() - begin)}")
        finally:
            self.depth -= 1

    @contextmanager
    def task(self, name: str, total: float, unit: str = "") -> Iterator[Callable[..., None]]:
        """A countable part of a stage. Gives `advance(by, note, before)`; `by` counts in `unit`, and what a stopped call did
        `before` is counted but not timed."""
        show = self._bar if self.stream.isatty() else self._lines
        with show("  " * self.depth + name, total, unit) as advance:
            yield advance

    def _say(self, line: str) -> None:
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            self.stream.write(line + "\n")
            self.stream.flush()

    @contextmanager
    def _bar(self, name: str, total: float, unit: str) -> Iterator[Callable[..., None]]:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        own = self._live is None
        if own:
            columns = (
                TextColumn("{task.description}", markup=False), BarColumn(bar_width=28),
                TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.fields[figures]}", markup=False),
            )  # fmt: skip
            self._live = Bars(*columns, console=Console(file=self.stream), transient=True)
            self._live.start()
        bars, pace = self._live, _Pace(total, unit, self.now)
        line = bars.add_task(name, total=total or None, figures="")

        def advance(by: float = 1, note: str = "", before: bool = False) -> None:
            self._go_on()
            pace.add(by, note, before)
            bars.update(line, completed=pace.done, figures=pace.figures())

        try:
            yield advance
        finally:
            bars.remove_task(line)
            if own:
                bars.stop()
                self._live = None
            self._say(f"{name}: {pace.summary()}")

    @contextmanager
    def _lines(self, name: str, total: float, unit: str) -> Iterator[Callable[..., None]]:
        pace, last = _Pace(total, unit, self.now), self.now()

        def advance(by: float = 1, note: str = "", before: bool = False) -> None:
            nonlocal last
            self._go_on()
            pace.add(by, note, before)
            if self.now() - last >= PAUSE:
                last = self.now()
                self._say(f"{name}: {pace.percent()}{pace.figures()}")

        try:
            yield advance
        finally:
            self._say(f"{name}: {pace.summary()}")


class _Pace:
    """How much is done, how fast it goes, and how long the rest will take."""

    def __init__(self, total: float, unit: str, now: Callable[[], float]):
        self.total, self.unit, self.now = total, unit, now
        self.done, self.before, self.note, self.begin = 0.0, 0.0, "", now()

    def add(self, by: float, note: str, before: bool = False) -> None:
        self.done += by
        self.before += by * before
        if note:
            self.note = "".join(c for c in note if c.isprintable())[:NOTE]

    def rate(self) -> float:
        return (self.done - self.before) / max(self.now() - self.begin, 1e-9)

    def percent(self) -> str:
        return f"{100 * self.done / self.total:.0f} %, " if self.total else ""

    def speed(self) -> str:
        rate = self.rate()
        return f"{rate:,.0f} {self.unit or 'items'}/s" if rate >= 10 else f"{rate:.2g} {self.unit or 'items'}/s"

    def figures(self) -> str:
        """Rate, time left and the stage's own figures."""
        if self.done == self.before:
            return ""
        parts = [self.speed()]
        if self.total > self.done:
            parts.append(f"{clock((self.total - self.done) / self.rate())} left")
        return ", ".join([*parts, *([self.note] if self.note else [])])

    def summary(self) -> str:
        """The line that stays when the task is over."""
        spent = clock(self.now() - self.begin)
        if not self.done:
            return f"nothing to do ({spent})"
        if self.done == self.before:
            return f"{self.done:,.0f} {self.unit or 'items'}, all done before"
        parts = [f"{self.done - self.before:,.0f} {self.unit or 'items'} in {spent}", self.speed()]
        return ", ".join([*parts, *([self.note] if self.note else [])])
