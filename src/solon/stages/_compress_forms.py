"""The forms into which a model is brought to make it smaller, and what each takes in memory and in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from solon.core.dense import LoRA, is_leaf, merged
from solon.core.lowrank import LowRank, low_rank, widened
from solon.core.prune import Pruned, prune
from solon.core.quantise import BLOCKS, EVERYTHING, quantise, size
from solon.core.weights import Tree, is_weight, named, rewrite
from solon.models.architecture import spec
from solon.models.load import Model

Source = Callable[[Model], Model]


@dataclass(frozen=True)
class Form:
    """How a plain float32 model becomes a smaller one, and how that one is mended: `sft` on demonstrations or `distill` from
    the original, both with a LoRA; nothing where empty."""

    what: str
    make: Source
    mend: str = ""


def _cast(model: Model) -> Model:
    return replace(model, params=as_type(model, model.params, jnp.bfloat16))


def _rounded(kind: str, where: str = EVERYTHING, rest: str = "") -> Source:
    def make(model: Model) -> Model:
        params = quantise(spec(model.arch), model.params, kind, where)
        return replace(model, params=quantise(spec(model.arch), params, rest, "^(embed|unembed)$") if rest else params)

    return make


def _pruned(by: float | str) -> Source:
    return lambda model: replace(model, params=prune(spec(model.arch), model.params, by))


def _thin(share: float) -> Source:
    return lambda model: replace(model, params=low_rank(spec(model.arch), model.params, share))


def shallow(model: Model) -> Model:
    """The model without the middle one of every three layers; what is left is not changed."""
    kept = [layer for layer in range(model.arch.layers) if layer % 3 != 1]
    local = tuple(model.arch.local_layers[layer] for layer in kept) if model.arch.local_layers else ()
    blocks = jax.tree.map(lambda x: x[jnp.array(kept)], model.params["blocks"])
    arch = replace(model.arch, layers=len(kept), local_layers=local)
    return replace(model, arch=arch, params={**model.params, "blocks": blocks})


FORMS: Mapping[str, Form] = {
    "float32": Form("as published, computed in float32", lambda model: model),
    "tuned": Form("float32 after the same fine-tuning: what the fine-tuning does by itself", lambda model: model, "sft"),
    "bf16": Form("every matrix in bfloat16", _cast),
    "int8": Form("every matrix in 8 bits, a scale for each output channel", _rounded("int8")),
    "int4": Form("every matrix in 4 bits (NF4), a scale for each block of 64", _rounded("int4")),
    "int4+int8": Form("layers in 4 bits, tables of words in 8", _rounded("int4", BLOCKS, "int8")),
    "pruned": Form("half of each layer's matrix zero, by magnitude", _pruned(0.5)),
    "pruned+sft": Form("the same, fine-tuned within its mask", _pruned(0.5), "sft"),
    "2:4": Form("2 of every 4 inputs zero, by magnitude", _pruned("2:4")),
    "2:4+sft": Form("the same, fine-tuned within its mask", _pruned("2:4"), "sft"),
    "low-rank": Form("each layer's matrix as a product of two with half of its numbers, by singular values", _thin(0.5)),
    "low-rank+distill": Form("the same, distilled from the original's logits", _thin(0.5), "distill"),
    "shallow": Form("two of every three layers", shallow),
    "shallow+distill": Form("the same, distilled from the original's logits", shallow, "distill"),
}
ORIGINAL = "float32"


def as_type(model: Model, params: Tree, dtype: Any) -> Tree:
    """The same weights with every plain or pruned matrix in another type; a mask stays what it is."""

    def one(_: str, __: Any, leaf: Any) -> Any:
        return replace(leaf, base=leaf.base.astype(dtype)) if isinstance(leaf, Pruned) else leaf.astype(dtype)

    return rewrite(one, r"", spec(model.arch), params)


def settled(params: Tree) -> Tree:
    """Every leaf as one array: adapters merged, pruned matrices with their zeros. A product stays one, its adapter beside it."""

    def one(leaf: Any) -> Any:
        if isinstance(leaf, LoRA) and isinstance(leaf.base, LowRank):
            return widened(leaf)
        return merged(leaf)

    return jax.tree.map(one, params, is_leaf=is_leaf)


def running(model: Model) -> Model:
    """The model as it computes: a pruned one as plain arrays with zeros, since nothing here skips them."""
    return replace(model, params=settled(model.params)) if has_mask(model.params) else model


def has_mask(params: Tree) -> bool:
    """Is any matrix a pruned one?"""
    return any(isinstance(leaf, Pruned) for leaf in jax.tree.leaves(params, is_leaf=is_leaf))


def file_bytes(params: Tree) -> int:
    """What the weights take when they are written out: quantised ones as they stand in memory; of a pruned matrix the numbers
    that were kept and one bit a weight that says which (for 2:4 that is what two positions of 2 bits take)."""

    def one(leaf: Any) -> int:
        if isinstance(leaf, Pruned):
            return int(jnp.sum(leaf.mask)) * leaf.base.dtype.itemsize + -(-leaf.mask.size // 8)
        return size(leaf)

    return sum(map(one, jax.tree.leaves(params, is_leaf=lambda node: isinstance(node, Pruned))))


def parameters(model: Model) -> int:
    """How many numbers a model has: of a product those of its two halves, else what the architecture says."""
    leaves = named(model.params, is_leaf=is_leaf)
    sizes = {name: prod(w.shape(model.arch.sizes)) for name, w in named(spec(model.arch), is_leaf=is_weight).items()}
    return sum(leaf.a.size + leaf.b.size if isinstance(leaf := leaves[name], LowRank) else count for name, count in sizes.items())


def broken_zeros(before: Tree, after: Tree) -> int:
    """How many weights that were pruned away are not zero in plain arrays made later."""
    masks = {name: leaf.mask for name, leaf in named(before, is_leaf=is_leaf).items() if isinstance(leaf, Pruned)}
    arrays = named(after)
    return sum(int(jnp.sum((arrays[name] != 0) & ~mask)) for name, mask in masks.items())


def zeros(model: Model) -> float:
    """Share of exact zeros in the layers' matrices."""
    weights = named(spec(model.arch), is_leaf=is_weight)
    arrays = [merged(leaf) for name, leaf in named(model.params, is_leaf=is_leaf).items() if weights[name].stacked and weights[name].ins]
    return sum(int(jnp.sum(x == 0)) for x in arrays) / sum(x.size for x in arrays)
