"""Keys and values kept between tokens: a prefix that all rows share, and each row's own part.

Shapes: S slots, k key/value heads, P tokens of the shared prefix, L tokens of own part, h head size. Slot place `j`
holds position `P + j`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.dense import bmm
from solon.core.kernels import WIDE, Shared, attended, attends, key_blocks, value_blocks
from solon.core.taps import Taps
from solon.core.weights import Tree
from solon.models.architecture import Architecture
from solon.models.block import Attend, compute_dtype, query_scale, run, scores_to_weights


class Pages(NamedTuple):
    """Keys `[S k h L]` and values `[S k L h]` of one layer (or `[layers ...]` when stacked). Keys lie as the product with
    queries wants them: turning them round for every token would take a sixth of the time of decoding (docs/log.md)."""

    k: jax.Array
    v: jax.Array

    @property
    def length(self) -> int:
        """Places `L` for tokens."""
        return self.v.shape[-2]

    def doubled(self) -> Pages:
        """The same with as much room again."""
        none, more = (0, 0), (0, self.length)
        return Pages(jnp.pad(self.k, (*[none] * (self.k.ndim - 1), more)), jnp.pad(self.v, (*[none] * (self.v.ndim - 2), more, none)))


class Blocks(NamedTuple):
    """Keys `[S k L/32 h/2 32 2]` and values `[S k L/32 16 h 2]` of one layer as bits of bf16 numbers: half the memory of `Pages`, in
    the order in which a kernel reads them, up to each row's last token and not to the end of the room (docs/design/018)."""

    k: jax.Array
    v: jax.Array

    @classmethod
    def of(cls, pages: Pages) -> Blocks:
        """The same keys and values."""
        return cls(key_blocks(pages.k), value_blocks(pages.v))


class Prefix(NamedTuple):
    """What all prompts begin with: its pages (`L` is `P`, no `S`), of which the first `length` places count. `P` is rounded up
    and the length is no part of a program's shape, so that one compiled program serves prefixes of many lengths."""

    pages: Pages | None
    length: jax.Array

    def layer(self, place: int) -> Pages | None:
        return None if self.pages is None else Pages(self.pages.k[place], self.pages.v[place])

    def blocks(self, arch: Architecture, place: int) -> Blocks:
        """As `layer`, for a cache of `Blocks`."""
        page = self.layer(place)
        return _no_blocks(arch, arch.kv_heads) if page is None else Blocks.of(page)


def cache_dtype(low: Any) -> Any:
    """On a CPU, updating and reading a float32 cache is many times faster than a bf16 one (docs/design/004)."""
    return jnp.float32 if jax.default_backend() == "cpu" else low


def empty(arch: Architecture, slots: int, length: int, dtype: Any) -> list[Pages]:
    """A cache with room for `length` own tokens in each slot, one entry a layer."""
    many = (slots, arch.kv_heads)
    keys, values = (*many, arch.head_dim, length), (*many, length, arch.head_dim)
    return [Pages(jnp.zeros(keys, dtype), jnp.zeros(values, dtype)) for _ in range(arch.layers)]


