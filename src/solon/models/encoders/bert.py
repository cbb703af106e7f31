"""BERT's encoder (Devlin et al. 2018, arXiv 1810.04805) as a pure function over a weight tree.

Shapes: b batch, t place in the text, d width, n heads, h head size, l layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.dense import bmm, dense
from solon.core.errors import ModelError
from solon.core.weights import Tree, Weight, is_weight, path_name, stack
from solon.models.architecture import Fields

NEVER = -1e30
LAYER = "encoder.layer.{}."
# Path in Solon's tree -> tensor name in a Hugging Face checkpoint without its prefix; `{}` is the layer.
NAMES = {
    "embed": "embeddings.word_embeddings.weight",
    "place": "embeddings.position_embeddings.weight",
    "kind": "embeddings.token_type_embeddings.weight",
    "norm": "embeddings.LayerNorm.weight",
    "norm_bias": "embeddings.LayerNorm.bias",
    "blocks/q": LAYER + "attention.self.query.weight",
    "blocks/q_bias": LAYER + "attention.self.query.bias",
    "blocks/k": LAYER + "attention.self.key.weight",
    "blocks/k_bias": LAYER + "attention.self.key.bias",
    "blocks/v": LAYER + "attention.self.value.weight",
    "blocks/v_bias": LAYER + "attention.self.value.bias",
    "blocks/o": LAYER + "attention.output.dense.weight",
    "blocks/o_bias": LAYER + "attention.output.dense.bias",
    "blocks/attn_norm": LAYER + "attention.output.LayerNorm.weight",
    "blocks/attn_norm_bias": LAYER + "attention.output.LayerNorm.bias",
    "blocks/up": LAYER + "intermediate.dense.weight",
    "blocks/up_bias": LAYER + "intermediate.dense.bias",
    "blocks/down": LAYER + "output.dense.weight",
    "blocks/down_bias": LAYER + "output.dense.bias",
    "blocks/mlp_norm": LAYER + "output.LayerNorm.weight",
    "blocks/mlp_norm_bias": LAYER + "output.LayerNorm.bias",
}
UNUSED = ("pooler.", "cls.", "embeddings.position_ids")
"""Tensors of other heads, and a table of the numbers from 0 on."""


@dataclass(frozen=True)
class Bert:
    """The sizes of an encoder."""

    layers: int
    embed: int
    heads: int
    mlp: int
    vocab: int
    context: int
    kinds: int = 2
    norm_eps: float = 1e-12

    @property
    def sizes(self) -> dict[str, int]:
        names = ("layers", "embed", "heads", "mlp", "vocab", "context", "kinds")
        return {name: getattr(self, name) for name in names} | {"head_dim": self.embed // self.heads}


def architecture(config: Mapping[str, Any]) -> Bert:
    """Read a Hugging Face configuration. Raises `ModelError` on a field that would change the computation unnoticed."""
    f = Fields(config)
    f.expect("model_type", "bert")
    f.expect("hidden_act", "gelu")
    f.expect("position_embedding_type", "absolute")
    for name in ("attention_probs_dropout_prob", "hidden_dropout_prob", "gradient_checkpointing", "classifier_dropout"):
        f.get(name)  # training only
    arch = Bert(
        layers=f.need("num_hidden_layers"), embed=f.need("hidden_size"), heads=f.need("num_attention_heads"),
        mlp=f.need("intermediate_size"), vocab=f.need("vocab_size"), context=f.need("max_position_embeddings"),
        kinds=f.get("type_vocab_size", 2), norm_eps=f.get("layer_norm_eps", 1e-12),
    )  # fmt: skip
    f.done()
    if arch.embed % arch.heads:
        raise ModelError("the heads do not divide the width", got=f"{arch.heads} heads, width {arch.embed}")
    return arch


def spec(arch: Bert) -> Tree:
    """The weights of an encoder, blocks stacked over layers."""
    block = {
        "q": Weight("embed -> heads head_dim"), "q_bias": Weight("heads head_dim", start=0.0),
        "k": Weight("embed -> heads head_dim"), "k_bias": Weight("heads head_dim", start=0.0),
        "v": Weight("embed -> heads head_dim"), "v_bias": Weight("heads head_dim", start=0.0),
        "o": Weight("heads head_dim -> embed"), "o_bias": Weight("embed", start=0.0),
        "attn_norm": Weight("embed"), "attn_norm_bias": Weight("embed", start=0.0),
        "up": Weight("embed -> mlp"), "up_bias": Weight("mlp", start=0.0),
        "down": Weight("mlp -> embed"), "down_bias": Weight("embed", start=0.0),
        "mlp_norm": Weight("embed"), "mlp_norm_bias": Weight("embed", start=0.0),
    }  # fmt: skip
    tables = {"embed": Weight("vocab -> embed"), "place": Weight("context -> embed"), "kind": Weight("kinds -> embed")}
    return {**tables, "norm": Weight("embed"), "norm_bias": Weight("embed", start=0.0), "blocks": stack(block, "layers")}


TABLES = ("embed", "place", "kind")


def to_tree(arch: Bert, tensors: Mapping[str, np.ndarray]) -> Tree:
    """Solon's float32 tree from Hugging Face tensors. Raises `ModelError` for one that lacks, is left over, or misfits."""
    given = {name.removeprefix("bert."): name for name in tensors}
    used: set[str] = set()

    def one(path: Any, w: Weight) -> jax.Array:
        name = path_name(path)
        shape = tuple(arch.sizes[axis] for axis in (*w.ins, *w.outs))
        rows = prod(arch.sizes[axis] for axis in w.ins)
        turned = bool(w.ins) and name not in TABLES  # Hugging Face stores a projection as [out, in]
        layers = []
        for i in range(arch.layers if w.stacked else 1):
            wanted = NAMES[name].format(i)
            if wanted not in given:
                raise ModelError(f"the checkpoint lacks the tensor {wanted!r}", fix="fetch the model again")
            used.add(wanted)
            array = np.asarray(tensors[given[wanted]], np.float32)
            if array.size != prod(shape) or (w.ins and array.shape[1 if turned else 0] != rows):
                raise ModelError(f"the tensor {wanted!r} has the wrong shape", got=array.shape, expected=shape)
            layers.append((array.T if turned else array).reshape(shape))
        return jnp.asarray(np.stack(layers) if w.stacked else layers[0])

    tree = jax.tree_util.tree_map_with_path(one, spec(arch), is_leaf=is_weight)
    rest = [name for name in given if name not in used and not name.startswith(UNUSED)]
    if rest:
        raise ModelError(f"the checkpoint has tensors that the encoder does not use: {', '.join(sorted(rest)[:5])}")
    return tree


