"""The one contraction: the only place where a weight meets an activation.

A leaf of the tree may be an array or any `Leaf`: an adapter over another leaf (`LoRA` here, the rest in
`core/adapters.py`), a quantised matrix (`core/quantise.py`) or a pruned one (`core/prune.py`). So none of them needs code
in any model. On a CPU, XLA reaches the bf16 matrix path only for bf16 operands with a float32 result; plain autodiff would
then multiply a float32 cotangent by a bf16 weight, which is slow, so the backward pass casts it (measured in
docs/design/002).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

F32 = jnp.float32


class Axes(NamedTuple):
    """The named axes of a matrix: those scanned over, those contracted, those made."""

    stacked: tuple[str, ...]
    ins: tuple[str, ...]
    outs: tuple[str, ...]


Place = Callable[[Any, tuple[str | None, ...]], Any]  # an array and the names of its axes -> where it lives


class Leaf:
    """A weight that is not one array. Inside a scan over layers it has lost its stacked axes."""

    @property
    def dtype(self) -> Any:
        """The type in which it computes."""
        raise NotImplementedError

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        """As the function `dense`."""
        raise NotImplementedError

    def array(self) -> jax.Array:
        """The one array it stands for, `[*stacked, *ins, *outs]`. Raises `ModelError` where there is no such array."""
        raise NotImplementedError

    def rows(self, ids: jax.Array) -> jax.Array:
        """Rows of a table `[rows, width]`."""
        return self.array()[ids]

    def transposed(self) -> Any:
        """The leaf of the transposed table."""
        return self.array().T

    def spread(self, axes: Axes, place: Place) -> Any:
        """The same leaf with `place(array, names of its axes)` for each array (core/mesh.py)."""
        raise NotImplementedError


class Adapter(Leaf):
    """A frozen `base` and a few numbers that are trained, those called `TRAINED`."""

    TRAINED: ClassVar[tuple[str, ...]]
    base: Any

    @property
    def dtype(self) -> Any:
        return leaf_dtype(self.base)

    @property
    def mergeable(self) -> bool:
        """Is the adapter and all below it one matrix?"""
        return mergeable(self.base)

    def over(self, base: Any) -> Any:
        """The same adapter over another base."""
        return replace(self, base=base)  # type: ignore[type-var]


class Pair(Adapter):
    """What LoRA and DoRA share: the product `strength * a @ b`, its dropout, and where it lives.

    `a` is `[*stacked, *ins, rank]`, `b` is `[*stacked, rank, *outs]`; both are float32 and are used in the base's type.
    `key` (raw, `[*stacked, 2]`) switches dropout on for one training step. `gain` `[*stacked]` multiplies `scale` where
    layers differ in rank.
    """

    a: jax.Array
    b: jax.Array
    key: jax.Array | None
    gain: jax.Array | None
    scale: float
    n_in: int
    rate: float

    @property
    def strength(self) -> Any:
        """What `a @ b` is multiplied by."""
        return self.scale if self.gain is None else self.scale * self.gain

    def through(self, x: jax.Array, n_in: int) -> jax.Array:
        """`strength * x @ a @ b`, the input with dropout."""
        inner = dense(_dropped(x, self), self.a.astype(self.dtype), n_in)
        return self.strength * dense(inner, self.b.astype(self.dtype))

    def change(self) -> jax.Array:
        """`strength * a @ b` layer by layer, `[*stacked, *ins, *outs]` float32."""
        change = product(self.a, self.b, self.n_in)
        if self.gain is None:
            return self.scale * change
        return self.strength.reshape(*self.gain.shape, *(1,) * (change.ndim - self.gain.ndim)) * change

    def spread(self, axes: Axes, place: Place) -> Any:
        """Each half lies beside the side of the base that it touches."""
        small = {name: getattr(self, name) for name in ("key", "gain")}
        rest = {name: place(x, _leading(axes, x.ndim)) for name, x in small.items() if x is not None}
        a, b = place(self.a, (*axes.stacked, *axes.ins, None)), place(self.b, (*axes.stacked, None, *axes.outs))
        return replace(self, base=spread(self.base, axes, place), a=a, b=b, **rest)  # type: ignore[type-var]


def _leading(axes: Axes, count: int) -> tuple[str | None, ...]:
    return (*axes.stacked, *(None,) * (count - len(axes.stacked)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LoRA(Pair):
    """A frozen `base` plus `scale * a @ b` (Hu et al. 2021, arXiv 2106.09685).

    Over a pruned base only the entries that were kept change.
    """

    TRAINED: ClassVar[tuple[str, ...]] = ("a", "b")

    base: Any
    a: jax.Array
    b: jax.Array
    key: jax.Array | None = None
    gain: jax.Array | None = None
    scale: float = field(default=1.0, metadata={"static": True})
    n_in: int = field(default=1, metadata={"static": True})
    rate: float = field(default=0.0, metadata={"static": True})

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        out = dense(x, self.base, n_in)
        if kept(self.base) is None:
            return out + self.through(x, n_in)
        return out + dense(_dropped(x, self), self.change().astype(self.dtype), n_in)

    def change(self) -> jax.Array:
        change, mask = super().change(), kept(self.base)
        return change if mask is None else change * mask

    def array(self) -> jax.Array:
        base = merged(self.base)
        return (base.astype(F32) + self.change()).astype(base.dtype)

    def rows(self, ids: jax.Array) -> jax.Array:
        if kept(self.base) is not None:
            return self.array()[ids]
        return rows(self.base, ids) + self.strength * dense(self.a[ids], self.b.astype(self.dtype))

    def transposed(self) -> LoRA:
        return replace(self, base=transposed(self.base), a=self.b.T, b=self.a.T, key=None, rate=0.0)


def product(a: jax.Array, b: jax.Array, n_in: int) -> jax.Array:
    """`a @ b` layer by layer: `[*stacked, *ins, *outs]`."""
    stacked = a.ndim - 1 - n_in
    lead, ins, outs = a.shape[:stacked], a.shape[stacked:-1], b.shape[stacked + 1 :]
    flat = a.reshape(*lead, -1, a.shape[-1]) @ b.reshape(*lead, b.shape[stacked], -1)
    return flat.reshape(*lead, *ins, *outs)


def is_lora(node: Any) -> bool:
    return isinstance(node, LoRA)


def is_adapter(node: Any) -> bool:
    return isinstance(node, Adapter)


def is_leaf(node: Any) -> bool:
    return isinstance(node, Leaf)


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
    return w.dtype


def dense(x: jax.Array, w: Any, n_in: int = 1) -> jax.Array:
    """Contract the last `n_in` axes of `x` with the first `n_in` of the weight. Returns float32."""
    if isinstance(w, Leaf):
        return w.dense(x, n_in)
    lead, outs = x.shape[: x.ndim - n_in], w.shape[n_in:]
    width = prod(w.shape[:n_in])
    return matmul(x.reshape(-1, width), w.reshape(width, prod(outs))).reshape(*lead, *outs)


def rows(table: Any, ids: jax.Array) -> jax.Array:
    """Rows of a table `[rows, width]`: `[*ids, width]`, in the table's type if it is an array, else float32."""
    return table.rows(ids) if isinstance(table, Leaf) else table[ids]