def cache_for(arch: Architecture, slots: int, length: int, low: Any) -> list[Pages] | list[Blocks]:
    """As `empty`, in the form that decodes fastest here a model that computes in `low`: for the kernel where there is one.
    `length` is a multiple of 32."""
    if _in_blocks(arch, low):
        return [_no_blocks(arch, slots, arch.kv_heads, blocks=length // WIDE) for _ in range(arch.layers)]
    return empty(arch, slots, length, cache_dtype(low))


def room(arch: Architecture, longest: int, low: Any) -> int:
    """Places of a slot for so many tokens: powers of two, so that few programs are compiled, where those behind the last token cost
    nothing but memory; else multiples of 128."""
    return max(256, 1 << (longest - 1).bit_length()) if _in_blocks(arch, low) else -(-longest // 128) * 128


def _in_blocks(arch: Architecture, low: Any) -> bool:
    return attends(low) and not arch.attn_softcap and arch.head_dim % 2 == 0


def _no_blocks(arch: Architecture, *lead: int, blocks: int = 0) -> Blocks:
    shapes = (arch.head_dim // 2, WIDE, 2), (WIDE // 2, arch.head_dim, 2)
    return Blocks(*(jnp.zeros((*lead, blocks, *shape), jnp.uint16) for shape in shapes))


def prefix_of(arch: Architecture, params: Tree, tokens: Sequence[int]) -> Prefix:
    """Keys and values of the shared beginning."""
    count = len(tokens)
    if not count:
        return Prefix(None, jnp.zeros((), jnp.int32))
    row = np.zeros((1, -(-count // 64) * 64), np.int32)
    row[0, :count] = tokens
    pages = _read(arch, params, jnp.asarray(row))
    return Prefix(Pages(pages.k[:, 0], pages.v[:, 0]), jnp.asarray(count, jnp.int32))


@partial(jax.jit, static_argnums=0)
def _read(arch: Architecture, params: Tree, tokens: jax.Array) -> Pages:
    positions = jnp.arange(tokens.shape[1])[None]
    attend = attend_cached(arch, compute_dtype(params), positions, jnp.zeros((), jnp.int32), decoding=False)
    return run(arch, params, tokens, positions, attend, states=(None, None))[1]


def attend_cached(
    arch: Architecture, low: Any, positions_bt: jax.Array, prefix_length: jax.Array, decoding: bool
) -> Attend:
    """Attention over the shared prefix and the row's own tokens.

    The layer's state is `(prefix, own)`. When decoding, `own` is the slot cache and the one new key is written into it
    at `position - P`; otherwise the rows' own keys are the batch's (causal), and they are returned as the new state.
    """
    kept = cache_dtype(low)

    def attend(q: jax.Array, k: jax.Array, v: jax.Array, local: Any, state: Any, tap: Taps) -> tuple[jax.Array, Any]:
        prefix, own = state
        b, t, n, h = q.shape
        kv = k.shape[2]
        # Rounded to the training type first, so that sampler and trainer see the same numbers.
        q, k, v = (x.astype(low).astype(kept) for x in (q * query_scale(arch), k, v))
        if isinstance(own, Blocks):
            one = (q.reshape(b, kv, n // kv, h), k[:, 0], v[:, 0])
            everyone = Shared(prefix.k, prefix.v, prefix_length)
            mixed, *new = attended(*one, *own, positions_bt[:, 0] - prefix_length, everyone, arch.window if local else 0)
            return mixed.reshape(b, t, n, h), Blocks(*new)
        q = q.reshape(b, t, kv, n // kv, h).transpose(0, 2, 3, 1, 4)  # [b k g t h]
        k, v = k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)
        if decoding:
            place = positions_bt[:, 0] - prefix_length
            own = Pages(_write(own.k, k, place, 2), _write(own.v, v, place, 1))
            key_positions = prefix_length + jnp.arange(own.length)[None, None]
        else:
            own = Pages(k, v)
            key_positions = positions_bt[:, None]
        allowed = _visible(arch, local, positions_bt[..., None], key_positions)
        scores = bmm(q.reshape(b * kv, -1, h), own.k.reshape(b * kv, h, -1), 1).reshape(b, kv, n // kv, t, -1)
        if prefix is not None:
            rows = q.transpose(1, 0, 2, 3, 4).reshape(kv, -1, h)
            shared = bmm(rows, prefix.k, 1).reshape(kv, b, n // kv, t, -1).transpose(1, 0, 2, 3, 4)
            scores = jnp.concatenate([shared, scores], -1)
            places = jnp.arange(prefix.length)[None, None]
            seen = _visible(arch, local, positions_bt[..., None], places) & (places < prefix_length)
            allowed = jnp.concatenate([jnp.broadcast_to(x, (b, t, x.shape[2])) for x in (seen, allowed)], -1)
        weights = scores_to_weights(arch, scores, allowed[:, None, None]).astype(low).astype(kept)
        before = 0 if prefix is None else prefix.length
        ours = weights[..., before:].reshape(b * kv, -1, own.length)
        mixed = bmm(ours, own.v.reshape(b * kv, -1, h), 1).reshape(b, kv, n // kv, t, h)
        if prefix is not None:
            theirs = weights[..., :before].transpose(1, 0, 2, 3, 4).reshape(kv, -1, before)
            mixed += bmm(theirs, prefix.v, 1).reshape(kv, b, n // kv, t, h).transpose(1, 0, 2, 3, 4)
        return mixed.transpose(0, 3, 1, 2, 4).reshape(b, t, n, h), own

    return attend


def _visible(arch: Architecture, local: Any, query: jax.Array, key: jax.Array) -> jax.Array:
    """`[b t s]`: is the key at or before the query and, on local layers, within the window?"""
    seen = key <= query
    return seen & jnp.where(local, query - key < arch.window, True) if arch.window else seen


def _write(pages: jax.Array, new: jax.Array, place_b: jax.Array, axis: int) -> jax.Array:
    """Write one token's keys `[b k h 1]` or values `[b k 1 h]` at each row's own place along an axis of the row's page."""
    return jax.vmap(lambda page, x, i: jax.lax.dynamic_update_slice_in_dim(page, x, i, axis))(pages, new, place_b)
