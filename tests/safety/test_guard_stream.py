"""A reply on its way out: what is let through has been looked at, and what is stopped is not drawn to its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from solon.core.errors import DataError
from solon.core.records import Conversation, user
from solon.generate.engine import Engine, Request
from solon.safety.guard import Opinion, guarded
from solon.safety.guard.bands import Band
from solon.safety.guard.cascade import Tier
from solon.safety.guard.guard import Guard
from solon.safety.guard.refusals import UNCHECKED, alternative
from solon.safety.guard.rulings import FAIL_CLOSED
from solon.safety.guard.stream import GuardedReply, ReplyWatch
from solon.text.template import encode_chat

PASS = Tier("pass", Band(0.5, 0.5, 0.5), lambda turns: 0.0)
SHARP = Band(0.5, 0.5, 0.5)


class Script:
    """A probe that says what it is told to, one score a token; an exception is raised."""

    def __init__(self, scores: Sequence[Any]):
        self.scores, self.fed = list(scores), 0

    def feed(self, ids: Sequence[int]) -> float:
        self.fed += len(ids)
        said = self.scores[min(self.fed, len(self.scores)) - 1]
        if isinstance(said, Exception):
            raise said
        return said


def guard(judge: Any = lambda turns: 0.0, probe: Any = None, band: Band = SHARP, every: int = 4, **changes: Any) -> Guard:
    plain = {"input_tiers": (PASS,), "retrieved_tiers": (PASS,), "keep": lambda record: None}
    return Guard(output_tiers=(Tier("classifier", SHARP, judge),), probe=probe, probe_band=band, every=every, **(plain | changes))


def words(text: str, closed: list[bool] | None = None) -> Iterator[tuple[list[int], str]]:
    """One token a word; says when it is closed, and how far it came."""
    count = 0
    try:
        for word in text.split():
            count += 1
            yield [count], word + " "
    finally:
        if closed is not None:
            closed.append(count)


TEXT = "one two three bad five six seven eight nine ten eleven twelve"


def badly(turns: Conversation) -> float:
    return 0.9 if "bad" in turns[-1].content else 0.1


def test_a_reply_that_passes_is_the_reply() -> None:
    for probe in (None, lambda: Script([0.0]), lambda: Script([0.6, 0.6, 0.6, 0.0])):
        heard = GuardedReply(guard(probe=probe, band=Band(0.5, 0.9, 0.7)), user("q"), lambda: words(TEXT))
        assert "".join(heard) == TEXT + " " and not heard.stopped
        assert [one.side for one in heard.rulings] == ["input", "output"] and heard.rulings[1].tokens == 12


@pytest.mark.parametrize("every", [1, 2, 3, 5, 100])
def test_nothing_goes_out_that_was_not_looked_at(every: int) -> None:
    looked: list[str] = []

    def judge(turns: Conversation) -> float:
        looked.append(turns[-1].content)
        return badly(turns)

    closed: list[bool] = []
    heard = GuardedReply(guard(judge, every=every), user("q"), lambda: words(TEXT, closed))
    shown = ""
    for piece in heard:
        if not heard.stopped:
            shown += piece
            assert any(text.startswith(shown) for text in looked)
    assert "bad" not in shown and TEXT.startswith(shown)
    assert heard.stopped and closed[0] == min(12, -(-4 // every) * every), "stopped at the first look that saw it"
    assert heard.rulings[-1].released == len(shown) and piece.endswith(heard.rulings[-1].alternative)


def test_the_probe_stops_at_the_very_token_and_holds_back_what_it_doubts() -> None:
    closed: list[bool] = []
    heard = GuardedReply(guard(probe=lambda: Script([0.0, 0.0, 0.0, 0.9])), user("q"), lambda: words(TEXT, closed))
    pieces = list(heard)
    assert pieces[:3] == ["one ", "two ", "three "] and closed == [4] and heard.tokens == 4
    assert heard.rulings[1].decided_by == "probe" and pieces[3].startswith("\n\n")
    # Doubt: the classifier is asked after `every` tokens, and clears the text.
    calls: list[str] = []
    doubting = guard(lambda turns: (calls.append(turns[-1].content), 0.0)[1], probe=lambda: Script([0.6]), band=Band(0.5, 0.9, 0.6))
    assert "".join(GuardedReply(doubting, user("q"), lambda: words(TEXT))) == TEXT + " "
    assert [len(text.split()) for text in calls] == [4, 8, 12, 12]


@pytest.mark.parametrize("fault", [ValueError("one two"), float("nan"), 1.5])
def test_a_probe_that_fails_stops_the_reply(fault: Any) -> None:
    closed: list[bool] = []
    heard = GuardedReply(guard(probe=lambda: Script([0.0, 0.0, fault])), user("q"), lambda: words(TEXT, closed))
    assert list(heard)[:2] == ["one ", "two "] and heard.stopped and closed == [3]
    assert heard.rulings[1].decided_by == FAIL_CLOSED and heard.rulings[1].category == "unchecked"

    def missing() -> Any:
        raise OSError("no model")

    heard = GuardedReply(guard(probe=missing), user("q"), lambda: words(TEXT, closed))
    assert len(list(heard)) == 1 and heard.rulings[1].decided_by == FAIL_CLOSED and heard.tokens == 0


def test_a_request_that_is_stopped_is_never_answered() -> None:
    stop = Tier("stop", SHARP, lambda turns: Opinion(1.0, "weapons"))
    drawn: list[bool] = []
    heard = GuardedReply(guard(input_tiers=(stop,)), user("q"), lambda: words(TEXT, drawn))
    assert list(heard) == [heard.rulings[0].alternative] and not drawn and heard.tokens == 0 and heard.rulings[0].category == "weapons"
    heard = GuardedReply(guard(retrieved_tiers=(stop,)), user("q"), lambda: words(TEXT, drawn), retrieved=("fine",))
    assert list(heard) == [heard.rulings[1].alternative] and not drawn and heard.rulings[1].category == "injection"


def test_the_risk_of_a_request_is_kept_before_the_first_token() -> None:
    order: list[str] = []

    def pieces() -> Iterator[tuple[list[int], str]]:
        order.append("drawn")
        yield from words(TEXT)

    heard = GuardedReply(guard(keep=lambda record: order.append(record["side"])), user("q"), pieces)
    "".join(heard)
    assert order == ["input", "drawn", "output"]


def test_a_reader_who_goes_leaves_a_ruling_and_no_drawing_behind() -> None:
    kept: list[Any] = []
    closed: list[bool] = []
    heard = GuardedReply(guard(probe=lambda: Script([0.0]), keep=kept.append), user("q"), lambda: words(TEXT, closed))
    reading = iter(heard)
    assert next(reading) == "one "
    reading.close()
    assert closed == [1] and [record["side"] for record in kept] == ["input", "output"] and "broken off" in kept[1]["reason"]


@pytest.mark.parametrize("probe", [None, lambda: Script([0.0])])
@pytest.mark.parametrize("after", [0, 1, 5])
def test_an_engine_that_breaks_stops_the_reply(probe: Any, after: int) -> None:
    def pieces() -> Iterator[tuple[list[int], str]]:
        for number in range(after):
            yield [number], "one "
        raise RuntimeError("the engine broke at xyzzy")

    kept: list[Any] = []
    heard = GuardedReply(guard(probe=probe, keep=kept.append), user("q"), pieces)
    shown = "".join(heard)
    assert heard.stopped and shown == "one " * (heard.rulings[1].released // 4) + "\n\n" * bool(heard.rulings[1].released) + alternative(UNCHECKED)
    assert [(record["side"], record["decision"], record["decided_by"]) for record in kept[1:]] == [("output", "stop", FAIL_CLOSED)]
    assert kept[1]["category"] == UNCHECKED and "engine: RuntimeError" in kept[1]["reason"] and "xyzzy" not in str(kept)
    assert kept[1]["steps"][-1]["outcome"] == "failed" and kept[1]["tokens"] == after


def test_an_engine_that_does_not_even_begin_stops_the_reply() -> None:
    def broken() -> Any:
        raise MemoryError

    class Unclosable:
        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            return [1], "bad "

        def close(self) -> None:
            raise OSError("the engine is gone")

    for pieces in (broken, Unclosable):
        heard = GuardedReply(guard(badly, every=1), user("q"), pieces)
        assert "".join(heard) == heard.rulings[-1].alternative and heard.stopped


def test_a_watch_that_is_over_lets_nothing_more_through() -> None:
    watch = ReplyWatch(guard(badly, every=1), user("q"), None)
    assert watch.push([1], "fine ") == "fine " and watch.push([2], "bad ") == "" and watch.push([3], "fine ") == watch.finish() == ""
    assert watch.ruling is not None and watch.ruling.stopped and watch.ruling.tokens == 2


def test_a_watch_keeps_the_time_of_every_time_a_tier_was_asked() -> None:
    watch = ReplyWatch(guard(probe=None, band=Band(0.5, 0.9, 0.6), every=4), user("q"), Script([0.6]))
    for ids, text in words(TEXT):
        watch.push(ids, text)
    watch.finish()
    assert {tier: len(each) for tier, each in watch.spent.items()} == {"probe": 12, "classifier": 4}
    assert watch.ruling is not None and watch.ruling.steps[0].ms == pytest.approx(sum(watch.spent["probe"]), abs=0.01)
    silent = ReplyWatch(guard(), user("q"), None)
    silent.finish()
    assert set(silent.spent) == {"classifier"}, "who was not asked took no time"


# With a real engine


def counted(engine: Engine, monkeypatch: Any) -> list[int]:
    """Tokens that the engine draws from now on."""
    made: list[int] = []
    stream = engine.stream

    def counting(request: Request, seed: int = 0) -> Iterator[list[int]]:
        for ids in stream(request, seed):
            made.extend(ids)
            yield ids

    monkeypatch.setattr(engine, "stream", counting)
    return made


def test_an_engine_behind_the_guard_draws_the_same_reply_and_stops_early(tiny_model, monkeypatch) -> None:
    engine = Engine(tiny_model, slots=1)
    turns = user("hello")
    plain = engine.sample([Request(encode_chat(engine.tokenizer, turns, True), key=("a",), max_tokens=40)])[0]
    made = counted(engine, monkeypatch)
    assert "".join(guarded(engine, guard()).reply(turns, max_tokens=40, key=("a",))) == plain.text
    whole = len(made)
    assert whole == len(plain.tokens) > 12
    made.clear()
    late = lambda turns: 0.9 if len(turns[-1].content) > len(plain.text) // 3 else 0.1  # noqa: E731
    heard = guarded(engine, guard(late, every=2)).reply(turns, max_tokens=40, key=("a",))
    shown = "".join(heard)
    assert heard.stopped and len(made) < whole - 5 and heard.tokens == len(made)
    assert plain.text.startswith(shown[: heard.rulings[1].released]) and shown.endswith(heard.rulings[1].alternative)
    made.clear()
    probed = guard(probe=lambda: Script([0.0, 0.0, 0.0, 0.0, 0.9]))
    assert guarded(engine, probed).reply(turns, max_tokens=40, key=("a",)).tokens == 0, "nothing is drawn before it is read"
    heard = guarded(engine, probed).reply(turns, max_tokens=40, key=("a",))
    list(heard)
    assert len(made) == 5


def test_a_conversation_that_does_not_fit_is_told_before_anything_is_ruled(tiny_model) -> None:
    kept: list[Any] = []
    with pytest.raises(DataError, match="context"):
        guarded(Engine(tiny_model, slots=1), guard(keep=kept.append)).reply(user("word " * 2000))
    assert not kept


def test_a_running_probe_on_the_model_itself(tiny_model) -> None:
    """The head of `solon.safety.stream` as a probe: its score at each token is the watcher's, and the last one stops."""
    import numpy as np

    from solon.safety.head import HARM, OUTPUTS, Head
    from solon.safety.stream import Watcher

    rng, width = np.random.default_rng(0), tiny_model.arch.embed
    weight = np.zeros((len(OUTPUTS), width), np.float32)
    weight[HARM:] = rng.normal(size=width).astype(np.float32)
    ones, flat = np.ones(len(OUTPUTS), np.float32), np.zeros(width, np.float32)
    head = Head(weight, 0 * ones, flat, flat + 1, ones, ones / 2, {"digest": tiny_model.digest, "settings": {"layer": 1, "windows": 8}})
    ids = tiny_model.tokenizer.encode("hello there you on the river again")
    scores = [(lambda w: [w.feed([id]) for id in ids])(Watcher(tiny_model, head))][0]
    limit = sorted(scores)[len(scores) // 2]
    first = next(i for i, one in enumerate(scores) if one >= limit)
    watch = ReplyWatch(guard(probe=None, band=Band(limit, limit, limit)), user("q"), Watcher(tiny_model, head))
    for id in ids:
        watch.push([id], "x")
    assert watch.ruling is not None and watch.ruling.decided_by == "probe" and watch.ruling.tokens == first + 1
    assert watch.ruling.steps[0].score == pytest.approx(scores[first]) and watch.released == first
