"""Group relative policy optimisation (Shao et al. 2024, arXiv 2402.03300, section 4.1).

Several replies are drawn to one prompt; what one of them is worth is its reward less the mean of its group, so there is no
value model. Each token's ratio to the policy that drew it is clipped as in PPO. All defaults are those of TRL 1.16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.errors import DataError
from solon.core.weights import Tree
from solon.models.architecture import Architecture
from solon.models.logprobs import scored
from solon.text.batches import Batch

Scale = Literal["group", "batch", "none"]
Normalise = Literal["dapo", "grpo", "dr_grpo"]
TINY = 1e-4  # keeps the advantages of a group with nearly equal rewards finite, as TRL's


class Rollouts(NamedTuple):
    """A packed batch of replies that were drawn. `advantage_s` stands by its rows, everything else by its scored places:
    `sampled_n` what the sampler gave each token, `old_n` what the weights that drew them give it in a training pass (none
    where those are the weights being trained: the first update), `reference_n` what the reference gives it (none without KL).
    """

    rows: Batch
    advantage_s: np.ndarray
    sampled_n: np.ndarray
    old_n: Any = None
    reference_n: Any = None


@dataclass(frozen=True)
class Terms:
    """What the loss is made of.

    `low` and `high` bound the ratio at 1 - low and 1 + high. `beta` weighs the KL to the reference; with `weigh_kl` its
    estimate is multiplied by the ratio, whose gradient makes it that of the reverse KL (DeepSeek-V3.2, arXiv 2512.02556).
    `normalise` says over what a step's tokens are averaged: `dapo` over all tokens of the step (arXiv 2503.14476), `grpo` over each
    reply and then over replies, as the paper has it, `dr_grpo` over replies times `limit` tokens (arXiv 2503.20783). A
    `cap` above 0 multiplies each token by min(old / sampled, cap): importance weights for a sampler that computes otherwise
    than the trainer, truncated; they are constants for the gradient.
    """

    low: float = 0.2
    high: float = 0.2
    beta: float = 0.0
    weigh_kl: bool = True
    normalise: Normalise = "dapo"
    limit: int = 1
    cap: float = 0.0


def advantages(rewards_pg: np.ndarray, scale: Scale = "group") -> np.ndarray:
    """Rewards `[prompts, group]` less their group's mean, divided by the standard deviation (n - 1) of the group or of the
    whole batch, or by nothing (arXiv 2503.20783); float32. Equal rewards give exactly 0."""
    rewards = np.asarray(rewards_pg, np.float64)
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise DataError("advantages need groups of replies", got=rewards.shape, expected="[prompts, 2 or more]")
    if not np.isfinite(rewards).all():
        fix = "give every reply a reward; one that cannot be judged gets the lowest"
        raise DataError("a reward is not a number", got=float(rewards[~np.isfinite(rewards)][0]), fix=fix)
    apart = rewards - rewards[:, :1]  # so that equal rewards leave no rounding error, which would be divided by next to nothing
    centred = apart - apart.mean(1, keepdims=True)
    if scale == "none":
        return centred.astype(np.float32)
    spread = centred.std(1, ddof=1, keepdims=True) if scale == "group" else rewards.std(ddof=1)
    return (centred / (spread + TINY)).astype(np.float32)


def k3(logp: jax.Array, reference: jax.Array) -> jax.Array:
    """An estimate of KL(policy || reference) from a token that the policy drew: never negative, and without bias
    (Schulman 2020, "Approximating KL divergence")."""
    apart = reference - logp
    return jnp.expm1(apart) - apart


def loss(
    arch: Architecture, params: Tree, batch: Rollouts, terms: Terms, remat: bool = True
) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:
    """The sum over tokens as `of_logprobs` has it, with the log-probabilities of these weights."""
    logp = scored(arch, params, batch.rows, remat=remat)
    return of_logprobs(logp, batch, terms)


def of_logprobs(
    logp_n: jax.Array, batch: Rollouts, terms: Terms
) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:
    """Sum over tokens of `-min(ratio A, clip(ratio) A) + beta KL`, weighed so that division by the items, which may come from
    several micro-batches, gives the mean of `terms.normalise`.

    A reply's weight multiplies all of its tokens. Metrics are means over tokens (`dapo`) or over each reply and then over
    replies: the ratio, the share that is clipped, the KL, and `sampler_gap`, the distance |log p - sampler's| in nats, of which
    at the first update all is numerics.
    """
    rows = batch.rows
    real = lambda x_n: jnp.where(rows.weight_n > 0, x_n, 0.0)  # noqa: E731 (whatever stands at filling has an exponential)
    logp, sampled = real(logp_n), real(batch.sampled_n)
    here = jax.lax.stop_gradient(logp)
    old = here if batch.old_n is None else real(batch.old_n)
    ratio = jnp.exp(logp - old)
    gain = jnp.asarray(batch.advantage_s)[rows.sequence_n]
    each = -jnp.minimum(ratio * gain, jnp.clip(ratio, 1 - terms.low, 1 + terms.high) * gain)
    outside = ((ratio < 1 - terms.low) & (gain < 0)) | ((ratio > 1 + terms.high) & (gain > 0))
    metrics = {"ratio": ratio, "clipped": outside, "sampler_gap": jnp.abs(here - sampled)}
    if terms.cap:
        weight = jnp.exp(old - sampled)
        each *= jnp.minimum(weight, terms.cap)
        metrics["capped"] = weight > terms.cap
    if terms.beta:
        kl = k3(logp, real(batch.reference_n))
        metrics["kl"] = kl
        each += terms.beta * (kl * ratio if terms.weigh_kl else kl)
    share = rows.weight_n
    if terms.normalise != "dapo":
        length_s = jax.ops.segment_sum((rows.weight_n > 0) * 1.0, rows.sequence_n, rows.last_s.shape[0])
        share = share / jnp.maximum(length_s, 1)[rows.sequence_n]
    items = jnp.sum(share)  # the weights of all tokens, or of all replies
    weigh = rows.weight_n / terms.limit if terms.normalise == "dr_grpo" else share
    return jnp.sum(each * weigh), (items, {name: jnp.sum(value * share) for name, value in metrics.items()})
