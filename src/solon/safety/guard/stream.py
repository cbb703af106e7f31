"""A reply on its way out: nothing is let through before it has been looked at, and the first bad score ends it.

The probe reads every token as it is drawn. What it is sure of goes out at once; while it doubts, or where there is none, text
is held back and the dearer tiers are asked about the reply so far, every few tokens and once more at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from solon.core.records import Conversation, Message
from solon.safety.guard.cascade import Outcome, Tier, decide
from solon.safety.guard.rulings import FAIL_CLOSED, Opinion, Ruling, Step

if TYPE_CHECKING:
    from solon.safety.guard.guard import Guard

Piece = tuple[Sequence[int], str]
"""Tokens that were drawn, and the text that they complete."""
PROBE, ENGINE = "probe", "engine"


class Feed(Protocol):
    """A running probe: takes the next tokens of a reply and gives its score so far, from 0 to 1."""

    def feed(self, ids: Sequence[int]) -> float: ...


class ReplyWatch:
    """One reply while it is written. `push` gives the text that may go out now; `ruling` is set once it is over."""

    def __init__(self, guard: Guard, turns: Conversation, feed: Feed | None):
        self.guard, self.turns = guard, turns
        self.ruling: Ruling | None = None
        self.tokens, self.text, self.released = 0, "", 0
        self.spent: dict[str, list[float]] = {}
        """By tier the milliseconds of each time it was asked about this reply."""
        self._looked = 0
        self._probe = _probe(guard, feed, self)
        self._heard = Step(PROBE, "missing", reason="not set up")
        self._last: Outcome | None = None
        self.fresh: Sequence[int] = ()

    def push(self, ids: Sequence[int], text: str) -> str:
        """Take in what was drawn; the text that has been looked at and may go out."""
        if self.ruling is not None:
            return ""
        self.tokens += len(ids)
        self.text += text
        if len(ids):
            self.fresh = ids
            heard = self._probe.ask(self.turns)[0]
            self._count(heard)
            self._heard = replace(heard, ms=round(self._heard.ms + heard.ms, 3))  # the sum over the reply
        if self._heard.outcome == "pass":
            return self._release()
        if self._heard.outcome in ("stop", "failed") or self.tokens - self._looked >= self.guard.every:
            return self._look()
        return ""

    def finish(self) -> str:
        """The reply is over: look at the whole of it, and let the rest out or not."""
        if self.ruling is not None:
            return ""
        fresh = self._look()
        if self._last is not None and self.ruling is None:
            self._rule(self._last)
        return fresh

    def failed(self, error: Exception) -> None:
        """What draws the reply has broken: what was let through had passed, and no more goes out."""
        if self.ruling is None:
            kind = type(error).__name__  # its words may quote the text
            steps = (*(self._last.steps if self._last else (self._heard,)), Step(ENGINE, "failed", reason=kind))
            self._rule(Outcome("stop", FAIL_CLOSED, f"{ENGINE}: {kind} while drawing", "", steps))

    def broken_off(self) -> None:
        """The reader has gone: what was let through had passed, and that is what is kept."""
        if self.ruling is None:
            steps = self._last.steps if self._last else (self._heard,)
            self._rule(Outcome("pass", self._last.decided_by if self._last else PROBE, "broken off by the reader", "", steps))

    def _look(self) -> str:
        """Ask the tiers about the reply so far."""
        self._looked = self.tokens
        said = (*self.turns, Message("assistant", self.text))
        self._last = decide((self._probe, *self.guard.output_tiers), said, {PROBE: self._heard})
        for step in self._last.steps[1:]:  # the probe was asked before
            self._count(step)
        if self._last.decision == "stop":
            self._rule(self._last)
            return ""
        return self._release()

    def _count(self, step: Step) -> None:
        if step.outcome != "missing":
            self.spent.setdefault(step.tier, []).append(step.ms)

    def _release(self) -> str:
        fresh, self.released = self.text[self.released :], len(self.text)
        return fresh

    def _rule(self, outcome: Outcome) -> None:
        self.ruling = self.guard.ruled("output", self.text, outcome, tokens=self.tokens, released=self.released)


def _probe(guard: Guard, feed: Feed | None, watch: ReplyWatch) -> Tier:
    """The running probe as a tier, so that whatever goes wrong in it is a tier's failure."""
    if feed is None:
        return Tier(PROBE, guard.probe_band, None)
    return Tier(PROBE, guard.probe_band, lambda turns: Opinion(float(feed.feed(watch.fresh))))


class GuardedReply:
    """The pieces of a reply behind a guard, to be iterated once. `rulings` holds the guard's decisions so far: that on the
    request is there before the first token is drawn, that on the reply after the last. Where something is stopped, the text
    offered instead is the last piece. `tokens` were drawn."""

    def __init__(
        self, guard: Guard, turns: Conversation, pieces: Callable[[], Iterator[Piece]], retrieved: Sequence[str] = ()
    ):
        self.rulings: list[Ruling] = []
        self.tokens = 0
        self._guard, self._turns, self._pieces, self._retrieved = guard, turns, pieces, retrieved

    @property
    def stopped(self) -> bool:
        return any(one.stopped for one in self.rulings)

    def __iter__(self) -> Iterator[str]:
        for ruling in self._before():
            self.rulings.append(ruling)
            if ruling.stopped:
                yield ruling.alternative
                return
        try:
            feed = self._guard.probe() if self._guard.probe else None
        except Exception as error:  # a probe that cannot be made is a tier that fails
            reason = f"{PROBE}: {type(error).__name__} at the start"
            failed = Step(PROBE, "failed", reason=type(error).__name__)
            self.rulings.append(self._guard.ruled("output", "", Outcome("stop", FAIL_CLOSED, reason, "", (failed,))))
            yield self.rulings[-1].alternative
            return
        yield from self._watched(ReplyWatch(self._guard, self._turns, feed))

    def _before(self) -> Iterator[Ruling]:
        yield self._guard.input(self._turns)
        for text in self._retrieved:
            yield self._guard.retrieved(text)

    def _watched(self, watch: ReplyWatch) -> Iterator[str]:
        drawn: Iterator[Piece] = iter(())
        try:
            drawn = self._pieces()
            for ids, text in drawn:
                self.tokens += len(ids)
                fresh = watch.push(ids, text)
                if fresh:
                    yield fresh
                if watch.ruling is not None:
                    break
            rest = watch.finish()
            if rest:
                yield rest
        except Exception as error:  # nobody knows what the rest would have been
            watch.failed(error)
        finally:
            watch.broken_off()  # unless it is over
            if watch.ruling is not None:
                self.rulings.append(watch.ruling)
            close = getattr(drawn, "close", None)  # what is stopped is not drawn to its end
            if close:
                with suppress(Exception):  # the ruling stands, whatever else breaks
                    close()
        ruling = self.rulings[-1]
        if ruling.stopped:
            yield ("\n\n" if ruling.released else "") + ruling.alternative
