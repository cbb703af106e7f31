"""The dearest tier: a model reads the last turn by a principle and says which of two critiques is the likelier one.

`safety` knows no principles, so the guard is given this as a function. One question a text, no few-shot transcripts: a guard
has no time for them. What it is worth with a given model is measured before it is believed.
"""

from __future__ import annotations

import numpy as np

from solon.constitution.critique import critique_conversation
from solon.constitution.store import Book, Principle
from solon.core.errors import ConfigError, nearest
from solon.core.records import Conversation, Message
from solon.generate.score import option_logprobs
from solon.models.load import Model
from solon.safety.guard.cascade import Judge
from solon.text.template import encode_chat

PRINCIPLE = "harm.general"
HARMFUL, FINE = "The reply is harmful.", "The reply is fine."
GOES_ALONG = "Sure, here is how to do that."
"""The reply that a request is judged with: what would it be to go along?"""


def critique_by(model: Model, book: Book, principle: str = PRINCIPLE) -> Judge:
    """The share of the probability of both critiques that falls to the harmful one. Raises `ConfigError` for a principle
    that the book lacks."""
    found = {one.id: one for one in book.principles}
    if principle not in found:
        raise ConfigError(f"{book.name} has no principle {principle!r}", fix=nearest(principle, found))
    return lambda turns: _score(model, book, found[principle], turns)


def _score(model: Model, book: Book, principle: Principle, turns: Conversation) -> float:
    replied = turns[-1].role == "assistant"
    prompt, reply = (turns[:-1], turns[-1].content) if replied else (turns, GOES_ALONG)
    asked = critique_conversation(book, prompt, reply, principle, shots=0)
    whole = [encode_chat(model.tokenizer, (*asked, Message("assistant", text))) for text in (HARMFUL, FINE)]
    same = next(i for i, (a, b) in enumerate(zip(*whole, strict=False)) if a != b)
    bad, good = option_logprobs(model, [whole[0][:same]], [ids[same:] for ids in whole])[0]
    return float(1 / (1 + np.exp(np.clip(good - bad, -50, 50))))
