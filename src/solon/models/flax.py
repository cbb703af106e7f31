"""The Flax face: any family as an `nnx.Module` over the same weights, for those who build with Flax.

It holds no forward of its own: the module's state is Solon's tree, each array an `nnx.Param`, and calling it runs
`block.forward`. So `nnx.split`, `nnx.Optimizer`, Orbax and the rest work on exactly the model that Solon trains.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
from flax import nnx

from solon.core.dense import is_adapter
from solon.core.weights import Tree
from solon.models.architecture import Architecture
from solon.models.block import forward
from solon.models.load import Model


class Decoder(nnx.Module):
    """A decoder of any family. `weights` is Solon's tree with an `nnx.Param` around each array.

    The arrays of adapters are `nnx.LoRAParam`: `nnx.Optimizer(module, ..., wrt=nnx.LoRAParam)` trains them alone.
    """

    def __init__(self, arch: Architecture, tree: Tree):
        self.arch = arch
        self.weights = nnx.data(jax.tree.map(_wrapped, tree, is_leaf=is_adapter))

    def __call__(self, tokens_bt: jax.Array) -> jax.Array:
        """Logits `[b t v]` float32 of unpadded rows."""
        return forward(self.arch, params(self), tokens_bt)[0]


def from_model(model: Model) -> Decoder:
    """A loaded model as a module; the arrays are shared, not copied."""
    return Decoder(model.arch, model.params)


def params(module: Decoder) -> Tree:
    """The module's weights as Solon's tree, for every function that takes one."""
    return jax.tree.map(_array, module.weights, is_leaf=_is_param)


def _wrapped(leaf: Any) -> Any:
    if not is_adapter(leaf):
        return nnx.Param(leaf)
    base = jax.tree.map(_wrapped, leaf.base, is_leaf=is_adapter)
    return replace(leaf, base=base, **{name: nnx.LoRAParam(getattr(leaf, name)) for name in leaf.TRAINED})


def _is_param(node: Any) -> bool:
    return isinstance(node, nnx.Variable)


def _array(node: Any) -> Any:
    return node.get_value() if _is_param(node) else node
