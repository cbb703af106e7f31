"""Supervised fine-tuning: next-token loss on the learned tokens only (assistant turns), averaged over tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from solon.core.weights import Tree
from solon.learn.batches import Batch
from solon.learn.logprobs import token_logprobs
from solon.models.architecture import Architecture
from solon.models.block import hidden


def scored(arch: Architecture, params: Tree, batch: Batch, remat: bool = False) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities of the scored tokens, `[n]`, and the final hidden states, `[b t d]`."""
    h = hidden(
        arch, params, jnp.asarray(batch.tokens_bt), positions_bt=jnp.asarray(batch.positions_bt),
        segments_bt=jnp.asarray(batch.segments_bt), remat=remat, parts=4,
    )  # fmt: skip
    picked = h.reshape(-1, h.shape[-1])[batch.place_n]
    return token_logprobs(arch, params, picked, jnp.asarray(batch.target_n)), h


def loss(arch: Architecture, params: Tree, batch: Batch) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:
    """Sum of -log p over learned tokens, and their number."""
    logp, _ = scored(arch, params, batch, remat=True)
    return -jnp.sum(logp * batch.weight_n), (jnp.sum(batch.weight_n), {})


def sums(logp_n: jax.Array, batch: Batch) -> jax.Array:
    """Log-probability of each whole row of the batch, `[s]`."""
    return jax.ops.segment_sum(logp_n * batch.weight_n, batch.sequence_n, batch.last_s.shape[0])


