"""From a model's name to weights in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core import plugins
from solon.core.dense import merged
from solon.core.errors import ModelError
from solon.core.weights import Tree, Weight, is_weight, path_name
from solon.models.architecture import Architecture, spec
from solon.models.formats import Checkpoint, LazyTensors, read
from solon.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Model:
    """A model ready for use: its architecture, its weights as a tree, its tokenizer, and what it is called.

    `digest` names the published weights; `adapters` are the SHA-256 of the adapters' files that lie on them, innermost first."""

    name: str
    arch: Architecture
    params: Tree
    tokenizer: Tokenizer
    licence: str
    digest: str
    adapters: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """What the hidden states follow from: `digest`, and where adapters lie on the weights SHA-256 over it and theirs."""
        return hashlib.sha256("\n".join((self.digest, *self.adapters)).encode()).hexdigest() if self.adapters else self.digest


def family(model_type: str) -> ModuleType:
    """The family file that claims a Hugging Face `model_type`."""
    known = {kind: name for name in plugins.names("families") for kind in plugins.load("families", name).MODEL_TYPES}
    if model_type not in known:
        raise ModelError(f"no model family reads the type {model_type!r}", expected=", ".join(sorted(known)))
    return plugins.load("families", known[model_type])


def load(name: str, dtype: Any = jnp.float32) -> Model:
    """Load a model by catalogue name, folder, file or hub name. Matrices get `dtype`; norms and biases stay float32."""
    from solon.models.hub import locate

    return from_checkpoint(name, read(locate(name)), dtype)


def from_checkpoint(name: str, checkpoint: Checkpoint, dtype: Any = jnp.float32) -> Model:
    maker = family(checkpoint.config["model_type"])
    arch = maker.architecture(checkpoint.config)
    params = to_tree(arch, maker.names(arch), checkpoint.tensors, dtype)
    return Model(name, arch, params, checkpoint.tokenizer, checkpoint.licence, checkpoint.digest)


def to_tree(arch: Architecture, names: Mapping[str, str], tensors: Mapping[str, np.ndarray], dtype: Any) -> Tree:
    """Solon's tree from Hugging Face tensors. Every tensor must be used, and every weight found, in its exact shape."""
    used: set[str] = set()

    def one(path: Any, w: Weight) -> jax.Array:
        pattern = names[path_name(path)]
        wanted = [pattern.format(i) for i in range(arch.layers)] if w.stacked else [pattern]
        layers = [_oriented(arch, w, name, tensors) for name in wanted]
        used.update(wanted)
        array = np.stack(layers) if w.stacked else layers[0]
        return jnp.asarray(array, dtype if w.ins else jnp.float32)

    tree = jax.tree_util.tree_map_with_path(one, spec(arch), is_leaf=is_weight)
    # A tied output may be stored a second time; rotary tables are derived.
    unused = {n for n in tensors if n not in used and n != "lm_head.weight" and not n.endswith("rotary_emb.inv_freq")}
    if unused:
        raise ModelError(f"the checkpoint has tensors that the family does not use: {', '.join(sorted(unused)[:5])}")
    return tree


def _oriented(arch: Architecture, w: Weight, name: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """One layer's tensor in Solon's layout: Hugging Face stores `[out, in]`, Solon `[*ins, *outs]`."""
    if name not in tensors:
        raise ModelError(
            f"the checkpoint lacks the tensor {name!r}", fix="download the model again: it is not complete"
        )
    array = tensors[name]
    shape = tuple(arch.sizes[axis] for axis in (*w.ins, *w.outs))
    rows, columns = (int(np.prod([arch.sizes[axis] for axis in axes])) for axes in (w.ins, w.outs))
    turned = bool(w.ins) and w.ins != ("vocab",)
    expected = ((columns, rows) if turned else (rows, columns)) if w.ins else (columns,)
    if array.shape != expected:
        raise ModelError(f"the tensor {name!r} has the wrong shape", got=array.shape, expected=expected)
    return (array.T if turned else array).reshape(shape)


def to_tensors(arch: Architecture, names: Mapping[str, str], params: Tree) -> dict[str, np.ndarray]:
    """The inverse of `to_tree`: Hugging Face names and layouts, float32."""
    return dict(lazy_tensors(arch, names, params))


def lazy_tensors(arch: Architecture, names: Mapping[str, str], params: Tree) -> LazyTensors:
    """As `to_tensors`, each tensor made when it is asked for: adapters merged, quantised weights as their numbers."""
    readers: dict[str, Callable[[], np.ndarray]] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    def one(path: Any, w: Weight, leaf: Any) -> None:
        rows, columns = (int(np.prod([arch.sizes[axis] for axis in axes])) for axes in (w.ins, w.outs))
        turned = bool(w.ins) and w.ins != ("vocab",)

        def stored(layer: int | None) -> np.ndarray:
            part = leaf if layer is None else jax.tree.map(lambda x: x[layer], leaf)
            array = np.asarray(merged(part), np.float32).reshape((rows, columns) if w.ins else (columns,))
            return np.ascontiguousarray(array.T if turned else array)

        for layer in range(arch.layers) if w.stacked else [None]:
            name = names[path_name(path)].format(layer)
            readers[name] = partial(stored, layer)
            shapes[name] = ((columns, rows) if turned else (rows, columns)) if w.ins else (columns,)

    jax.tree_util.tree_map_with_path(one, spec(arch), params, is_leaf=is_weight)
    return LazyTensors(readers, shapes)
