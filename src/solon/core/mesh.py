"""Where weights live: one table from axis name to mesh axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from solon.core.weights import Sizes, Tree, is_weight

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
