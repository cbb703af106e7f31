"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290) with soft labels.

Rows 2i and 2i+1 of a batch are the two replies of pair i; `p_first` is the probability that the first is better. The
reference is the same model with the adapter off, scored once before training.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.weights import Tree
from solon.learn.objectives.sft import sums
from solon.models.architecture import Architecture
from solon.models.logprobs import scored
from solon.text.batches import Batch


class Pairs(NamedTuple):
    """A packed batch of replies with the label, the presence (0 for filling) and the reference of each pair."""

    rows: Batch
    p_first: np.ndarray
    present: np.ndarray
    reference_s: np.ndarray


def loss(
    arch: Architecture, params: Tree, batch: Pairs, beta: float
) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:
    """Sum over pairs of the cross-entropy between the soft label and sigmoid(beta * implied reward margin)."""
    logp, _ = scored(arch, params, batch.rows, remat=True)
    rewards = beta * (sums(logp, batch.rows) - batch.reference_s).reshape(-1, 2)
    margin = rewards[:, 0] - rewards[:, 1]
    p = batch.p_first
    each = -(p * jax.nn.log_sigmoid(margin) + (1 - p) * jax.nn.log_sigmoid(-margin))
    agrees = (margin > 0) == (p > 0.5)
    metrics = {
        "accuracy": jnp.sum(agrees * batch.present),
        "margin": jnp.sum(jnp.where(p > 0.5, margin, -margin) * batch.present),
        "reward": jnp.sum(rewards.mean(-1) * batch.present),
    }
    return jnp.sum(each * batch.present), (jnp.sum(batch.present), metrics)
