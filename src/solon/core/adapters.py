"""Adapters beside LoRA as leaves of the weight tree: DoRA, IA3, bottlenecks, whole weights, and several LoRAs chosen row by row.

Each stands where its base stood, computes in the base's type, works over any leaf (quantised, adapted), and is the
identity until trained. Which of them exist, and how a fresh one is made, stands in `learn/lora.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from solon.core.dense import F32, Adapter, Axes, Pair, Place, dense, kept, merged, product, spread
from solon.core.errors import ModelError


def column_norms(array: jax.Array, stacked: int, n_in: int) -> jax.Array:
    """Length of each output's weights, `[*stacked, *outs]` float32."""
    full = array.astype(F32)
    return jnp.sqrt(jnp.sum(full * full, tuple(range(stacked, stacked + n_in))))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DoRA(Pair):
    """`m * V / |V|` with `V = base + scale * a @ b`, a length `m` for each output (Liu et al. 2024, arXiv 2402.09353).

    The norm is a constant for the gradient (section 4.3). It is never taken over a whole matrix: with `norm` `[*stacked,
    *outs]`, the base's own lengths, |V|^2 = norm^2 + 2 scale (a^T base) . b + scale^2 (a b) . (a b) needs products of rank
    `r` only. Dropout acts before `a`, as for LoRA; the base always sees the whole input.
    """

    TRAINED: ClassVar[tuple[str, ...]] = ("a", "b", "m")

    base: Any
    a: jax.Array
    b: jax.Array
    m: jax.Array
    norm: jax.Array
    key: jax.Array | None = None
    gain: jax.Array | None = None
    scale: float = field(default=1.0, metadata={"static": True})
    n_in: int = field(default=1, metadata={"static": True})
    rate: float = field(default=0.0, metadata={"static": True})

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        return (dense(x, self.base, n_in) + self.through(x, n_in)) * self._factor(n_in)

    def _factor(self, n_in: int) -> jax.Array:
        """`m / |V|` of one layer, `[*outs]`."""
        a = jnp.moveaxis(self.a, -1, 0)
        flat = a.reshape(a.shape[0], -1)
        cross = jnp.sum(dense(a, self.base, n_in) * self.b, 0)
        square = jnp.sum(dense(flat @ flat.T, self.b) * self.b, 0)
        norm = jnp.where(self.norm > 0, self.norm, 1.0)
        change = (2 * self.strength * cross + self.strength**2 * square) / (norm * norm)
        return self.m / norm * jax.lax.stop_gradient(jax.lax.rsqrt(jnp.maximum(1 + change, 1e-12)))

    def array(self) -> jax.Array:
        base = merged(self.base)
        stacked = self.a.ndim - 1 - self.n_in
        full = base.astype(F32) + self.change()
        norm = column_norms(full, stacked, self.n_in)
        return (full * _beside(self.m / jnp.where(norm > 0, norm, 1.0), stacked, self.n_in)).astype(base.dtype)

    def over(self, base: Any) -> DoRA:
        return replace(self, base=base, norm=column_norms(merged(base), self.a.ndim - 1 - self.n_in, self.n_in))

    def spread(self, axes: Axes, place: Place) -> DoRA:
        outs = (*axes.stacked, *axes.outs)
        return replace(super().spread(axes, place), m=place(self.m, outs), norm=place(self.norm, outs))


