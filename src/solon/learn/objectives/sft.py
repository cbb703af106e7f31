"""Supervised fine-tuning: next-token loss on the learned tokens only (assistant turns), averaged over tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from solon.core.weights import Tree
from solon.models.architecture import Architecture
from solon.models.logprobs import scored
from solon.text.batches import Batch


def loss(arch: Architecture, params: Tree, batch: Batch) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:
    """Sum of -log p over learned tokens, and their number."""
    logp, _ = scored(arch, params, batch, remat=True)
    return -jnp.sum(logp * batch.weight_n), (jnp.sum(batch.weight_n), {})


def sums(logp_n: jax.Array, batch: Batch) -> jax.Array:
    """Log-probability of each whole row of the batch, `[s]`."""
    return jax.ops.segment_sum(logp_n * batch.weight_n, batch.sequence_n, batch.last_s.shape[0])


