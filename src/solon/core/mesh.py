"""Where weights live: one table from axis name to mesh axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from solon.core.dense import Axes, spread
from solon.core.weights import Sizes, Tree, Weight, is_weight

# The width is split over `data` (fully sharded data parallel), what the width is mapped to over `model`.
RULES: Mapping[str, str] = {"embed": "data", "heads": "model", "kv_heads": "model", "mlp": "model", "vocab": "model"}


def mesh(data: int = 1, model: int = 1) -> Mesh:
    """A mesh of `data * model` devices, over which the compiler spreads the work (JAX's default is to be told each step)."""
    return jax.make_mesh((data, model), ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))


def shardings(spec: Tree, sizes: Sizes, where: Mesh, rules: Mapping[str, str] = RULES) -> Tree:
    """A `NamedSharding` per weight; an axis whose size the mesh does not divide stays whole."""

    def axis_of(name: str) -> str | None:
        axis = rules.get(name)
        return axis if axis and sizes[name] % where.shape[axis] == 0 else None

    def one(weight: Any) -> NamedSharding:
        return NamedSharding(where, PartitionSpec(*(axis_of(name) for name in weight.axes)))

    return jax.tree.map(one, spec, is_leaf=is_weight)


def placed(spec: Tree, params: Tree, where: Mesh, rules: Mapping[str, str] = RULES) -> Tree:
    """A `NamedSharding` for every array of real weights, those of adapters and of quantised matrices included.

    Each half of an adapter lies beside the side of the matrix that it touches; ranks, blocks' insides and scales of one
    for all stay whole, and so does an axis whose size the mesh does not divide. For `jax.device_put` and `jit`.
    """

    def place(array: Any, names: tuple[str | None, ...]) -> NamedSharding:
        axes = (rules.get(name) if name else None for name in names)
        fits = (axis if axis and size % where.shape[axis] == 0 else None for axis, size in zip(axes, array.shape, strict=True))
        return NamedSharding(where, PartitionSpec(*fits))

    def one(weight: Weight, leaf: Any) -> Any:
        return spread(leaf, Axes(weight.stacked, weight.ins, weight.outs), place)

    return jax.tree.map(one, spec, params, is_leaf=is_weight)