def _norm(arch: Bert, x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + arch.norm_eps) * weight + bias


def _attend(arch: Bert, p: Tree, x: jax.Array, allowed_bt: jax.Array) -> jax.Array:
    b, t, _ = x.shape
    n, h = arch.heads, arch.sizes["head_dim"]

    def heads(name: str) -> jax.Array:
        return (dense(x, p[name]) + p[name + "_bias"]).transpose(0, 2, 1, 3).reshape(b * n, t, h)

    scores = bmm(heads("q") * h**-0.5, heads("k"), 2).reshape(b, n, t, t)
    weights = jax.nn.softmax(jnp.where(allowed_bt[:, None, None, :], scores, NEVER), -1).reshape(b * n, t, t)
    mixed = bmm(weights, heads("v"), 1).reshape(b, n, t, h).transpose(0, 2, 1, 3)
    return dense(mixed, p["o"], 2) + p["o_bias"]


def states(arch: Bert, params: Tree, tokens_bt: jax.Array, allowed_bt: jax.Array) -> jax.Array:
    """Hidden states `[l+1, b, t, d]` float32: after the embeddings, then after each layer. Places that are not allowed
    (padding) are seen by no other place; their own states mean nothing.

    Blocks stacked in one tree are scanned; a list of blocks is unrolled, which saves copying each layer's weights."""
    x = params["embed"][tokens_bt] + params["place"][: tokens_bt.shape[1]] + params["kind"][0]
    x = _norm(arch, x, params["norm"], params["norm_bias"])

    def one(x: jax.Array, p: Tree) -> tuple[jax.Array, jax.Array]:
        x = _norm(arch, x + _attend(arch, p, x, allowed_bt), p["attn_norm"], p["attn_norm_bias"])
        inner = jax.nn.gelu(dense(x, p["up"]) + p["up_bias"], approximate=False)
        x = _norm(arch, x + dense(inner, p["down"]) + p["down_bias"], p["mlp_norm"], p["mlp_norm_bias"])
        return x, x

    if isinstance(params["blocks"], Sequence):
        seen = [x]
        for p in params["blocks"]:
            seen.append(one(seen[-1], p)[0])
        return jnp.stack(seen)
    _, after = jax.lax.scan(one, x, params["blocks"])
    return jnp.concatenate([x[None], after])


def pooled(states_lbtd: jax.Array, allowed_bt: jax.Array) -> jax.Array:
    """The mean over the allowed places, `[l+1, b, d]`."""
    weight = allowed_bt.astype(jnp.float32)
    return jnp.einsum("lbtd,bt->lbd", states_lbtd, weight) / jnp.maximum(weight.sum(-1), 1.0)[None, :, None]
