"""How a model answers a benchmark's items: options by log-likelihood, asks by drawing replies, several turns if need be.

Items whose text does not fit the model's context are not cut, since a cut question is another one: they are dropped with
that reason and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from solon.core.artifacts import Draft, Record
from solon.core.records import Message
from solon.evals.asking import Ask, Item, Options, Read, Said
from solon.generate.engine import Request
from solon.generate.score import option_logprobs, row_logprobs
from solon.models.load import Model
from solon.text.template import Tokens, encode_chat

TOO_LONG = "longer than the model's context"
LEAST = 32  # tokens of a reply that have to fit, where the suite wants as many
Answer = tuple[Read | Said | None, Record]


def answered(
    subject: Any, part: Sequence[Item], config: Any, name: str, draft: Draft, advance: Callable[[float], None]
) -> list[Answer]:
    """An answer and facts for each item, in order; None where the item was dropped."""
    out: dict[int, Answer] = {}
    options = [(i, item) for i, item in enumerate(part) if isinstance(item, Options)]
    asks = [(i, item) for i, item in enumerate(part) if isinstance(item, Ask)]
    if options:
        more = _Meter(advance, len(options), 0)
        read = read_options(subject.model, [item for _, item in options], draft, more)
        out |= dict(zip([i for i, _ in options], read, strict=True))
        more.finish()
    if asks:
        more = _Meter(advance, len(asks), 0)
        said = write_replies(subject, [item for _, item in asks], config, name, draft, more)
        out |= dict(zip([i for i, _ in asks], said, strict=True))
        more.finish()
    return [out[i] for i in range(len(part))]


@dataclass
class _Meter:
    """Progress in items, told in tokens: `total` tokens are `share` items."""

    advance: Callable[[float], None]
    share: float
    total: float
    done: float = 0.0

    def __call__(self, tokens: int) -> None:
        step = min(tokens / max(self.total, 1) * self.share, self.share - self.done)
        self.done += step
        self.advance(step)

    def finish(self) -> None:
        self.advance(self.share - self.done)
        self.done = self.share


def encode_options(model: Model, item: Options) -> tuple[list[int], list[list[int]]]:
    """Ids of the context and of each option after it, cut as lm-eval cuts them: context and option are encoded together,
    and what lies behind the length of the context alone is the option. Spaces at the context's end go to the option."""
    tokenizer = model.tokenizer
    start = [tokenizer.bos] if tokenizer.add_bos and tokenizer.bos is not None else []
    context = item.context.rstrip()
    spaces = item.context[len(context) :]
    if not context:
        first = tokenizer.bos if tokenizer.bos is not None else tokenizer.eos
        ids = [first if first is not None else 0]
        return ids, [tokenizer.encode(spaces + item.delimiter + option, special=False) for option in item.options]
    alone = tokenizer.encode(context, special=False)
    whole = [tokenizer.encode(context + spaces + item.delimiter + option, special=False) for option in item.options]
    return [*start, *alone], [ids[len(alone) :] for ids in whole]


def read_options(model: Model, items: Sequence[Options], draft: Draft, more: _Meter) -> list[Answer]:
    """Log-probability of each option of each item. Options of one token are read off one reading of the context."""
    encoded = [encode_options(model, item) for item in items]
    fits = [len(context) + max(map(len, options)) <= model.arch.context for context, options in encoded]
    single: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    others: list[int] = []
    for i, (_, options) in enumerate(encoded):
        one = len({tuple(option[:-1]) for option in options}) == 1 and all(options) and len(options) > 1
        if fits[i] and one and not items[i].tokenwise:
            single.setdefault(tuple(map(tuple, options)), []).append(i)
        elif fits[i]:
            others.append(i)
    lines = [_line(encoded[i][0], option) for i in others for option in encoded[i][1]]
    more.total = sum(map(len, lines)) + sum(len(encoded[i][0]) for group in single.values() for i in group)
    draft.tokens += int(more.total)
    nats: dict[int, list[float]] = {}
    for shared, group in single.items():
        found = option_logprobs(model, [encoded[i][0] for i in group], [list(option) for option in shared], more)
        nats |= {i: [float(x) for x in row] for i, row in zip(group, found, strict=True)}
    rows = iter(row_logprobs(model, lines, more))
    each = {i: [next(rows) for _ in encoded[i][1]] for i in others}
    nats |= {i: [float(row.sum()) for row in rows] for i, rows in each.items()}
    out: list[Answer] = []
    for i, (context, options) in enumerate(encoded):
        tokens = [len(option) for option in options]
        if fits[i]:
            by_token = _by_token(options, each[i]) if items[i].tokenwise else ()
            out.append((Read(tuple(nats[i]), tuple(tokens), by_token), {"nats": nats[i], "tokens": tokens}))
        else:
            out.append((None, {"dropped": TOO_LONG, "length": len(context) + max(tokens)}))
    return out


