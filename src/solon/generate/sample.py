"""From logits to one token a row. Every truncation is a threshold on the logit, so nothing is ever sorted.

A token is drawn by the Gumbel-max rule with noise that is a hash of the request's own key, the token's place and the
token: a sample does not depend on its neighbours in the batch, and rounding in the logits changes it only when two
candidates were as good as equal (inverting the cumulative distribution would change it all along the tail).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

HALVINGS = 24


class Settings(NamedTuple):
    """Per-row sampling settings, each `[b]`; temperature 0 is greedy, top_k 0, top_p 1 and min_p 0 are off."""

    temperature: jax.Array
    top_k: jax.Array
    top_p: jax.Array
    min_p: jax.Array


class Enabled(NamedTuple):
    """What any row of the run uses: the rest is not compiled in."""

    top_k: int = 0  # the largest k of any row
    top_p: bool = False
    min_p: bool = False
    chance: bool = True  # is any row not greedy?


def choose(
    logits_bv: jax.Array, settings: Settings, enabled: Enabled, keys_b: jax.Array, place_b: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Draw one token per row. Returns tokens `[b]` and their log-probabilities under the untruncated distribution at
    temperature 1, nats."""
    greedy = highest(logits_bv)
    if not enabled.chance:
        return greedy.astype(jnp.int32), _logprob(logits_bv, greedy)
    warm = jnp.where(settings.temperature > 0, settings.temperature, 1.0)[:, None]
    scaled = logits_bv / warm
    kept = jnp.where(scaled >= threshold(scaled, settings, enabled)[:, None], scaled, -jnp.inf)
    # Behind a barrier, so that the noise is made once and not again for each pass over it.
    noisy = jax.lax.optimization_barrier(kept + gumbel(keys_b, place_b, kept.shape[1]))
    tokens = jnp.where(settings.temperature > 0, highest(noisy), greedy)
    return tokens.astype(jnp.int32), _logprob(logits_bv, tokens)


def _logprob(logits_bv: jax.Array, tokens_b: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits_bv, tokens_b[:, None], -1)[:, 0] - jax.nn.logsumexp(logits_bv, -1)


def highest(x_bv: jax.Array) -> jax.Array:
    """The first index of each row's maximum; two plain passes are five times faster on a CPU than `argmax`."""
    places = jnp.arange(x_bv.shape[1])[None]
    return jnp.min(jnp.where(x_bv == x_bv.max(-1, keepdims=True), places, x_bv.shape[1] - 1), -1)


def threshold(scaled_bv: jax.Array, settings: Settings, enabled: Enabled) -> jax.Array:
    """The smallest logit that may be drawn, `[b]`: the strictest of top-k, then min-p and top-p."""
    low = jnp.full(scaled_bv.shape[:1], -jnp.inf)
    if enabled.top_k:
        largest = min(enabled.top_k, scaled_bv.shape[1])
        best = jax.lax.top_k(scaled_bv, largest)[0]
        index = jnp.clip(settings.top_k - 1, 0, largest - 1)
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
    # The logit itself: `top + log(low)` may round to just above the token at the border and lose it.
    return jnp.where(mass >= low[:, None], scaled_bv, jnp.inf).min(-1)


def gumbel(keys_b: jax.Array, place_b: jax.Array, count: int) -> jax.Array:
    """Standard Gumbel noise `[b count]`. Two rounds of a 32-bit mixing hash over key, place and token; drawing as many
    numbers with JAX's default generator costs six times as much on a CPU."""
    words = jax.random.key_data(jax.vmap(jax.random.fold_in)(keys_b, place_b)).astype(jnp.uint32)
    token = jnp.arange(count, dtype=jnp.uint32)[None]
    bits = _mixed(_mixed(token * jnp.uint32(0x9E3779B9) ^ words[:, :1]) + words[:, 1:2])
    uniform = ((bits >> 9).astype(jnp.float32) + 0.5) * 2.0**-23  # exact, and never 0 or 1
    return -jnp.log(-jnp.log(uniform))


def _mixed(x: jax.Array) -> jax.Array:
    """A bijection of 32-bit words that changes about half of the bits when one bit changes (Wellons 2018, lowbias32)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
