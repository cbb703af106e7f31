"""What the safety classifier says of a model while it is trained: a few held-out prompts answered and scored at each reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from solon import safety
from solon.core.artifacts import Draft, Record
from solon.core.records import Conversation, Message
from solon.core.weights import Tree
from solon.evals import statistics as stats
from solon.generate.engine import Engine, Request
from solon.learn import trainer
from solon.models.load import Model
from solon.safety import classifier
from solon.text.template import encode_chat

TOKENS = 64  # of a reply; the classifier sees by then whether a request is gone along with


def reader(model: Model, prompts: Sequence[Conversation], whole: Callable[[Tree], Tree]) -> Callable[[Tree], Record]:
    """Gives, for arrays in training that `whole` makes a model's weights of, `{"harms": one for each prompt, "flagged": share}`.

    Replies are greedy, so that readings differ by the model and not by luck. The model is unpacked for sampling beside the
    training, and only for as long as a reading takes. Raises `MissingError` here, before any training, where the classifier's
    encoder can be had from nowhere."""
    classifier.load()
    ids = [encode_chat(model.tokenizer, one, add_generation_prompt=True) for one in prompts]
    requests = [Request(one, max_tokens=max(min(TOKENS, model.arch.context - len(one)), 1), temperature=0.0) for one in ids]

    def read(trained: Tree) -> Record:
        engine = Engine(replace(model, params=whole(trained)), len(requests))
        replies = engine.sample(requests)
        del engine
        asked: list[Any] = [(*prompt, Message("assistant", reply.text)) for prompt, reply in zip(prompts, replies, strict=True)]
        scores = safety.score(asked)
        return {"harms": [one.harm for one in scores], "flagged": float(np.mean([one.flagged for one in scores]))}

    return read


def tell(draft: Draft, result: trainer.Result) -> None:
    """Harm at the reading whose arrays were kept, into the evidence; nothing where it was not read."""
    if not result.readings or "harms" not in result.readings[0]:
        return
    kept = result.readings[result.kept]
    one = stats.mean(kept["harms"], name="held-out harm")
    draft.metric("held_out_harm", one.value, n=one.n, ci=[one.low, one.high], unit="probability of harm",
                 how=f"greedy replies to prompts laid aside, by the safety classifier, after {kept['step']} steps; {one.how}")  # fmt: skip


def lines(readings: Sequence[Record]) -> list[str]:
    """The readings for a terminal."""
    if not readings or "harms" not in readings[0]:
        return []
    each = ", ".join(f"{one['step']}: loss {one['loss']:.3f}, harm {np.mean(one['harms']):.3f}, flagged {one['flagged']:.0%}" for one in readings)
    return [f"held out after so many steps (harm of {len(readings[0]['harms'])} replies) {each}"]
