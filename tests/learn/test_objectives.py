"""Objectives against what their papers say, computed plainly on a tiny model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.core.weights import abstract
from solon.learn import lora
from solon.learn.objectives import dpo, reward, sft
from solon.learn.objectives.dpo import Pairs
from solon.models.architecture import Architecture, spec
from solon.models.block import forward, hidden
from solon.models.logprobs import scored
from solon.text.batches import Batch, Shape, shape_of
from solon.text.batches import batch as pack
from solon.text.template import Tokens as Row

ARCH = Architecture("llama", layers=2, embed=16, heads=4, kv_heads=2, head_dim=4, mlp=24, vocab=31, context=64)


def noise() -> Any:
    rng = np.random.default_rng(4)
    shapes = abstract(spec(ARCH), ARCH.sizes, jnp.float32)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.3, s.shape), s.dtype), shapes)


PARAMS = noise()
LENGTH = 12
ROWS = [
    Row(np.random.default_rng(i).integers(0, 31, n).tolist(), [False] * m + [True] * (n - m))
    for i, (n, m) in enumerate([(7, 3), (5, 1), (9, 4), (4, 2)])
]
# The label of the second pair is soft, and the third pair is filling.
P_FIRST, PRESENT = np.array([1.0, 0.3, 1.0], np.float32), np.array([1, 1, 0], np.float32)
REFERENCE = np.array([-9.0, -12.0, -16.0, -6.0, 0.0, 0.0], np.float32)


SHAPE = Shape(lines=3, length=LENGTH, scored=shape_of([ROWS], LENGTH).scored, rows=6)  # the pairs' third is filling


def packed(rows: Sequence[Row]) -> Batch:
    return pack(rows, SHAPE)


# Compiled once for all tests.
sft_graded = jax.jit(jax.value_and_grad(lambda p, b: sft.loss(ARCH, p, b), has_aux=True))
dpo_graded = jax.jit(jax.value_and_grad(lambda p, b, beta: dpo.loss(ARCH, p, b, beta), has_aux=True))
reward_of = jax.jit(lambda w, b: reward.loss(ARCH, PARAMS, w, b))
hidden_of = jax.jit(lambda t: hidden(ARCH, PARAMS, t))


@jax.jit
def log_softmax_of(tokens: jax.Array) -> jax.Array:
    return jax.nn.log_softmax(forward(ARCH, PARAMS, tokens)[0])


def row_logprobs(row: Row) -> np.ndarray:
    """log p of every learned token of a row by itself, the plain way; rows are filled up on the right, where nothing looks."""
    ids = np.pad(np.array(row.ids), (0, LENGTH - len(row.ids)))
    logp = np.asarray(log_softmax_of(jnp.asarray(ids[None])))[0]
    return np.array([logp[i - 1, row.ids[i]] for i in range(1, len(row.ids)) if row.learn[i]])


def last_hidden(row: Row) -> np.ndarray:
    ids = np.pad(np.array(row.ids), (0, LENGTH - len(row.ids)))
    return np.asarray(hidden_of(jnp.asarray(ids[None])))[0, len(row.ids) - 1]


def test_sft_packed_equals_row_by_row() -> None:
    (value, (items, _)), _ = sft_graded(PARAMS, packed(ROWS))
    plain = [row_logprobs(row) for row in ROWS]
    assert float(items) == sum(map(len, plain)) == sum(sum(row.learn[1:]) for row in ROWS)
    np.testing.assert_allclose(value, -sum(x.sum() for x in plain), rtol=1e-5)
    total = jax.jit(lambda p, b: sft.sums(scored(ARCH, p, b), b))(PARAMS, packed(ROWS))
    np.testing.assert_allclose(total, [*(x.sum() for x in plain), 0, 0], atol=1e-4)


def test_sft_gradient_of_a_pack_is_the_sum_of_its_rows() -> None:
    parts = [sft_graded(PARAMS, packed([row]))[1] for row in ROWS]
    whole = sft_graded(PARAMS, packed(ROWS))[1]
    together = jax.tree.map(lambda *xs: sum(xs), *parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max())), whole, together)


@pytest.mark.slow
def test_what_is_computed_again_is_what_would_be_kept() -> None:
    kept = jax.jit(jax.value_and_grad(lambda p, b: sft.loss(ARCH, p, b, remat=False), has_aux=True))
    (one, _), first = sft_graded(PARAMS, packed(ROWS))
    (two, _), second = kept(PARAMS, packed(ROWS))
    assert float(one) == pytest.approx(float(two), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), first, second)


def test_rows_and_tokens_count_by_their_weights() -> None:
    rows = [replace(row, weight=w) for row, w in zip(ROWS, (2.0, 0.5, 1.0, 3.0), strict=True)]
    weight_v = np.random.default_rng(5).uniform(0.2, 4, 31).astype(np.float32)
    (value, (items, _)), _ = jax.jit(jax.value_and_grad(lambda p, b: sft.loss(ARCH, p, b, weight_v), has_aux=True))(
        PARAMS, packed(rows)
    )
    told = [np.array([weight_v[t] for t, learn in zip(row.ids, row.learn, strict=True) if learn]) * row.weight for row in rows]
    np.testing.assert_allclose(items, sum(w.sum() for w in told), rtol=1e-6)
    plain = -sum((w * row_logprobs(row)).sum() for w, row in zip(told, rows, strict=True))
    np.testing.assert_allclose(value, plain, rtol=1e-5)
    ones = jax.jit(lambda p, b: sft.loss(ARCH, p, b, np.ones(31, np.float32)))(PARAMS, packed(ROWS))
    jax.tree.map(np.testing.assert_array_equal, ones, sft_graded(PARAMS, packed(ROWS))[0])  # weight 1 is the plain loss


@pytest.mark.slow
def test_keeping_near_adds_the_divergence_from_what_it_was() -> None:
    adapted = lora.attach(ARCH, PARAMS, rank=2, alpha=4, seed=1)
    moved = jax.tree.map(lambda x: x + 0.1 * np.float32(np.sin(np.arange(x.size)).reshape(x.shape)), lora.adapter(adapted))
    graded = jax.jit(jax.value_and_grad(lambda t, b, keep: sft.loss(ARCH, lora.put(adapted, t), b, keep=keep)[0]), static_argnums=2)
    batch = packed(ROWS)
    for trained in (lora.adapter(adapted), moved):
        now, before = lora.put(adapted, trained), PARAMS
        kl = 0.0
        for row in ROWS:
            ids = jnp.asarray(np.pad(np.array(row.ids), (0, LENGTH - len(row.ids)))[None])
            ours, theirs = (np.asarray(jax.nn.log_softmax(jax.jit(partial(forward, ARCH))(p, ids)[0]))[0] for p in (now, before))
            places = [i - 1 for i in range(1, len(row.ids)) if row.learn[i]]
            kl += (np.exp(theirs) * (theirs - ours))[places].sum()
        (plain, _), (kept, gradient) = graded(trained, batch, 0.0), graded(trained, batch, 3.0)
        np.testing.assert_allclose(kept - plain, 3 * kl, rtol=1e-3, atol=1e-3)
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_tokens_that_are_not_learned_have_no_gradient() -> None:
    """The loss does not move with the logits at places whose next token is masked, nor with another row's tokens."""
    row = Row(ROWS[0].ids, [False] * 7)
    (value, (items, _)), grads = sft_graded(PARAMS, packed([row]))
    assert (float(value), float(items)) == (0.0, 0.0)
    assert all(float(jnp.abs(g).max()) == 0 for g in jax.tree.leaves(grads))
    # What follows the last learned token, and a neighbour in the same line, leave loss and gradient alone.
    early = Row(ROWS[0].ids, [False, True, True, False, False, False, False])
    batch = packed([early, Row([5, 6, 7], [False] * 3)])
    other = packed([Row([*ROWS[0].ids[:3], 1, 2, 3, 4], early.learn), Row([8, 9, 10], [False] * 3)])
    jax.tree.map(np.testing.assert_array_equal, sft_graded(PARAMS, batch), sft_graded(PARAMS, other))


