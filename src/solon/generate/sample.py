"""From logits to one token a row. Every truncation is a threshold on the logit, so nothing is ever sorted.

A token is drawn by inverting the cumulative distribution with one uniform number per row, which is folded from the
request's own key and the token's place: a sample does not depend on its neighbours in the batch.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

GROUP = 128  # the vocabulary is searched in two steps: which group, then which token of it
HALVINGS = 24


class Settings(NamedTuple):
    """Per-row sampling settings, each `[b]`; temperature 0 is greedy, top_k 0, top_p 1 and min_p 0 are off."""

    temperature: jax.Array
    top_k: jax.Array
    top_p: jax.Array
    min_p: jax.Array


class Enabled(NamedTuple):
    """Which truncations any row of the run uses: the others are not compiled in."""

    top_k: int = 0  # the largest k of any row
    top_p: bool = False
    min_p: bool = False


def choose(
    logits_bv: jax.Array, settings: Settings, enabled: Enabled, keys_b: jax.Array, place_b: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Draw one token per row. Returns tokens `[b]` and their log-probabilities under the untruncated distribution at
    temperature 1, nats."""
    greedy = jnp.argmax(logits_bv, -1)
    warm = jnp.where(settings.temperature > 0, settings.temperature, 1.0)[:, None]
    scaled = logits_bv / warm
    kept = jnp.where(scaled >= threshold(scaled, settings, enabled)[:, None], scaled, -jnp.inf)
    uniform = jax.vmap(lambda key, place: jax.random.uniform(jax.random.fold_in(key, place)))(keys_b, place_b)
    tokens = jnp.where(settings.temperature > 0, invert(kept, uniform), greedy)
    picked = jnp.take_along_axis(logits_bv, tokens[:, None], -1)[:, 0]
    return tokens.astype(jnp.int32), picked - jax.nn.logsumexp(logits_bv, -1)


def threshold(scaled_bv: jax.Array, settings: Settings, enabled: Enabled) -> jax.Array:
    """The smallest logit that may be drawn, `[b]`: the strictest of top-k, then min-p and top-p."""
    low = jnp.full(scaled_bv.shape[:1], -jnp.inf)
    if enabled.top_k:
        best = jax.lax.top_k(scaled_bv, enabled.top_k)[0]
        index = jnp.clip(settings.top_k - 1, 0, enabled.top_k - 1)
        kth = jnp.take_along_axis(best, index[:, None], -1)[:, 0]
        low = jnp.where(settings.top_k > 0, kth, low)
    if enabled.min_p:
        floor = scaled_bv.max(-1) + jnp.log(jnp.maximum(settings.min_p, 1e-30))
        low = jnp.where(settings.min_p > 0, jnp.maximum(low, floor), low)
    if enabled.top_p:
        nucleus = _nucleus(jnp.where(scaled_bv >= low[:, None], scaled_bv, -jnp.inf), settings.top_p)
        low = jnp.where(settings.top_p < 1, jnp.maximum(low, nucleus), low)
    return low


def _nucleus(scaled_bv: jax.Array, top_p: jax.Array) -> jax.Array:
    """The highest threshold that still keeps a mass of at least `top_p` (Holtzman et al. 2020), by halving."""
    top = scaled_bv.max(-1)
    mass = jnp.exp(scaled_bv - top[:, None])
    need = top_p * mass.sum(-1)

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        enough = jnp.where(mass >= middle[:, None], mass, 0).sum(-1) >= need
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    low, _ = jax.lax.fori_loop(0, HALVINGS, halve, (jnp.zeros_like(top), jnp.ones_like(top)))
    return top + jnp.log(jnp.maximum(low, 1e-30))


def invert(scaled_bv: jax.Array, uniform_b: jax.Array) -> jax.Array:
    """The token at which the cumulative distribution passes `uniform_b`, `[b]`."""
    b, v = scaled_bv.shape
    padded = jnp.pad(scaled_bv, ((0, 0), (0, -v % GROUP)), constant_values=-jnp.inf)
    mass = jnp.exp(padded - padded.max(-1, keepdims=True)).reshape(b, -1, GROUP)
    ends = jnp.cumsum(mass.sum(-1), -1)
    target = uniform_b * ends[:, -1]
    group = jnp.minimum(jnp.sum(ends <= target[:, None], -1), ends.shape[1] - 1)
    inside = jnp.take_along_axis(mass, group[:, None, None], 1)[:, 0]
    before = jnp.where(group > 0, jnp.take_along_axis(ends, jnp.maximum(group - 1, 0)[:, None], -1)[:, 0], 0.0)
    within = jnp.cumsum(inside, -1)
    passed = (within <= (target - before)[:, None]) & (within < within[:, -1:])
    index = jnp.sum(passed, -1)
    # Rounding can leave the target on a token of no mass: step to the nearest one before it that has some.
    possible = jnp.where((jnp.arange(GROUP) <= index[:, None]) & (inside > 0), jnp.arange(GROUP), -1).max(-1)
    first = jnp.argmax(inside > 0, -1)
    return group * GROUP + jnp.where(possible >= 0, possible, first)
