"""The one real forward of the Llama and Gemma families: it trains, samples, serves and is looked into.

Shapes: b batch, t query time, s key time, d width, n heads, k key/value heads, g = n / k, h head size, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from solon.core.dense import bmm, dense, leaf_dtype, merged, rows, transposed
from solon.core.taps import NO_TAPS, Taps
from solon.core.weights import Tree
from solon.models.architecture import Architecture, rope_frequencies
from solon.models.attention import NEVER, attend_within, bias


class Rope(NamedTuple):
    """Rotation tables `[b t h/2]` for layers with the global and with the local base (the same where there is none)."""

    cos: jax.Array
    sin: jax.Array
    local_cos: jax.Array
    local_sin: jax.Array


class Attend(Protocol):
    """How queries meet keys: over the batch itself (training) or over a cache (sampling)."""

    def __call__(
        self, q: jax.Array, k: jax.Array, v: jax.Array, local: Any, state: Any, tap: Taps
    ) -> tuple[jax.Array, Any]:
        """`q [b t n h]`, `k, v [b t k h]` -> `[b t n h]` and the layer's new state."""


def norm(arch: Architecture, x: jax.Array, weight: Any) -> jax.Array:
    """Root-mean-square norm over the last axis, in float32 (arXiv 1910.07467)."""
    scale = jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + arch.norm_eps)
    return x * scale * (merged(weight).astype(jnp.float32) + arch.norm_offset)