def sigmoid_cross_entropy(margin: np.ndarray, p: np.ndarray) -> np.ndarray:
    return p * np.log1p(np.exp(-margin)) + (1 - p) * np.log1p(np.exp(margin))


@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_dpo_equals_the_closed_form(beta: float) -> None:
    pairs = Pairs(packed(ROWS), P_FIRST, PRESENT, REFERENCE)
    (value, (items, metrics)), _ = dpo_graded(PARAMS, pairs, beta)
    rewards = beta * (np.array([row_logprobs(row).sum() for row in ROWS]) - REFERENCE[:4]).reshape(2, 2)
    margin = rewards[:, 0] - rewards[:, 1]
    assert float(items) == 2
    np.testing.assert_allclose(value, sigmoid_cross_entropy(margin, P_FIRST[:2]).sum(), rtol=1e-4)
    assert float(metrics["accuracy"]) == int(margin[0] > 0) + int(margin[1] < 0)
    np.testing.assert_allclose(metrics["margin"], margin[0] - margin[1], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(metrics["reward"], rewards.mean(-1).sum(), rtol=1e-3, atol=1e-4)


def test_dpo_with_nll_adds_the_loss_on_the_better_reply() -> None:
    """By the label's probability, a token at a time, as the paper divides by the length."""
    pairs = Pairs(packed(ROWS), P_FIRST, PRESENT, REFERENCE)
    (plain, _), _ = dpo_graded(PARAMS, pairs, 0.1)
    with_nll = jax.jit(lambda p, b: dpo.loss(ARCH, p, b, 0.1, nll=0.7)[0])(PARAMS, pairs)
    mean = [row_logprobs(row).mean() for row in ROWS]
    np.testing.assert_allclose(with_nll - plain, -0.7 * (mean[0] + 0.3 * mean[2] + 0.7 * mean[3]), rtol=1e-4)


def test_dpo_starts_at_log_two_and_a_soft_label_pulls_to_its_odds() -> None:
    rows = packed(ROWS[:2])
    own = np.array([*(row_logprobs(row).sum() for row in ROWS[:2]), 0, 0, 0, 0], np.float32)
    one = np.array([1, 0, 0], np.float32)
    start = Pairs(rows, one, one, own)
    np.testing.assert_allclose(dpo_graded(PARAMS, start, 0.1)[0][0], np.log(2), atol=1e-5)
    # At a margin of logit(p) the gradient vanishes: that is what a soft label asks for.
    p, beta = 0.8, 0.5
    margin = np.log(p / (1 - p)) / beta
    there = Pairs(rows, one * np.float32(p), one, own - np.eye(1, 6, dtype=np.float32)[0] * np.float32(margin))
    grads = [jax.tree.leaves(dpo_graded(PARAMS, b, beta)[1]) for b in (there, start)]
    still, moving = (max(float(jnp.abs(g).max()) for g in leaves) for leaves in grads)
    assert still < 1e-4 * moving


def test_reward_equals_the_closed_form() -> None:
    pairs = Pairs(packed(ROWS), P_FIRST, PRESENT, REFERENCE)
    weight = jnp.asarray(np.random.default_rng(8).normal(size=16), jnp.float32)
    value, (items, metrics) = reward_of(weight, pairs)
    scores = np.array([last_hidden(row) @ np.asarray(weight) for row in ROWS]).reshape(2, 2)
    margin = scores[:, 0] - scores[:, 1]
    np.testing.assert_allclose(value, sigmoid_cross_entropy(margin, P_FIRST[:2]).sum(), rtol=1e-4)
    assert float(items) == 2
    assert float(metrics["accuracy"]) == int(margin[0] > 0) + int(margin[1] < 0)
    fresh = reward_of(reward.head(ARCH)["weight"], pairs)[0]
    np.testing.assert_allclose(fresh, 2 * np.log(2), rtol=1e-5)