def _beside(vector: jax.Array, stacked: int, n_in: int) -> jax.Array:
    """`[*stacked, *outs]` made ready to multiply `[*stacked, *ins, *outs]`."""
    return vector.reshape(*vector.shape[:stacked], *(1,) * n_in, *vector.shape[stacked:])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Scaled(Adapter):
    """IA3 (Liu et al. 2022, arXiv 2205.05638): one learned factor for each output, or for each input of the matrix.

    `by` is `[*stacked, *outs]`, or `[*stacked, *ins]` where `inputs`.
    """

    TRAINED: ClassVar[tuple[str, ...]] = ("by",)

    base: Any
    by: jax.Array
    n_out: int = field(default=1, metadata={"static": True})
    inputs: bool = field(default=False, metadata={"static": True})

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        return dense(x * self.by, self.base, n_in) if self.inputs else dense(x, self.base, n_in) * self.by

    def array(self) -> jax.Array:
        base = merged(self.base)
        spare = base.ndim - self.by.ndim
        if self.inputs:
            by = self.by.reshape(*self.by.shape, *(1,) * spare)
        else:
            by = _beside(self.by, self.by.ndim - self.n_out, spare)
        return (base.astype(F32) * by).astype(base.dtype)

    def spread(self, axes: Axes, place: Place) -> Scaled:
        by = place(self.by, (*axes.stacked, *(axes.ins if self.inputs else axes.outs)))
        return replace(self, base=spread(self.base, axes, place), by=by)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Bottleneck(Adapter):
    """`y + up(gelu(down(y)))` on the base's output `y` (Houlsby et al. 2019, arXiv 1902.00751).

    Over `o` and `down` this is where the paper puts it: behind the projection back to the model's width, before the
    residual sum. `down` is `[*stacked, *outs, width]`, `up` `[*stacked, width, *outs]`, both with a bias. It is no change of
    the matrix, so it cannot be merged.
    """

    TRAINED: ClassVar[tuple[str, ...]] = ("down", "down_bias", "up", "up_bias")

    base: Any
    down: jax.Array
    down_bias: jax.Array
    up: jax.Array
    up_bias: jax.Array

    @property
    def mergeable(self) -> bool:
        return False

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        y, low = dense(x, self.base, n_in), self.dtype
        inner = jax.nn.gelu(dense(y, self.down.astype(low), self.down.ndim - 1) + self.down_bias, approximate=True)
        return y + dense(inner, self.up.astype(low)) + self.up_bias

    def array(self) -> jax.Array:
        fix = "keep it as an adapter, or train a LoRA"
        raise ModelError("a bottleneck adapter is not linear and cannot be merged", fix=fix)

    def spread(self, axes: Axes, place: Place) -> Bottleneck:
        outs = (*axes.stacked, *axes.outs)
        return replace(
            self, base=spread(self.base, axes, place), up_bias=place(self.up_bias, outs),
            down=place(self.down, (*outs, None)), up=place(self.up, (*axes.stacked, None, *axes.outs)),
            down_bias=place(self.down_bias, (*axes.stacked, None)),
        )  # fmt: skip


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Full(Adapter):
    """Every number of a weight trained: `w` stands in for the base, in float32 so that small steps are not lost, and is
    used in the base's type. It may lie over a vector too.

    The base stays beside it as what the weight was before. Over a pruned base the zeros stay.
    """

    TRAINED: ClassVar[tuple[str, ...]] = ("w",)

    base: Any
    w: jax.Array

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        return dense(x, self.array(), n_in)

    def array(self) -> jax.Array:
        mask = kept(self.base)
        return (self.w if mask is None else jnp.where(mask, self.w, 0)).astype(self.dtype)

    def rows(self, ids: jax.Array) -> jax.Array:
        """Looked up before it is rounded, so that gradients of one row add up in float32."""
        return self.w[ids].astype(self.dtype) if kept(self.base) is None else self.array()[ids]

    def spread(self, axes: Axes, place: Place) -> Full:
        return replace(self, base=spread(self.base, axes, place), w=place(self.w, (*axes.stacked, *axes.ins, *axes.outs)))


Choice = str | Mapping[str, float] | None
"""What one row of a batch is computed with: an adapter by its name, a weighted sum of some, or the plain model."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Several(Adapter):
    """`n` LoRAs over one base, mixed for each row of a batch on its own.

    `a` is `[*stacked, *ins, n, rank]`, `b` `[*stacked, n, rank, *outs]`, `scale` `[*stacked, n]`. `mix` `[*stacked, rows, n]`
    weighs them: one row of it serves all rows of the batch alike. All are arrays, so swapping an adapter or choosing
    another one for a row compiles nothing anew. The price is that of one LoRA of rank `n * rank`; a row that does not use
    an adapter adds an exact zero for it.
    """

    TRAINED: ClassVar[tuple[str, ...]] = ()

    base: Any
    a: jax.Array
    b: jax.Array
    scale: jax.Array
    mix: jax.Array
    n_in: int = field(default=1, metadata={"static": True})

    @property
    def mergeable(self) -> bool:
        return self.mix.shape[-2] == 1 and super().mergeable

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        count, lead = self.mix.shape[0], x.ndim - n_in
        if count not in (1, x.shape[0]):
            fix = "choose an adapter for each row of the batch, or one for all"
            raise ModelError("adapters were chosen for another number of rows", got=count, expected=x.shape[0], fix=fix)
        weight = (self.mix * self.scale).reshape(count, *(1,) * (lead - 1), -1, 1)
        inner = dense(x, self.a.astype(self.dtype), n_in) * weight
        return dense(x, self.base, n_in) + dense(inner, self.b.astype(self.dtype), 2)

    def array(self) -> jax.Array:
        if self.mix.shape[-2] != 1:
            fix = "choose one mixture for all rows first"
            raise ModelError("adapters that differ between rows cannot be merged", fix=fix)
        base, stacked = merged(self.base), self.a.ndim - 2 - self.n_in
        weight = (self.mix[..., 0, :] * self.scale).reshape(*self.b.shape[: stacked + 1], *(1,) * (self.b.ndim - stacked - 1))
        b = self.b * weight
        a = self.a.reshape(*self.a.shape[:-2], -1)
        b = b.reshape(*b.shape[:stacked], -1, *b.shape[stacked + 2 :])
        return (base.astype(F32) + product(a, b, self.n_in)).astype(base.dtype)

    def spread(self, axes: Axes, place: Place) -> Several:
        return replace(
            self, base=spread(self.base, axes, place), a=place(self.a, (*axes.stacked, *axes.ins, None, None)),
            b=place(self.b, (*axes.stacked, None, None, *axes.outs)), scale=place(self.scale, (*axes.stacked, None)),
            mix=place(self.mix, (*axes.stacked, None, None)),
        )  # fmt: skip


def mixed(tree: Any, mix: jax.Array) -> Any:
    """The same weights with the mixture `[rows, n]` in every leaf that holds several adapters."""

    def one(w: Any) -> Any:
        return replace(w, mix=jnp.broadcast_to(mix, (*w.scale.shape[:-1], *mix.shape))) if is_several(w) else w

    return jax.tree.map(one, tree, is_leaf=is_several)


def is_several(node: Any) -> bool:
    return isinstance(node, Several)
