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
    """A packed batch of replies with the label, the weight (0 for filling) and the reference of each pair."""

    rows: Batch
    p_first: np.ndarray
    weight: np.ndarray
    reference_s: np.ndarray


def loss(
    arch: Architecture, params: Tree, batch: Pairs, beta: float, nll: float = 0.0, remat: bool = True
) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:
    """Sum over pairs of the cross-entropy between the soft label and sigmoid(beta * implied reward margin).

    `nll` adds so many times the mean -log p of a token of each reply, by the probability that it is the better one: DPO alone is
    content to make both replies less likely, and what they share goes with them (Pang et al. 2024, arXiv 2404.19733).
    """
    logp = scored(arch, params, batch.rows, remat=remat)
    each_s = sums(logp, batch.rows)
    rewards = beta * (each_s - batch.reference_s).reshape(-1, 2)
    margin = rewards[:, 0] - rewards[:, 1]
    p = batch.p_first
    each = -(p * jax.nn.log_sigmoid(margin) + (1 - p) * jax.nn.log_sigmoid(-margin))
    if nll:
        length_s = jnp.maximum(sums(jnp.ones_like(logp), batch.rows), 1)
        first, second = (each_s / length_s).reshape(-1, 2).T
        each -= nll * (p * first + (1 - p) * second)
    agrees = (margin > 0) == (p > 0.5)
    metrics = {
        "accuracy": jnp.sum(agrees * batch.weight),
        "margin": jnp.sum(jnp.where(p > 0.5, margin, -margin) * batch.weight),
        "reward": jnp.sum(rewards.mean(-1) * batch.weight),
    }
    return jnp.sum(each * batch.weight), (jnp.sum(batch.weight), metrics)
