"""Weights are data: one string per weight says its axes, fan-in, sharding, LoRA split and quantisation scale."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from solon.core.keys import seed_of

Tree = Any
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Weight:
    """`Weight("embed -> heads head_dim")`: what a weight contracts, what it makes. A rule without an arrow is a vector.

    Sizes come from the model's configuration by axis name. `stacked` axes stand in front and are scanned over.
    """

    rule: str
    stacked: tuple[str, ...] = ()
    start: float = 1.0  # value of a vector at initialisation (Gemma stores its norms around zero)

    @property
    def ins(self) -> tuple[str, ...]:
        return tuple(self.rule.split("->")[0].split()) if "->" in self.rule else ()

    @property
    def outs(self) -> tuple[str, ...]:
        return tuple(self.rule.split("->")[-1].split())

    @property
    def axes(self) -> tuple[str, ...]:
        return self.stacked + self.ins + self.outs

    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        return tuple(sizes[axis] for axis in self.axes)


def is_weight(node: Any) -> bool:
    return isinstance(node, Weight)


def stack(tree: Tree, axis: str) -> Tree:
    """The same weights with one more axis in front, for depth run by `lax.scan`."""
    return jax.tree.map(lambda w: replace(w, stacked=(axis, *w.stacked)), tree, is_leaf=is_weight)


path_name = partial(jax.tree_util.keystr, simple=True, separator="/")


def named(tree: Tree, is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """`{"blocks/q": leaf, ...}` in a fixed order."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf)}


def init(spec: Tree, sizes: Sizes, seed: int, dtype: Any = jnp.float32) -> Tree:
    """Random weights: normal with variance 1/fan-in for matrices, `start` for vectors; each keyed by its own name."""

    def one(path: Any, w: Weight) -> jax.Array:
        if not w.ins:
            return jnp.full(w.shape(sizes), w.start, dtype)
        fan_in = sizes["embed"] if w.ins == ("vocab",) else prod(sizes[axis] for axis in w.ins)
        key = jax.random.key(seed_of("weights", seed, path_name(path)))
        return (jax.random.normal(key, w.shape(sizes)) * fan_in**-0.5).astype(dtype)

    return jax.tree_util.tree_map_with_path(one, spec, is_leaf=is_weight)


def abstract(spec: Tree, sizes: Sizes, dtype: Any = jnp.bfloat16) -> Tree:
    """Shapes without memory."""
    return jax.tree.map(lambda w: jax.ShapeDtypeStruct(w.shape(sizes), dtype), spec, is_leaf=is_weight)


def count(spec: Tree, sizes: Sizes) -> int:
    """Number of parameters."""
    return sum(prod(w.shape(sizes)) for w in jax.tree.leaves(spec, is_leaf=is_weight))


def rewrite(fn: Callable[[str, Weight, Any], Any], where: str, spec: Tree, params: Tree) -> Tree:
    """Replace every matrix whose path matches the pattern `where` by `fn(name, weight, leaf)`; leave the rest."""

    def one(path: Any, w: Weight, leaf: Any) -> Any:
        name = path_name(path)
        return fn(name, w, leaf) if w.ins and re.search(where, name) else leaf

    return jax.tree_util.tree_map_with_path(one, spec, params, is_leaf=is_weight)


def unstack(tree: Tree, depth: int) -> list[Tree]:
    """The slices of stacked weights, one tree per layer, for a program that is unrolled over depth."""
    return [jax.tree.map(lambda w, i=i: w[i], tree) for i in range(depth)]
