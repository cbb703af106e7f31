"""Supervised fine-tuning: next-token loss on the learned tokens only (assistant turns), averaged over tokens by weight."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from solon.core.dense import without_adapter
from solon.core.weights import Tree
from solon.learn.objectives.distill import divergence
from solon.models.architecture import Architecture
from solon.models.block import unembedding
from solon.models.logprobs import states, token_logprobs
from solon.text.batches import Batch


def loss(
    arch: Architecture, params: Tree, batch: Batch, weight_v: ArrayLike | None = None, keep: float = 0.0,
    remat: bool = True,
) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:  # fmt: skip
    """Sum of -weight * log p over learned tokens, and the sum of their weights.

    A token counts by its row's weight times `weight_v` of its id, where that is given. `keep` adds so many times the
    KL divergence, at each learned place, of the model from what it is without its outermost adapter: capability is then
    not lost where the rows do not ask for a change. With `remat` layers are computed again in the backward pass, not kept.
    """
    h = states(arch, params, batch, remat=remat)
    target_n = jnp.asarray(batch.target_n)
    weight_n = batch.weight_n if weight_v is None else batch.weight_n * jnp.asarray(weight_v)[target_n]
    each, metrics = -token_logprobs(arch, params, h, target_n), {}
    if keep:
        before = without_adapter(params)
        kl = divergence(arch, unembedding(arch, params), h, arch, unembedding(arch, before), states(arch, before, batch))
        each, metrics = each + keep * kl, {"kl": jnp.sum(kl * weight_n)}
    return jnp.sum(each * weight_n), (jnp.sum(weight_n), metrics)


def sums(logp_n: jax.Array, batch: Batch) -> jax.Array:
    """Log-probability of each whole row of the batch, `[s]`, whatever the row counts."""
    return jax.ops.segment_sum(logp_n * (batch.weight_n > 0), batch.sequence_n, batch.last_s.shape[0])
