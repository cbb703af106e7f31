"""Attention of a batch over itself, with a backward pass of its own.

Plain autodiff recomputes masks and exponentials in several fused loops and divides by the sum twice; keeping the rounded
weights of one block and using the softmax's own derivative takes about 60 % of the time on a CPU (docs/log.md).

Shapes: r rows times key/value heads, g query heads a key/value head, t query time, s key time, h head size.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

NEVER = -1e30
F32 = jnp.float32


def bias(allowed: jax.Array) -> jax.Array:
    """What is added to a score: nothing where a key may be seen, minus infinity for practical purposes elsewhere."""
    return jnp.where(allowed, 0.0, NEVER)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def attend_within(q: jax.Array, k: jax.Array, v: jax.Array, bias_bts: jax.Array, parts: int) -> jax.Array:
    """`q [r g t h]` scaled, `k, v [r t h]`, `bias_bts` (`[t t]` or `[b t t]`, where b divides r) -> `[r g t h]` float32.

    Operands are multiplied as they come, sums are float32. `parts` cuts the queries into blocks that skip the keys after
    them, so the bias must hide every later key.
    """
    return _forward(q, k, v, bias_bts, parts)[0]


def _blocks(length: int, parts: int) -> list[tuple[int, int]]:
    width = length // (1 if length % parts else parts)
    return [(start, start + width) for start in range(0, length, width)]


def _product(x: jax.Array, y: jax.Array, over: tuple[int, int]) -> jax.Array:
    return jax.lax.dot_general(x, y, (((over[0],), (over[1],)), ((0,), (0,))), preferred_element_type=F32)


def _forward(q: jax.Array, k: jax.Array, v: jax.Array, bias_bts: jax.Array, parts: int) -> tuple[jax.Array, Any]:
    r, g, t, h = q.shape
    table = bias_bts.reshape(-1, 1, 1, t, t)
    mixed, kept = [], []
    for start, end in _blocks(t, parts):
        scores = _product(_rows(q, start, end), k[:, :end], (2, 2)).reshape(len(table), -1, g, end - start, end)
        scores = scores + table[..., start:end, :end]
        raised = jnp.exp(scores - scores.max(-1, keepdims=True))
        weights = (raised / raised.sum(-1, keepdims=True)).astype(q.dtype).reshape(r, g * (end - start), end)
        mixed.append(_product(weights, v[:, :end], (2, 1)).reshape(r, g, end - start, h))
        kept.append(weights)
    out = jnp.concatenate(mixed, 2)
    return out, (q, k, v, out, kept)


def _backward(parts: int, saved: Any, d_out: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    """The softmax's derivative is `weights * (d_weights - sum(weights * d_weights))`, and that sum is `sum(out * d_out)`."""
    q, k, v, out, kept = saved
    r, g, t, h = q.shape
    inner = (d_out * out).sum(-1, keepdims=True)
    d_low = d_out.astype(q.dtype)
    d_q = []
    # Summed as [r h s]: contracting over the last axis of the left side is the fast way round.
    d_k, d_v = jnp.zeros((r, h, t), F32), jnp.zeros((r, h, t), F32)
    for weights, (start, end) in zip(kept, _blocks(t, parts), strict=True):
        d_rows = _rows(d_low, start, end)
        d_weights = _product(d_rows, v[:, :end], (2, 2))
        d_scores = (weights.astype(F32) * (d_weights - _rows(inner, start, end))).astype(q.dtype)
        d_q.append(_product(d_scores, k[:, :end], (2, 1)).reshape(r, g, end - start, h))
        d_k = d_k.at[..., :end].add(_product(_rows(q, start, end).swapaxes(1, 2), d_scores, (2, 1)))
        d_v = d_v.at[..., :end].add(_product(d_rows.swapaxes(1, 2), weights, (2, 1)))
    d_k, d_v = (x.swapaxes(1, 2).astype(k.dtype) for x in (d_k, d_v))
    return jnp.concatenate(d_q, 2).astype(q.dtype), d_k, d_v, None


def _rows(x: jax.Array, start: int, end: int) -> jax.Array:
    """Queries `[start, end)` of `[r g t h]`, all heads of a group below each other: `[r g*t h]`."""
    r, g, _, h = x.shape
    return x[:, :, start:end].reshape(r, g * (end - start), h)


attend_within.defvjp(_forward, _backward)
