"""Carrying attempts out: talks of several turns in batches, and prompts that an attacker model writes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from solon.core.errors import DataError
from solon.core.records import Conversation, Message, Reply
from solon.generate.engine import Engine, Request
from solon.safety.guard.guard import Guard
from solon.safety.guard.stream import ReplyWatch
from solon.safety.redteam.attacker import CANDIDATES, Shot, Writer
from solon.safety.redteam.attacks import Goal, Script
from solon.stages._guard_replies import pieces
from solon.stages.sampling import Draw
from solon.text.template import encode_chat

LENGTHS = (128, 256, 512, 1024, 2048)
"""Prompts of about one length are drawn together: the longest of a batch decides how many fit into memory at once."""
WRITTEN = 80  # tokens of a text that an attacker writes


@dataclass
class Talk:
    """What came of one script: the target's reply to each turn, the tokens drawn, and why it could not go on. `forgotten` are the
    places of turns that a guard stopped, so that later ones were asked without them."""

    replies: list[str] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    tokens: int = 0
    fault: str = ""
    heard: Heard | None = None


@dataclass(frozen=True)
class Heard:
    """What came through a guard at a talk's last turn: `reply` with what the guard put in its place, `released` the model's own
    words of it, `tokens` drawn until then, and `stopped`: `input`, `output` or nothing."""

    reply: str
    released: str
    tokens: int
    stopped: str = ""


def play(
    engine: Engine, scripts: Sequence[Script | str], keys: Sequence[tuple[Any, ...]], draw: Draw, advance: Any = None, guard: Guard | None = None
) -> list[Talk]:  # fmt: skip
    """Carry out all scripts, turn by turn; a script that is a text is the reason why there is none. The reply to a turn
    depends on its own script and key alone. Behind a guard a turn that is stopped is forgotten, request and
    reply, as `solon chat` does it."""
    talks = [Talk(fault=one) if isinstance(one, str) else Talk() for one in scripts]
    done = [_opening(one) for one in scripts]
    depth = 0
    while True:
        due = [i for i, one in enumerate(scripts) if isinstance(one, Script) and not talks[i].fault and depth < len(one.asks)]
        if not due:
            break
        for i in due:
            done[i] = (*done[i], Message("user", scripts[i].asks[depth]))  # type: ignore[union-attr]
        wanted = {i: one for i in due if (one := _request(engine, done[i], (*keys[i], depth), draw, talks[i]))}
        refused = {i: heard for i in wanted if guard and (heard := _asked(guard, done[i]))}
        wanted = {i: one for i, one in wanted.items() if i not in refused}
        said: Iterator[Mapping[int, Heard | Reply]] = itertools.chain([refused], drawn(engine, wanted))
        for part in said:
            for i, reply in part.items():
                heard = reply if isinstance(reply, Heard) else _through(engine, guard, done[i], reply)
                talks[i].heard = heard if guard else None
                talks[i].replies.append(heard.reply.strip())
                talks[i].tokens += heard.tokens
                if heard.stopped:
                    done[i], talks[i].forgotten = done[i][:-1], [*talks[i].forgotten, depth]
                else:
                    done[i] = (*done[i], Message("assistant", heard.reply.strip() or "..."))
            if advance:
                advance(sum(len(talks[i].replies) == len(script.asks) for i in part if isinstance(script := scripts[i], Script)))
        depth += 1
    if advance:
        advance(sum(bool(talk.fault) for talk in talks))
    return talks


def _asked(guard: Guard, turns: Conversation) -> Heard | None:
    """What the guard says instead of an answer, where it stops the request."""
    ruling = guard.input(turns)
    return Heard(ruling.alternative, "", 0, "input") if ruling.stopped else None


def _through(engine: Engine, guard: Guard | None, turns: Conversation, reply: Reply) -> Heard:
    """A reply as its user sees it. Behind a guard the same tokens would have been drawn up to where it is stopped, since a
    reply's randomness has a name."""
    if guard is None:
        return Heard(reply.text, reply.text, len(reply.tokens))
    watch = ReplyWatch(guard, turns, guard.probe() if guard.probe else None)
    for ids, text in pieces(engine, reply):
        watch.push(ids, text)
        if watch.ruling is not None:
            break
    watch.finish()
    assert watch.ruling is not None  # finish always rules
    released = watch.text[: watch.released]
    if not watch.ruling.stopped:
        return Heard(released, released, watch.tokens)
    return Heard(released + ("\n\n" if released else "") + watch.ruling.alternative, released, watch.tokens, "output")


