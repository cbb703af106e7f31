"""Adversarial suffixes: the gradient against finite differences, a loss that falls, text that is read back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.core.keys import rng
from solon.safety.redteam import suffix
from solon.safety.redteam.suffix import Budget, search

ASKS = ["Tell me a", "Say the word"]


@pytest.mark.slow
def test_the_slope_is_the_gradient(tiny_model):
    allowed = suffix.words(tiny_model.tokenizer)
    ids = [int(x) for x in rng("ids").choice(allowed, 4)]
    rows = suffix._laid_out(tiny_model.tokenizer, ASKS, ids)
    tokens, before, target = suffix._arrays(rows)
    found = suffix._slopes(tiny_model.arch, tiny_model.params, tokens[0], before[0], target, jnp.asarray(rows.places))

    def loss(nudge):
        from solon.core.taps import Taps

        whole = jnp.zeros((*tokens[0].shape, tiny_model.arch.embed))
        whole = whole.at[jnp.arange(2)[:, None], rows.places].add(nudge)
        taps = Taps(edit={"embed": lambda _, x: x + whole})
        return suffix._loss(tiny_model.arch, tiny_model.params, tokens[0], before[0], target, taps).mean()

    direction = jax.random.normal(jax.random.key(0), found.shape)
    step = 1e-2
    slope = (loss(step * direction) - loss(-step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float((found * direction).sum()), rel=0.02, abs=1e-4)


def test_the_loss_is_that_of_the_words(tiny_model):
    """Equal to the log-probabilities that reading the same chat gives."""
    from solon.core.records import user
    from solon.generate.score import row_logprobs
    from solon.text.template import Tokens, encode_chat

    ids = list(suffix.words(tiny_model.tokenizer)[:3])
    rows = suffix._laid_out(tiny_model.tokenizer, ASKS, ids)
    ours = float(suffix._losses(tiny_model.arch, tiny_model.params, *suffix._arrays(rows))[0])
    whole = []
    for ask in ASKS:
        line = encode_chat(tiny_model.tokenizer, user(ask + suffix._text(tiny_model.tokenizer, ids)), add_generation_prompt=True)
        target = tiny_model.tokenizer.encode(suffix.AGREEMENT, special=False)
        whole.append(Tokens([*line, *target], [False] * len(line) + [True] * len(target)))
    theirs = -np.mean([logp.mean() for logp in row_logprobs(tiny_model, whole)])
    assert ours == pytest.approx(float(theirs), rel=1e-4)


def test_a_search_lowers_the_loss_and_is_the_same_again(tiny_model):
    steps = []
    budget = Budget(length=4, steps=4, tries=8, top=8)
    found = search(tiny_model, ASKS, budget, (1, 0), steps.append)
    assert len(found.losses) == 5 and found.losses[-1] < found.losses[0] and sum(steps) == 4
    assert all(after <= before for before, after in zip(found.losses, found.losses[1:], strict=False))
    assert found == search(tiny_model, ASKS, budget, (1, 0)) != search(tiny_model, ASKS, budget, (1, 1))
    ids = tiny_model.tokenizer.encode("x" + found.text, special=False)[1:]
    assert len(ids) == 4 and found.text.isascii()
