"""Matrices as a product of two thin ones: the best approximation of that rank, by singular values (Eckart and Young 1936)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.dense import F32, Adapter, Axes, Leaf, LoRA, Place, dense, merged, product
from solon.core.errors import ConfigError
from solon.core.weights import Tree, Weight, rewrite


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LowRank(Leaf):
    """`a @ b`, with `a` `[*stacked, *ins, rank]` and `b` `[*stacked, rank, *outs]`, both in the type in which they compute."""

    a: jax.Array
    b: jax.Array
    n_in: int = field(default=1, metadata={"static": True})

    @property
    def dtype(self) -> Any:
        return self.a.dtype

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        return dense(dense(x, self.a, n_in), self.b)

    def array(self) -> jax.Array:
        return product(self.a.astype(F32), self.b.astype(F32), self.n_in).astype(self.dtype)

    def astype(self, dtype: Any) -> LowRank:
        """The same with both halves in another type."""
        return replace(self, a=self.a.astype(dtype), b=self.b.astype(dtype))

    def spread(self, axes: Axes, place: Place) -> LowRank:
        return replace(self, a=place(self.a, (*axes.stacked, *axes.ins, None)), b=place(self.b, (*axes.stacked, None, *axes.outs)))


def widened(w: LoRA) -> LowRank:
    """A LoRA over a product as one product, whose rank is the sum of both."""
    base: LowRank = w.base
    stacked, low = base.a.ndim - 1 - base.n_in, base.dtype
    strength = jnp.asarray(w.strength, F32)
    a = w.a * strength.reshape(*strength.shape, *(1,) * (w.a.ndim - strength.ndim))
    return replace(base, a=jnp.concatenate([base.a, a.astype(low)], -1), b=jnp.concatenate([base.b, w.b.astype(low)], stacked))


def low_rank(spec: Tree, params: Tree, share: float, where: str = r"^blocks/") -> Tree:
    """Every matrix of each layer whose path matches `where` as a product that has at most `share` of its numbers: the nearest
    one in the sum of squares. Each half gets the roots of the singular values.

    Adapters have to be merged first: the approximation is one of the sum. Raises `ConfigError` otherwise, and where the share
    leaves a matrix no rank.
    """
    if not 0 < share < 1:
        raise ConfigError("the share of numbers that a product keeps lies between 0 and 1", got=share)

    def one(name: str, w: Weight, leaf: Any) -> LowRank:
        if isinstance(leaf, Adapter):
            raise ConfigError(f"{name} carries an adapter", fix="merge the adapters first")
        return _nearest(name, merged(leaf), len(w.stacked), len(w.ins), share)

    return rewrite(one, where, spec, params)


def _nearest(name: str, array: jax.Array, stacked: int, n_in: int, share: float) -> LowRank:
    lead, ins, outs = array.shape[:stacked], array.shape[stacked : stacked + n_in], array.shape[stacked + n_in :]
    rows, columns = prod(ins), prod(outs)
    rank = int(share * rows * columns / (rows + columns))
    if rank < 1:
        raise ConfigError(f"no rank of {name} has so few numbers", got=share, expected=f"at least {(rows + columns) / (rows * columns):.3g}")
    u, s, v = np.linalg.svd(np.asarray(array, np.float32).reshape(*lead, rows, columns), full_matrices=False)
    root = np.sqrt(s[..., :rank])
    a = (u[..., :rank] * root[..., None, :]).reshape(*lead, *ins, rank)
    b = (root[..., :, None] * v[..., :rank, :]).reshape(*lead, rank, *outs)
    return LowRank(jnp.asarray(a, array.dtype), jnp.asarray(b, array.dtype), n_in)
