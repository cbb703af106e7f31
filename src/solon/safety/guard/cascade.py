"""Tiers asked from the cheapest to the dearest until one is sure; whatever goes wrong on the way stops the text.

A tier that is there and fails (it raises, takes too long, or says something that is no score) stops the text: nobody knows
what it would have said. A tier that is missing from the beginning is passed over, and the last one that could be asked
decides doubtful texts by its strict threshold. Both are in the ruling.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solon.core.errors import ConfigError
from solon.core.records import Conversation
from solon.safety.guard.bands import Band
from solon.safety.guard.refusals import CATEGORIES
from solon.safety.guard.rulings import FAIL_CLOSED, Decision, Opinion, Step

Judge = Callable[[Conversation], Opinion | float]
"""How harmful a conversation's last turn is: a score from 0 to 1, with a refusal category where one is known."""
STUCK = 4
"""Calls of one tier that may hang at once. A thread cannot be killed, so later calls are refused instead of piling up."""


class Tier:
    """A judge with a name, a band and a time limit in seconds (None: it is waited for). Without a judge it is missing."""

    def __init__(self, name: str, band: Band, judge: Judge | None, limit_s: float | None = None):
        if limit_s is not None and not limit_s > 0:
            raise ConfigError("a time limit is a number of seconds above 0", got=limit_s)
        self.name, self.band, self.judge, self.limit_s = name, band, judge, limit_s
        self._hanging, self._lock = 0, threading.Lock()

    def ask(self, turns: Conversation) -> tuple[Step, str]:
        """The tier's step and the category that it names. Never raises an `Exception`."""
        begin = time.perf_counter()
        if self.judge is None:
            return Step(self.name, "missing", reason="not set up"), ""
        said, reason = self._within(self.judge, turns)
        ms = round(1000 * (time.perf_counter() - begin), 3)
        if reason:
            return Step(self.name, "failed", None, ms, reason), ""
        category = said.category if isinstance(said, Opinion) and said.category in CATEGORIES else ""
        score = said.score if isinstance(said, Opinion) else said
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score) or not 0 <= score <= 1:
            return Step(self.name, "failed", None, ms, "no score from 0 to 1"), ""
        return Step(self.name, self.band.outcome(float(score)), float(score), ms), category

    def _within(self, judge: Judge, turns: Conversation) -> tuple[Any, str]:
        """What the judge said, or why it said nothing. Only the kind of an error is kept: its words may quote the text."""
        if self.limit_s is None:
            return _call(judge, turns)
        with self._lock:
            if self._hanging >= STUCK:
                return None, "busy: earlier calls have not come back"
            self._hanging += 1
        box: list[tuple[Any, str]] = []
        done = threading.Event()

        def work() -> None:
            try:
                box.append(_call(judge, turns))
            finally:
                with self._lock:
                    self._hanging -= 1
                done.set()

        try:
            threading.Thread(target=work, daemon=True, name=f"guard-{self.name}").start()
        except RuntimeError:  # the system gives no more threads
            with self._lock:
                self._hanging -= 1
            return None, "RuntimeError"
        if not done.wait(self.limit_s):
            return None, f"timeout: more than {self.limit_s:g} s"
        return box[0] if box else (None, "the call was broken off")


def _call(judge: Judge, turns: Conversation) -> tuple[Any, str]:
    try:
        return judge(turns), ""
    except Exception as error:
        return None, type(error).__name__


@dataclass(frozen=True)
class Outcome:
    """What a cascade came to."""

    decision: Decision
    decided_by: str
    reason: str
    category: str
    steps: tuple[Step, ...]


def decide(tiers: Sequence[Tier], turns: Conversation, known: Mapping[str, Step] | None = None) -> Outcome:
    """Ask the tiers in order until one is sure. `known` holds what tiers have said already, by name."""
    steps: list[Step] = []
    category, last = "", None
    for tier in tiers:
        step, named = (known[tier.name], "") if known and tier.name in known else tier.ask(turns)
        steps.append(step)
        category = named or category
        if step.outcome == "failed":
            return Outcome("stop", FAIL_CLOSED, f"{tier.name}: {step.reason}", category, tuple(steps))
        if step.outcome in ("pass", "stop"):
            passed = step.outcome == "pass"
            sure = "below its lower threshold" if passed else "at or above its upper threshold"
            return Outcome("pass" if passed else "stop", tier.name, sure, category, tuple(steps))
        if step.outcome == "ask":
            last = (tier, step)
    if last is None or last[1].score is None:
        return Outcome("stop", FAIL_CLOSED, "no tier could be asked", category, tuple(steps))
    alone, at = last
    decision: Decision = "stop" if alone.band.alone(at.score or 0.0) == "stop" else "pass"
    return Outcome(decision, alone.name, "doubtful, nobody else to ask: its strict threshold", category, tuple(steps))