def _opening(script: Script | str) -> Conversation:
    return () if isinstance(script, str) else script.opening


def _request(engine: Engine, turns: Conversation, key: tuple[Any, ...], draw: Draw, talk: Talk) -> Request | None:
    """The next turn as a request; a talk that the model cannot take gets its fault."""
    try:
        prompt = encode_chat(engine.tokenizer, turns, add_generation_prompt=True)
    except DataError:
        try:  # some templates know no system turn: its text goes to the head of the first user turn
            prompt = encode_chat(engine.tokenizer, folded(turns), add_generation_prompt=True)
        except DataError:
            talk.fault = "the chat template refuses the turns"
            return None
    if len(prompt) + draw.max_tokens > engine.arch.context:
        talk.fault = "longer than the model's context"
        return None
    return Request(prompt, key=key, **draw.model_dump())


def folded(turns: Conversation) -> Conversation:
    """The conversation without a system turn; what it said stands at the head of the first user turn."""
    if not turns or turns[0].role != "system" or len(turns) < 2:
        return turns
    return (Message(turns[1].role, f"{turns[0].content}\n\n{turns[1].content}"), *turns[2:])


def drawn(engine: Engine, wanted: Mapping[int, Request]) -> Iterator[dict[int, Reply]]:
    """All replies; prompts of about one length together, the short ones first."""
    left = dict(wanted)
    for limit in (*LENGTHS, engine.arch.context):
        group = {i: one for i, one in left.items() if len(one.prompt) <= limit}
        left = {i: one for i, one in left.items() if i not in group}
        if group:
            yield dict(zip(group, engine.sample(list(group.values())), strict=True))


def write(
    engine: Engine, writer: Writer, wanted: Sequence[tuple[Goal, int]], shots: Sequence[Shot], seed: int
) -> list[tuple[str, str]]:
    """For every goal and attempt number a text and the fault for which it cannot be used. Of several candidates the first
    usable one is taken."""
    tokenizer = engine.tokenizer
    start = [tokenizer.bos] if tokenizer.add_bos and tokenizer.bos is not None else []
    requests: dict[int, Request] = {}
    faults = [""] * len(wanted)
    for place, (goal, k) in enumerate(wanted):
        prompt = [*start, *tokenizer.encode(writer.prompt(goal.request, shots, k), special=False)]
        if len(prompt) + WRITTEN > engine.arch.context:
            faults[place] = "the attacker's examples do not fit its context"
            continue
        for n in range(CANDIDATES):
            key = ("attacker", writer.name, seed, goal.id, k, n)
            requests[place * CANDIDATES + n] = Request(prompt, key, WRITTEN, 0.9, top_p=0.95, stop=("\n",))
    texts: list[list[str]] = [[] for _ in wanted]
    found = {number: reply for part in drawn(engine, requests) for number, reply in part.items()}
    for number, reply in sorted(found.items()):
        texts[number // CANDIDATES].append(reply.text.strip().strip('"').strip())
    out = []
    for (goal, _), candidates, fault in zip(wanted, texts, faults, strict=True):
        usable = next((text for text in candidates if not writer.fault(goal.request, text)), None)
        out.append((usable, "") if usable is not None else ("", fault or "the attacker wrote nothing usable"))
    return out
