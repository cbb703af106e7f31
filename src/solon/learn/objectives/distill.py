"""Distillation of a teacher into a student (Hinton et al. 2015, arXiv 1503.02531): the student's distribution is drawn to
the teacher's at every learned token. Both must share a vocabulary; nothing else of them need agree.

This is the logit level. The sequence level (Kim and Rush 2016, arXiv 1606.07947) needs no objective of its own: it is
`sft` on the teacher's samples. `stages/distill.py` does both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from solon.core.dense import dense
from solon.core.errors import ConfigError
from solon.core.weights import Tree
from solon.models.architecture import Architecture
from solon.models.block import cap, unembedding
from solon.models.logprobs import CHUNK, states, token_logprobs
from solon.text.batches import Batch


class Taught(NamedTuple):
    """A packed batch, the teacher's final hidden states at its scored places `[n d]`, and the teacher's table as it stands in
    its weights (`embed` where the output is tied, else `unembed`), so that no copy of it is made."""

    rows: Batch
    hidden_nd: jax.Array
    table: Any


def taught(arch: Architecture, params: Tree, batch: Batch) -> Taught:
    """The teacher reads a batch once, before it is trained on."""
    return Taught(batch, states(arch, params, batch), params[_table(arch)])


def _table(arch: Architecture) -> str:
    return "embed" if arch.tied else "unembed"


def divergence(
    arch: Architecture, table: Any, hidden_nd: jax.Array, of: Architecture, of_table: Any, of_hidden_nd: jax.Array,
    temperature: float = 1.0,
) -> jax.Array:  # fmt: skip
    """KL(of || model) in nats at each of `n` places, from hidden states and output tables `[d v]`, both at `temperature`.

    Logits exist for a chunk of 512 places at a time, and are made again in the backward pass. The gradient reaches
    `hidden_nd` and `table` only.
    """
    if of.vocab != arch.vocab:
        raise ConfigError("teacher and student have different vocabularies", got=of.vocab, expected=arch.vocab)
    count = hidden_nd.shape[0]
    size = min(CHUNK, count)
    spare = ((0, -count % size), (0, 0))
    cut = [jnp.pad(h, spare).reshape(-1, size, h.shape[1]) for h in (hidden_nd, jax.lax.stop_gradient(of_hidden_nd))]

    @jax.checkpoint
    def chunk(table: Any, h: jax.Array, of_h: jax.Array) -> jax.Array:
        ours = jax.nn.log_softmax(cap(arch, dense(h, table)) / temperature)
        theirs = jax.lax.stop_gradient(jax.nn.log_softmax(cap(of, dense(of_h, of_table)) / temperature))
        return jnp.sum(jnp.exp(theirs) * (theirs - ours), -1)

    _, each = jax.lax.scan(lambda _, xs: (None, chunk(table, *xs)), None, tuple(cut))
    return each.reshape(-1)[:count]


def loss(
    arch: Architecture, params: Tree, batch: Taught, teacher: Architecture, temperature: float = 1.0, hard: float = 0.0
) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:
    """Sum over learned tokens of `(1 - hard) * T^2 * KL + hard * -log p(token)`, and their number.

    T^2 keeps the gradient's size independent of the temperature, as the paper advises.
    """
    rows = batch.rows
    h = states(arch, params, rows, remat=True)
    theirs = unembedding(teacher, {_table(teacher): batch.table})
    kl = divergence(arch, unembedding(arch, params), h, teacher, theirs, batch.hidden_nd, temperature)
    each = (1 - hard) * temperature**2 * kl
    if hard:
        each -= hard * token_logprobs(arch, params, h, jnp.asarray(rows.target_n))
    return jnp.sum(each * rows.weight_n), (jnp.sum(rows.weight_n), {"kl": jnp.sum(kl * rows.weight_n)})