def _by_token(options: Sequence[Sequence[int]], rows: Sequence[Any]) -> tuple[tuple[tuple[int, float], ...], ...]:
    """Ids and log-probabilities of each option's tokens."""
    return tuple(
        tuple((int(id), float(nats)) for id, nats in zip(option, row, strict=True))
        for option, row in zip(options, rows, strict=True)
    )


def _line(context: Sequence[int], option: Sequence[int]) -> Tokens:
    return Tokens([*context, *option], [False] * len(context) + [True] * len(option))


@dataclass
class _Talk:
    """One draw of one item under way."""

    item: Ask
    draw: int
    replies: list[str] = field(default_factory=list)
    cut: bool = False
    too_long: int = 0

    def prompt(self, tokenizer: Any) -> list[int]:
        """Token ids up to the next reply."""
        if isinstance(self.item.prompt, str):
            start = [tokenizer.bos] if tokenizer.add_bos and tokenizer.bos is not None else []
            return [*start, *tokenizer.encode(self.item.prompt, special=False)]
        turns = list(self.item.prompt)
        for reply, following in zip(self.replies, self.item.more, strict=False):
            turns += [Message("assistant", reply.strip()), Message("user", following)]
        return encode_chat(tokenizer, tuple(turns), add_generation_prompt=True)


def write_replies(
    subject: Any, items: Sequence[Ask], config: Any, name: str, draft: Draft, more: _Meter
) -> list[Answer]:  # fmt: skip
    """Replies to each item: all first turns together, then all second ones. Every draw has a key of its own."""
    talks = [_Talk(item, draw) for item in items for draw in range(item.samples or config.samples)]
    most = lambda item: min(item.max_tokens, config.max_tokens or item.max_tokens)  # noqa: E731
    more.total = sum(most(talk.item) * (1 + len(talk.item.more)) for talk in talks)
    for turn in range(1 + max(len(item.more) for item in items)):
        requests: list[Request] = []
        going: list[_Talk] = []
        for talk in talks:
            if turn > len(talk.item.more) or talk.too_long:
                continue
            prompt, wanted = talk.prompt(subject.model.tokenizer), most(talk.item)
            left = subject.model.arch.context - len(prompt)
            if left < min(LEAST, wanted):
                talk.too_long = len(prompt) + wanted
                continue
            warm = config.temperature if talk.item.temperature is None else talk.item.temperature
            key = ("benchmark", name, config.seed, talk.item.id, talk.draw, turn)
            requests.append(Request(prompt, key, min(wanted, left), temperature=warm, stop=talk.item.stop))
            going.append(talk)
        for talk, reply in zip(going, subject.engine.sample(requests, more), strict=True):
            talk.replies.append(reply.text)
            talk.cut |= reply.finish == "length"
            draft.tokens += len(reply.tokens)
    return [_said([talk for talk in talks if talk.item is item]) for item in items]


def _said(talks: Sequence[_Talk]) -> Answer:
    too_long = max(talk.too_long for talk in talks)
    if too_long:
        return None, {"dropped": TOO_LONG, "length": too_long}
    facts: Record = {"replies": [talk.replies for talk in talks], "cut": any(talk.cut for talk in talks)}
    return Said(tuple(tuple(talk.replies) for talk in talks)), facts