def transposed(table: Any) -> Any:
    """The transposed table, so that a tied one can be contracted."""
    return table.transposed() if isinstance(table, Leaf) else table.T


def merged(w: Any) -> jax.Array:
    """The one array a leaf stands for: a LoRA's base plus its delta, a quantised matrix in the type it computes in."""
    return w.array() if isinstance(w, Leaf) else w


def kept(w: Any) -> jax.Array | None:
    """Which entries of a pruned matrix may differ from zero; none for any other leaf."""
    return kept(w.base) if isinstance(w, Adapter) else getattr(w, "mask", None)


def mergeable(w: Any) -> bool:
    """Is the leaf one matrix, whatever it is made of?"""
    return w.mergeable if isinstance(w, Adapter) else True


def spread(w: Any, axes: Axes, place: Place) -> Any:
    """Where each array of a leaf lives, as a leaf of the same form."""
    return w.spread(axes, place) if isinstance(w, Leaf) else place(w, (*axes.stacked, *axes.ins, *axes.outs))


def _dropped(x: jax.Array, w: Pair) -> jax.Array:
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


def without_adapter(tree: Any) -> Any:
    """The same weights with every adapter switched off (the outermost, where they nest)."""
    return jax.tree.map(lambda w: w.base if is_adapter(w) else w, tree, is_leaf=is_adapter)


def innermost(w: Any) -> Any:
    """What lies below all adapters of a leaf."""
    while is_adapter(w):
        w = w.base
    return w


def merge(tree: Any, beside: Callable[[Adapter], bool] = lambda _: False) -> Any:
    """Every adapter that is a change of its matrix added into it: plain arrays.

    What is no such change stays a leaf: a bottleneck, and adapters that differ between the rows of a batch. So does an
    adapter of which `beside` says so. A matrix without an adapter stays as it is, quantised or not; a quantised one with
    an adapter becomes an array of the type it computes in (`learn/merging.py` quantises it again).
    """

    def one(w: Any) -> Any:
        if not is_adapter(w) or beside(w):
            return w
        return merged(w) if w.mergeable else w.over(one(w.base))

    return jax.tree.map(one, tree, is_leaf=is_adapter)


def with_dropout(tree: Any, key: jax.Array) -> Any:
    """Give every adapter with dropout its keys for one step, one per stacked layer, folded from the leaf's place."""
    leaves, shape = jax.tree.flatten(tree, is_leaf=is_adapter)

    def keyed(i: int, w: Any) -> Any:
        if not is_adapter(w) or not getattr(w, "rate", 0.0):
            return w
        lead = w.a.shape[: w.a.ndim - 1 - w.n_in]
        keys = jax.random.split(jax.random.fold_in(key, i), max(prod(lead), 1))
        return replace(w, key=jax.random.key_data(keys).reshape(*lead, -1))

    return jax.tree.unflatten(shape, [keyed(i, w) for i, w in enumerate(leaves)])