def rope(arch: Architecture, positions_bt: jax.Array) -> Rope:
    """Rotation tables for the given positions."""

    def table(base: float, scaling: Any) -> tuple[jax.Array, jax.Array]:
        angle = positions_bt[..., None].astype(jnp.float32) * rope_frequencies(arch.head_dim, base, scaling)
        return jnp.cos(angle), jnp.sin(angle)

    whole = table(arch.rope_base, arch.rope_scaling)
    return Rope(*whole, *(table(arch.rope_local_base, None) if arch.rope_local_base else whole))


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotary embedding of `[b t n h]`, halves convention."""
    a, b = jnp.split(x, 2, -1)
    cos, sin = cos[..., None, :], sin[..., None, :]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def _project(arch: Architecture, p: Tree, h: jax.Array, name: str) -> jax.Array:
    x = dense(h, p[name])
    if arch.qkv_bias:
        x = x + merged(p[name + "_bias"])
    return norm(arch, x, p[name + "_norm"]) if arch.qk_norm and name != "v" else x


def block(
    arch: Architecture, p: Tree, x: jax.Array, tables: Rope, local: Any, attend: Attend, state: Any, tap: Taps
) -> tuple[jax.Array, Any]:
    """One transformer block on the residual stream `x [b t d]`, float32."""
    x = tap("resid_pre", x)
    h = norm(arch, x, p["attn_norm"])
    cos, sin = tables.cos, tables.sin
    if arch.rope_local_base:
        cos, sin = jnp.where(local, tables.local_cos, cos), jnp.where(local, tables.local_sin, sin)
    q = tap("attn_q", rotate(_project(arch, p, h, "q"), cos, sin))
    k = tap("attn_k", rotate(_project(arch, p, h, "k"), cos, sin))
    v = tap("attn_v", _project(arch, p, h, "v"))
    mixed, state = attend(q, k, v, local, state, tap)
    out = dense(mixed, p["o"], 2)
    out = norm(arch, out, p["attn_post_norm"]) if arch.post_norms else out
    x = tap("resid_mid", x + tap("attn_out", out))
    h = norm(arch, x, p["mlp_norm"])
    gate = dense(h, p["gate"])
    gate = jax.nn.silu(gate) if arch.activation == "silu" else jax.nn.gelu(gate, approximate=True)
    out = dense(tap("mlp_hidden", gate * dense(h, p["up"])), p["down"])
    out = norm(arch, out, p["mlp_post_norm"]) if arch.post_norms else out
    return tap("resid_post", x + tap("mlp_out", out)), state


def scores_to_weights(arch: Architecture, scores: jax.Array, allowed: jax.Array) -> jax.Array:
    """Masked softmax over the last axis, float32, with the soft cap of Gemma 2."""
    if arch.attn_softcap:
        scores = jnp.tanh(scores / arch.attn_softcap) * arch.attn_softcap
    scores = jnp.where(allowed, scores, NEVER)
    raised = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    return raised / raised.sum(-1, keepdims=True)


def query_scale(arch: Architecture) -> float:
    return arch.query_scale or arch.head_dim**-0.5


def causal_attend(arch: Architecture, segments_bt: jax.Array | None, low: Any, parts: int = 1) -> Attend:
    """Attention of a batch over itself: causal, within segments (packed rows), within the window on local layers.

    `parts` cuts the queries into blocks that skip the keys after them: the masked upper triangle is never computed.
    """

    def attend(q: jax.Array, k: jax.Array, v: jax.Array, local: Any, state: Any, tap: Taps) -> tuple[jax.Array, Any]:
        b, t, n, h = q.shape
        kv, g = k.shape[2], n // k.shape[2]
        # Plain batched products [b*k, g*t, h] x [b*k, t, h]: several times faster on a CPU than the 5-axis einsum.
        q = (q * query_scale(arch)).astype(low).reshape(b, t, kv, g, h).transpose(0, 2, 3, 1, 4)
        q = q.reshape(b * kv, g, t, h)
        k, v = (x.astype(low).transpose(0, 2, 1, 3).reshape(b * kv, t, h) for x in (k, v))
        if tap.pattern_wanted or arch.attn_softcap:
            mixed = _plainly(arch, q, k, v, _allowed(arch, segments_bt, local, t), tap)
        else:
            mixed = attend_within(q, k, v, bias(_allowed(arch, segments_bt, local, t)), parts)
        return mixed.reshape(b, kv, g, t, h).transpose(0, 3, 1, 2, 4).reshape(b, t, n, h), state

    return attend


def _plainly(
    arch: Architecture, q: jax.Array, k: jax.Array, v: jax.Array, allowed: jax.Array, tap: Taps
) -> jax.Array:
    """The same product step by step, where the pattern is looked at or a soft cap bends the scores."""
    r, g, t, h = q.shape
    scores = bmm(q.reshape(r, g * t, h), k, 2)
    b = r // arch.kv_heads
    weights = scores_to_weights(arch, scores.reshape(b, arch.kv_heads, g, t, t), allowed.reshape(-1, 1, 1, t, t))
    if tap.pattern_wanted:
        weights = tap("pattern", weights.reshape(b, arch.heads, t, t)).reshape(weights.shape)
    return bmm(weights.astype(q.dtype).reshape(r, g * t, t), v, 1)


def _allowed(arch: Architecture, segments_bt: jax.Array | None, local: Any, length: int) -> jax.Array:
    """Which keys each query may see, `[t s]` or `[b t s]`."""
    distance = jnp.arange(length)[:, None] - jnp.arange(length)[None, :]
    allowed = distance >= 0
    if arch.window:
        allowed &= jnp.where(local, distance < arch.window, True)
    return allowed if segments_bt is None else allowed & (segments_bt[:, :, None] == segments_bt[:, None, :])


def run(
    arch: Architecture, params: Tree, tokens_bt: jax.Array, positions_bt: jax.Array, attend: Attend,
    states: Any = None, taps: Taps = NO_TAPS, remat: bool = False,
) -> tuple[jax.Array, Any, dict[str, jax.Array]]:  # fmt: skip
    """Embed, all blocks, final norm: `[b t d]` float32, the layers' states, and what the taps kept.

    Blocks stacked in one tree are scanned; a list of blocks is unrolled (faster when sampling on a CPU).
    """
    tables = rope(arch, positions_bt)
    x = rows(params["embed"], tokens_bt).astype(jnp.float32) * arch.embed_scale
    outer = taps.at(None)
    x = outer("embed", x)

    def one(x: jax.Array, layer: Any, p: Tree, local: Any, state: Any) -> tuple[jax.Array, Any, dict[str, jax.Array]]:
        tap = taps.at(layer)
        x, state = block(arch, p, x, tables, local, attend, state, tap)
        return x, state, tap.seen

    one = jax.checkpoint(one) if remat else one
    blocks = params["blocks"]
    if isinstance(blocks, Sequence):
        seen_by_layer, new = [], []
        for layer, p in enumerate(blocks):
            x, state, seen = one(x, layer, p, bool(arch.local[layer]), states[layer] if states is not None else None)
            new.append(state)
            seen_by_layer.append(seen)
        seen = jax.tree.map(lambda *xs: jnp.stack(xs), *seen_by_layer)
    else:

        def body(x: jax.Array, xs: Any) -> tuple[jax.Array, Any]:
            x, state, seen = one(x, *xs)
            return x, (state, seen)

        x, (new, seen) = jax.lax.scan(body, x, (jnp.arange(arch.layers), blocks, jnp.asarray(arch.local), states))
    return norm(arch, x, params["norm"]), new, {**outer.seen, **seen}


def hidden(
    arch: Architecture, params: Tree, tokens_bt: jax.Array, *, positions_bt: jax.Array | None = None,
    segments_bt: jax.Array | None = None, remat: bool = False, parts: int = 1,
) -> jax.Array:  # fmt: skip
    """Final hidden states `[b t d]` of whole rows; packed rows need positions and segments."""
    positions = (
        jnp.broadcast_to(jnp.arange(tokens_bt.shape[1]), tokens_bt.shape) if positions_bt is None else positions_bt
    )
    attend = causal_attend(arch, segments_bt, compute_dtype(params), parts)
    return run(arch, params, tokens_bt, positions, attend, remat=remat)[0]


def forward(
    arch: Architecture, params: Tree, tokens_bt: jax.Array, taps: Taps = NO_TAPS
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Logits `[b t v]` float32 of unpadded rows, and what the taps kept."""
    positions = jnp.broadcast_to(jnp.arange(tokens_bt.shape[1]), tokens_bt.shape)
    attend = causal_attend(arch, None, compute_dtype(params))
    h, _, seen = run(arch, params, tokens_bt, positions, attend, taps=taps)
    tap = taps.at(None)
    out = tap("logits", logits(arch, params, h))
    return out, {**seen, **tap.seen}


def compute_dtype(params: Tree) -> Any:
    blocks = params["blocks"]
    return leaf_dtype((blocks[0] if isinstance(blocks, Sequence) else blocks)["q"])


def logits(arch: Architecture, params: Tree, h: jax.Array) -> jax.Array:
    """`[... d] -> [... v]` float32."""
    return cap(arch, dense(h, unembedding(arch, params)))


def unembedding(arch: Architecture, params: Tree) -> Any:
    """The output table `[d v]`: an array or another leaf. A tied one may lie there transposed for speed (the engine)."""
    return params["unembed"] if "unembed" in params else transposed(params["embed"])


def cap(arch: Architecture, out: jax.Array) -> jax.Array:
    return jnp.tanh(out / arch.final_softcap) * arch.final_softcap if arch.final_softcap else out


jit_forward = partial(jax.jit, static_argnums=0)(forward)
