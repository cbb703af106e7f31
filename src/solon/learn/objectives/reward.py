"""Reward model: a linear head on the last token's hidden state, Bradley-Terry with soft targets (arXiv 2112.00861)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from solon.core.weights import Tree
from solon.learn.objectives.dpo import Pairs
from solon.models.architecture import Architecture
from solon.models.block import hidden
from solon.text.batches import Batch


def head(arch: Architecture) -> dict[str, jax.Array]:
    """A head that gives every reply the same reward."""
    return {"weight": jnp.zeros(arch.embed)}


def rewards(arch: Architecture, params: Tree, weight_d: jax.Array, batch: Batch) -> jax.Array:
    """One scalar per row, `[s]`."""
    h = hidden(
        arch, params, jnp.asarray(batch.tokens_bt), positions_bt=jnp.asarray(batch.positions_bt),
        segments_bt=jnp.asarray(batch.segments_bt), remat=True, parts=4,
    )  # fmt: skip
    return h.reshape(-1, h.shape[-1])[batch.last_s] @ weight_d


def loss(
    arch: Architecture, params: Tree, weight_d: jax.Array, batch: Pairs
) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:
    """Sum over pairs of the cross-entropy between the soft label and sigmoid(reward difference)."""
    r = rewards(arch, params, weight_d, batch.rows).reshape(-1, 2)
    margin = r[:, 0] - r[:, 1]
    p = batch.p_first
    each = -(p * jax.nn.log_sigmoid(margin) + (1 - p) * jax.nn.log_sigmoid(-margin))
    agrees = jnp.sum(((margin > 0) == (p > 0.5)) * batch.weight)
    return jnp.sum(each * batch.weight), (jnp.sum(batch.weight), {"accuracy": agrees})
