"""The one contraction: the only place where a weight meets an activation.

A leaf may be an array or `LoRA` over any leaf, so an adapter needs no code in any model. On a CPU, XLA reaches the
bf16 matrix path only for bf16 operands with a float32 result; plain autodiff would then multiply a float32 cotangent
by a bf16 weight, which is slow, so the backward pass casts it (measured in docs/design/002).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

F32 = jnp.float32


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LoRA:
    """A frozen `base` plus `scale * a @ b` (Hu et al. 2021, arXiv 2106.09685).

    `a` is `[*stacked, *ins, rank]`, `b` is `[*stacked, rank, *outs]`; both are float32 and are used in the base's type.
    `key` (raw, `[*stacked, 2]`) switches dropout on for one training step.
    """

    base: Any
    a: jax.Array
    b: jax.Array
    key: jax.Array | None = None
    scale: float = field(default=1.0, metadata={"static": True})
    n_in: int = field(default=1, metadata={"static": True})
    rate: float = field(default=0.0, metadata={"static": True})


def is_lora(node: Any) -> bool:
    return isinstance(node, LoRA)


def _product(x: jax.Array, y: jax.Array, over: tuple[int, int]) -> jax.Array:
    dims = (((over[0],), (over[1],)), ((), ()))
    return jax.lax.dot_general(x, y, dims, preferred_element_type=F32)


@jax.custom_vjp
def _low_product(x: jax.Array, w: jax.Array) -> jax.Array:
    """`[m k] @ [k n]` with operands in the weight's type and a float32 result."""
    return _product(x.astype(w.dtype), w, (1, 0))


def _low_forward(x: jax.Array, w: jax.Array) -> tuple[jax.Array, Any]:
    x = x.astype(w.dtype)
    return _product(x, w, (1, 0)), (x, w)


def _low_backward(saved: Any, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, w = saved
    g = g.astype(w.dtype)
    return _product(g, w, (1, 1)), _product(x, g, (0, 0)).astype(w.dtype)


_low_product.defvjp(_low_forward, _low_backward)


def matmul(x: jax.Array, w: jax.Array) -> jax.Array:
    """`[m k] @ [k n] -> [m n]` in float32, through the fast path of the weight's type."""
    x = x.astype(F32)
    return _product(x, w, (1, 0)) if w.dtype == F32 else _low_product(x, w)


def leaf_dtype(w: Any) -> Any:
    """The type in which a leaf computes."""
    return leaf_dtype(w.base) if isinstance(w, LoRA) else w.dtype


def dense(x: jax.Array, w: Any, n_in: int = 1) -> jax.Array:
    """Contract the last `n_in` axes of `x` with the first `n_in` of the weight. Returns float32."""
    if isinstance(w, LoRA):
        low = leaf_dtype(w)
        inner = dense(_dropped(x, w), w.a.astype(low), n_in)
        return dense(x, w.base, n_in) + w.scale * dense(inner, w.b.astype(low))
    lead, outs = x.shape[: x.ndim - n_in], w.shape[n_in:]
    width = prod(w.shape[:n_in])
    return matmul(x.reshape(-1, width), w.reshape(width, prod(outs))).reshape(*lead, *outs)


def _dropped(x: jax.Array, w: LoRA) -> jax.Array:
    if w.key is None or not w.rate:
        return x
    keep = jax.random.bernoulli(jax.random.wrap_key_data(w.key), 1 - w.rate, x.shape)
    return jnp.where(keep, x / (1 - w.rate), 0)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def bmm(x: jax.Array, y: jax.Array, over: int) -> jax.Array:
    """Batched product with a float32 result, operands as they come: `[b m k]` with `[b n k]` (over=2) or `[b k n]`
    (over=1) gives `[b m n]`."""
    return _batched(x, y, over)


def _batched(x: jax.Array, y: jax.Array, over: int) -> jax.Array:
    return jax.lax.dot_general(x, y, (((2,), (over,)), ((0,), (0,))), preferred_element_type=F32)


def _bmm_forward(x: jax.Array, y: jax.Array, over: int) -> tuple[jax.Array, Any]:
    return _batched(x, y, over), (x, y)


def _bmm_backward(over: int, saved: Any, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, y = saved
    g = g.astype(x.dtype)
    left, right = (jnp.swapaxes(g, 1, 2), x) if over == 2 else (jnp.swapaxes(x, 1, 2), g)
    return _batched(g, y, 3 - over).astype(x.dtype), _batched(left, right, 1).astype(y.dtype)


bmm.defvjp(_bmm_forward, _bmm_backward)


def merged(w: Any) -> jax.Array:
    """The one array a leaf stands for: a LoRA's base plus its delta."""
    if not isinstance(w, LoRA):
        return w
    base = merged(w.base)
    stacked = w.a.ndim - 1 - w.n_in
    lead = base.shape[:stacked]
    a = w.a.reshape(*lead, -1, w.a.shape[-1])
    b = w.b.reshape(*lead, w.b.shape[stacked], -1)
    return (base.astype(F32) + w.scale * (a @ b).reshape(base.shape)).astype(base.dtype)


def without_adapter(tree: Any) -> Any:
    """The same weights with every LoRA switched off."""
    return jax.tree.map(lambda w: w.base if is_lora(w) else w, tree, is_leaf=is_lora)


def merge(tree: Any) -> Any:
    """Plain arrays: every LoRA added into its base."""
    return jax.tree.map(merged, tree, is_leaf=is_lora)


def with_dropout(tree: Any, key: jax.Array) -> Any:
    """Give every LoRA its dropout keys for one step, one per stacked layer, folded from the leaf's place."""
    leaves, shape = jax.tree.flatten(tree, is_leaf=is_lora)

    def keyed(i: int, w: Any) -> Any:
        if not is_lora(w) or not w.rate:
            return w
        lead = w.a.shape[: w.a.ndim - 1 - w.n_in]
        keys = jax.random.split(jax.random.fold_in(key, i), max(prod(lead), 1))
        return replace(w, key=jax.random.key_data(keys).reshape(*lead, -1))

    return jax.tree.unflatten(shape, [keyed(i, w) for i, w in enumerate(leaves)])
