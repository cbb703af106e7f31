"""Pruned matrices: small weights are zero and stay zero, whatever is trained on top.

Zeros in a dense array make nothing faster here: XLA has no sparse product on CPUs, and the 2:4 form pays only on hardware
that skips by it. What pruning shows is what a model can do without.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from solon.core.dense import Adapter, Axes, Leaf, Place, dense, leaf_dtype, merged, spread
from solon.core.errors import ConfigError
from solon.core.weights import Tree, Weight, rewrite


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pruned(Leaf):
    """A matrix of which only the entries with `mask` count.

    The gradient of the others is zero, so training the base leaves them zero; a LoRA above learns only where the mask is,
    so merging it keeps the pattern too.
    """

    base: Any
    mask: jax.Array

    @property
    def dtype(self) -> Any:
        return leaf_dtype(self.base)

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        return dense(x, self.array(), n_in)

    def array(self) -> jax.Array:
        return jnp.where(self.mask, merged(self.base), 0)

    def spread(self, axes: Axes, place: Place) -> Pruned:
        mask = place(self.mask, (*axes.stacked, *axes.ins, *axes.outs))
        return replace(self, base=spread(self.base, axes, place), mask=mask)


def prune(spec: Tree, params: Tree, by: float | str, where: str = r"^blocks/") -> Tree:
    """Zero the weights of smallest magnitude in each matrix of each layer whose path matches `where`.

    `by` is the share to zero (0.5), or a pattern such as "2:4": of every 4 inputs in a row the 2 largest stay. Adapters
    have to be merged first: what is small changes with them.
    """
    keep, group = _pattern(by) if isinstance(by, str) else (0, 0)
    if not isinstance(by, str) and not 0 <= by < 1:
        raise ConfigError("the share of weights to prune lies between 0 and 1", got=by)

    def one(name: str, w: Weight, leaf: Any) -> Pruned:
        if isinstance(leaf, Adapter | Pruned):
            raise ConfigError(f"{name} carries an adapter or is pruned already", fix="merge the adapters first")
        array = merged(leaf)
        stacked, ins = len(w.stacked), len(w.stacked) + len(w.ins)
        flat = jnp.abs(array.astype(jnp.float32)).reshape(*array.shape[:stacked], -1, prod(array.shape[ins:]))
        mask = _largest_of_groups(name, flat, keep, group) if group else _largest(flat, float(by))
        mask = mask.reshape(array.shape)
        return Pruned(jnp.where(mask, array, 0), mask)

    return rewrite(one, where, spec, params)


def _pattern(text: str) -> tuple[int, int]:
    keep, colon, group = text.partition(":")
    if not (colon and keep.isdigit() and group.isdigit() and 0 < int(keep) < int(group)):
        raise ConfigError("unknown pruning pattern", got=text, expected="a share such as 0.5, or a pattern such as 2:4")
    return int(keep), int(group)


def _largest(size: jax.Array, share: float) -> jax.Array:
    """All but the smallest `share` of each matrix, exactly counted; of equals the first go."""
    lead, count = size.shape[:-2], size.shape[-1] * size.shape[-2]
    flat = size.reshape(*lead, count)
    rank = jnp.argsort(jnp.argsort(flat, -1, stable=True), -1, stable=True)
    return rank.reshape(size.shape) >= int(Fraction(share).limit_denominator(10**6) * count)


def _largest_of_groups(name: str, size: jax.Array, keep: int, group: int) -> jax.Array:
    """The `keep` largest of every `group` inputs of each output."""
    if size.shape[-2] % group:
        raise ConfigError(f"the inputs of {name} do not divide into groups of {group}", got=size.shape[-2])
    grouped = size.reshape(*size.shape[:-2], -1, group, size.shape[-1])
    rank = jnp.argsort(jnp.argsort(grouped, -2, stable=True), -2, stable=True)
    return (rank >= group - keep).reshape(size.shape)


def sparsity(tree: Tree) -> float:
    """Share of zeros in the pruned matrices of a tree."""
    found = [leaf for leaf in jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, Pruned)) if isinstance(leaf, Pruned)]
    zeros = sum(int(jnp.sum(leaf.array() == 0)) for leaf in found)
    return zeros / max(sum(leaf.mask.size for leaf in found), 1)
