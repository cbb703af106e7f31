"""A file of requests answered all in one batch, each with its own adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from solon.core.adapters import Choice
from solon.core.artifacts import Record
from solon.core.errors import DataError
from solon.core.records import Message, Sample
from solon.curate import rows
from solon.curate.forms import as_prompts
from solon.generate.engine import Engine, Request
from solon.text.template import encode_chat


@dataclass(frozen=True)
class Asked:
    """A conversation that waits for a reply, and what it is drawn with."""

    sample: Sample
    adapter: Choice = None


def read(path: str) -> list[Asked]:
    """Rows with `prompt` or `messages`, perhaps `id`, and `adapter`: a name or `{name: weight}`. Raises `DataError` that
    names the line."""
    table = list(rows.read(path))
    choices = [_choice(place, row) for place, row in table]
    bare = [(place, {name: value for name, value in row.items() if name != "adapter"}) for place, row in table]
    return [Asked(one, adapter) for one, adapter in zip(as_prompts(bare), choices, strict=True)]


def _choice(place: str, row: Mapping[str, Any]) -> Choice:
    given = row.get("adapter")
    if given is None or (isinstance(given, str) and given):
        return given
    number = lambda x: isinstance(x, int | float) and not isinstance(x, bool) and isfinite(x)  # noqa: E731
    if isinstance(given, Mapping) and given and all(map(number, given.values())):
        return {str(name): float(weight) for name, weight in given.items()}
    raise DataError(f"{place}: the field 'adapter' is no choice", got=repr(given), expected="a name, or {name: weight}")


def answer(
    engine: Engine, asked: Sequence[Asked], max_tokens: int, settings: Mapping[str, Any], seed: int = 0, system: str = "",
    stop: tuple[str, ...] = (),
) -> list[Record]:  # fmt: skip
    """A row for each request, in their order: `id`, `adapter`, `reply`, `tokens` (how many) and `finish` (`stop` or `length`).

    A reply depends on its own request, its id and the seed, and not on what else is asked. `system` goes before conversations
    that have no system turn. Raises `DataError` for a prompt that leaves no room, before anything is drawn.
    """
    requests = []
    for one in asked:
        turns = one.sample.prompt
        turns = (Message("system", system), *turns) if system and turns[0].role != "system" else turns
        prompt = encode_chat(engine.tokenizer, turns, add_generation_prompt=True)
        room = engine.arch.context - len(prompt)
        if room < 1:
            fix = f"shorten it, or leave it out; at most {engine.arch.context - 1} tokens fit"
            raise DataError(f"the request {one.sample.id!r} does not fit the model's context", got=f"{len(prompt)} tokens", fix=fix)
        key = ("request", one.sample.id)
        requests.append(Request(prompt, key, min(max_tokens, room), stop=stop, adapter=one.adapter, **settings))
    return [
        {"id": one.sample.id, "adapter": one.adapter, "reply": reply.text.strip(), "tokens": len(reply.tokens), "finish": reply.finish}
        for one, reply in zip(asked, engine.sample(requests, seed=seed), strict=True)
    ]
