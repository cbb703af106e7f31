"""Stacks of bf16 matrices as the integers of their bits, for programs that loop over layers on a CPU.

XLA has no slice of a bf16 array there. In each run of a program it turns the whole stack into float32, takes the slices of that and
turns every one back: for 135M parameters 425 MB written anew for each prompt and each micro-batch (docs/log.md). Integers it
slices as they lie.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.dense import Axes, Leaf, Place, dense, is_adapter, is_leaf
from solon.core.weights import Tree


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Bits(Leaf):
    """A frozen bf16 array: `bits`, uint16 of the same shape (an array, or its shape alone). Nothing is differentiated through it."""

    bits: Any

    @property
    def dtype(self) -> Any:
        return jnp.bfloat16

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        return dense(x, self.array(), n_in)

    def array(self) -> jax.Array:
        return jax.lax.bitcast_convert_type(self.bits, jnp.bfloat16)

    def rows(self, ids: jax.Array) -> jax.Array:
        return jax.lax.bitcast_convert_type(self.bits[ids], jnp.bfloat16)

    def spread(self, axes: Axes, place: Place) -> Any:
        return Bits(place(self.bits, (*axes.stacked, *axes.ins, *axes.outs)))


def sliceable(params: Tree) -> Tree:
    """The same weights with stacked bf16 blocks as bits that share their memory, also below adapters; unchanged where blocks are
    a list, and on other devices than a CPU. Arrays may be shapes alone."""
    if isinstance(params["blocks"], list):
        return params
    return {**params, "blocks": jax.tree.map(as_bits, params["blocks"], is_leaf=is_leaf)}


def as_bits(w: Any) -> Any:
    """The same leaf with a plain bf16 array as its bits."""
    if is_adapter(w):
        return replace(w, base=as_bits(w.base))  # not `over`: the numbers below are the same, and DoRA need not read them again
    if jax.default_backend() != "cpu" or is_leaf(w) or w.dtype != jnp.bfloat16:
        return w
    if isinstance(w, jax.ShapeDtypeStruct):
        return Bits(jax.ShapeDtypeStruct(w.shape, jnp.uint16, sharding=w.sharding))
    if len(w.sharding.device_set) > 1:
        return w
    return Bits(jax.device_put(np.asarray(w).view(np.uint16), may_alias=True))
