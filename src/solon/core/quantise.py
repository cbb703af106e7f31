"""Matrices in 8 or 4 bits, to infer with and to train adapters on. Only the storage is small: they compute in `low`.

Both forms are deterministic and know no calibration data. Their arrays are recomputed in the backward pass instead of kept,
so a frozen base never stands in memory unpacked as a whole; no gradient reaches them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.dense import F32, Adapter, Axes, Leaf, Place, dense, innermost, is_leaf, leaf_dtype, merge, merged
from solon.core.errors import ConfigError
from solon.core.prune import Pruned
from solon.core.weights import Tree, Weight, rewrite

BLOCKS = r"^blocks/"  # the matrices of all layers, without embeddings and output
EVERYTHING = r""
BLOCK = 64
# 4-bit NormalFloat (Dettmers et al. 2023, arXiv 2305.14314, appendix E): quantiles of the normal distribution, scaled to
# [-1, 1], with an exact zero.
LEVELS = np.array(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
        -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ],
    np.float32,
)  # fmt: skip
ZERO = 7


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Int8(Leaf):
    """Symmetric 8-bit integers with one `scale` for each output channel: the weight is `q * scale`.

    `q` has the matrix's shape, `scale` the same number of axes with inputs of size 1. Integers up to 127 are exact in
    bf16, so the scale is applied behind the product. A table is scaled by its rows.
    """

    q: jax.Array
    scale: jax.Array
    low: str = field(default="float32", metadata={"static": True})

    @property
    def dtype(self) -> Any:
        return jnp.dtype(self.low)

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        unpacked = jax.checkpoint(lambda x, q, scale: dense(x, (q * scale).astype(self.dtype), n_in))
        if prod(self.scale.shape[:n_in]) != 1:
            return unpacked(x, self.q, self.scale)
        width = prod(self.q.shape[:n_in])
        if x.size == width and self.dtype == F32:  # one row: XLA's sum over rows is six times as fast here as its product
            out = (x.astype(F32).reshape(width, 1) * self.q.reshape(width, -1).astype(F32)).sum(0)
            return (out * self.scale.reshape(-1)).reshape(*x.shape[: x.ndim - n_in], *self.q.shape[n_in:])
        plain = jax.checkpoint(lambda x, q: dense(x, q.astype(self.dtype), n_in))
        return plain(x, self.q) * self.scale.reshape(self.q.shape[n_in:])

    def array(self) -> jax.Array:
        return (self.q * self.scale).astype(self.dtype)

    def rows(self, ids: jax.Array) -> jax.Array:
        scale = self.scale[ids] if self.scale.shape[0] > 1 else self.scale[0]
        return self.q[ids] * scale

    def transposed(self) -> Int8:
        return replace(self, q=self.q.T, scale=self.scale.T)

    def spread(self, axes: Axes, place: Place) -> Int8:
        names = (*axes.stacked, *axes.ins, *axes.outs)
        whole = tuple(name if size > 1 else None for name, size in zip(names, self.scale.shape, strict=True))
        return replace(self, q=place(self.q, names), scale=place(self.scale, whole))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Int4(Leaf):
    """Blocks of 64 inputs, each weight one of 16 `LEVELS` times the block's largest magnitude: 4.5 bits a weight.

    `codes` `[*stacked, blocks, 32, outs]` holds two weights a byte: in the low half the first 32 of a block, in the high half
    the others. `largest` is `[*stacked, blocks, 1, outs]`. `shape` is that of the matrix without its stacked axes; inputs that
    do not fill the last block are padded with zeros. A table is kept `turned`: its blocks lie along the width.
    """

    codes: jax.Array
    largest: jax.Array
    shape: tuple[int, ...] = field(metadata={"static": True})
    low: str = field(default="float32", metadata={"static": True})
    turned: bool = field(default=False, metadata={"static": True})

    @property
    def dtype(self) -> Any:
        return jnp.dtype(self.low)

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        unpacked = jax.checkpoint(lambda x, codes, largest: dense(x, replace(self, codes=codes, largest=largest).array(), n_in))
        return unpacked(x, self.codes, self.largest)

    def array(self) -> jax.Array:
        lead, outs = self.codes.shape[:-3], self.codes.shape[-1]
        full = _unpacked(self.codes, self.largest).reshape(*lead, -1, outs)
        full = full[..., : prod(self.shape) // outs, :]
        full = jnp.swapaxes(full, -1, -2) if self.turned else full
        return full.reshape(*lead, *self.shape).astype(self.dtype)

    def rows(self, ids: jax.Array) -> jax.Array:
        if not self.turned:
            return self.array()[ids]
        flat = ids.reshape(-1)
        picked = _unpacked(self.codes[..., flat], self.largest[..., flat]).reshape(-1, flat.size)
        return picked[: self.shape[1]].T.reshape(*ids.shape, self.shape[1])

    def transposed(self) -> Int4:
        return replace(self, shape=self.shape[::-1], turned=not self.turned)

    def spread(self, axes: Axes, place: Place) -> Int4:
        ins, outs = (axes.outs, axes.ins) if self.turned else (axes.ins, axes.outs)
        names = (*axes.stacked, ins[0], None, outs[0])
        return replace(self, codes=place(self.codes, names), largest=place(self.largest, names))


def _unpacked(codes: jax.Array, largest: jax.Array) -> jax.Array:
    """`[*stacked, blocks, 64, outs]` float32."""
    return jnp.asarray(LEVELS)[jnp.concatenate([codes & 15, codes >> 4], -2)] * largest


def int8(array: jax.Array, stacked: int, n_in: int, low: Any) -> Int8:
    """Round `[*stacked, *ins, *outs]` to 255 steps for each output channel; a channel of zeros stays one."""
    q, scale = _in_8_bits(array, stacked, n_in)
    return Int8(q, scale, str(jnp.dtype(low)))


@partial(jax.jit, static_argnums=(1, 2))
def _in_8_bits(array: jax.Array, stacked: int, n_in: int) -> tuple[jax.Array, jax.Array]:
    full = array.astype(F32)
    largest = jnp.max(jnp.abs(full), tuple(range(stacked, stacked + n_in)), keepdims=True)
    scale = jnp.where(largest > 0, largest, 1.0) / 127
    return jnp.round(full / scale).astype(jnp.int8), scale


def int4(array: jax.Array, stacked: int, n_in: int, low: Any, turned: bool = False) -> Int4:
    """Round each weight to the nearest level of its block."""
    codes, largest = _in_4_bits(array, stacked, n_in, turned)
    return Int4(codes, largest, array.shape[stacked:], str(jnp.dtype(low)), turned)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _in_4_bits(array: jax.Array, stacked: int, n_in: int, turned: bool) -> tuple[jax.Array, jax.Array]:
    lead, shape = array.shape[:stacked], array.shape[stacked:]
    full = array.astype(F32).reshape(*lead, prod(shape[:n_in]), -1)
    full = jnp.swapaxes(full, -1, -2) if turned else full
    spare = [(0, 0)] * stacked + [(0, -full.shape[-2] % BLOCK), (0, 0)]
    blocks = jnp.pad(full, spare).reshape(*lead, -1, BLOCK, full.shape[-1])
    largest = jnp.max(jnp.abs(blocks), -2, keepdims=True)
    middles = jnp.asarray((LEVELS[1:] + LEVELS[:-1]) / 2)
    codes = jnp.searchsorted(middles, blocks / jnp.where(largest > 0, largest, 1.0)).astype(jnp.uint8)
    return codes[..., :32, :] | codes[..., 32:, :] << 4, largest


FORMS: dict[str, type[Leaf]] = {"int8": Int8, "int4": Int4}
KINDS = tuple(FORMS)


def quantise(spec: Tree, params: Tree, kind: str, where: str = BLOCKS) -> Tree:
    """The same weights with every matrix whose path matches `where` in 8 or 4 bits, below its adapters where it has any.

    Norms and biases stay. What already has this form stays as it is.
    """
    if kind not in KINDS:
        raise ConfigError("unknown kind of quantisation", got=kind, expected=" or ".join(KINDS))
    return rewrite(lambda _, w, leaf: _quantised(w, leaf, kind), where, spec, params)


def _quantised(w: Weight, leaf: Any, kind: str) -> Any:
    if isinstance(leaf, Adapter):
        return leaf.over(_quantised(w, leaf.base, kind))
    if isinstance(leaf, Pruned):  # zero is a level of both forms
        return replace(leaf, base=_quantised(w, leaf.base, kind))
    if isinstance(leaf, FORMS[kind]):
        return leaf
    array, low, stacked, n_in = merged(leaf), leaf_dtype(leaf), len(w.stacked), len(w.ins)
    table = w.ins == ("vocab",)
    if kind == "int4":
        return int4(array, stacked, n_in, low, turned=table)
    if table:
        return int8(array.T, stacked, n_in, low).transposed()
    return int8(array, stacked, n_in, low)


def forms(tree: Tree) -> list[str]:
    """The kinds in which a tree holds matrices, those below adapters included; none for plain weights."""
    leaves = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, Int8 | Int4))
    return sorted({"int8" if isinstance(leaf, Int8) else "int4" for leaf in leaves if isinstance(leaf, Int8 | Int4)})


def to_infer(spec: Tree, params: Tree, kind: str) -> Tree:
    """A model's weights with every matrix in 8 or 4 bits, to read and to write with.

    An adapter over plain weights is added into them first and the sum is rounded, as a published model would be. One that
    was trained over this very form stays beside it: it has learned around the rounding, and rounding the sum anew would undo
    that. What cannot be added in, such as a bottleneck, stays too.
    """
    if kind not in KINDS:
        raise ConfigError("unknown kind of quantisation", got=kind, expected=" or ".join(KINDS))
    return quantise(spec, merge(params, lambda w: isinstance(innermost(w), FORMS[kind])), kind, EVERYTHING)


def dequantise(tree: Tree) -> Tree:
    """The same weights with every quantised matrix as a plain array of the type it computes in; adapters stay."""

    def one(leaf: Any) -> Any:
        if isinstance(leaf, Adapter):
            return leaf.over(one(leaf.base))
        if isinstance(leaf, Pruned):
            return replace(leaf, base=one(leaf.base))
        return merged(leaf) if isinstance(leaf, Int8 | Int4) else leaf

    return jax.tree.map(one, tree, is_leaf=is_leaf)


def size(tree: Tree) -> int:
    """Bytes that all arrays of a tree take."""
    return sum(prod(leaf.shape) * jnp.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))
