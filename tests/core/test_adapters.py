"""Adapters as leaves: the identity until trained, over every kind of base, equal to their papers' formulas and to their
merged form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.core.adapters import Bottleneck, DoRA, Scaled, Several, column_norms
from solon.core.dense import LoRA, dense, leaf_dtype, merge, mergeable, merged, rows, transposed, without_adapter
from solon.core.errors import ModelError
from solon.core.prune import Pruned
from solon.core.quantise import int4, int8

INS, OUTS, RANK = (6,), (3, 4), 2


def array(seed: int, *shape: int, dtype: Any = jnp.float32) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def close(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance * float(jnp.abs(b).max())), got, want)


W, OUT = array(1, *INS, *OUTS), array(2, *OUTS, *INS)  # a matrix with two outputs' axes, one with two inputs' axes


def base(kind: str, matrix: jax.Array, n_in: int) -> Any:
    if kind == "int8":
        return int8(matrix, 0, n_in, jnp.float32)
    if kind == "int4":
        return int4(matrix, 0, n_in, jnp.bfloat16)
    if kind == "pruned":
        return Pruned(matrix, jnp.abs(matrix) > 0.5)
    return matrix.astype(kind)


def fresh(kind: str, leaf: Any, ins: tuple[int, ...], outs: tuple[int, ...]) -> Any:
    a, b, n_in = array(3, *ins, RANK) / 2, jnp.zeros((RANK, *outs)), len(ins)
    if kind == "lora":
        return LoRA(leaf, a, b, scale=0.5, n_in=n_in)
    if kind == "dora":
        norm = column_norms(merged(leaf), 0, n_in)
        return DoRA(leaf, a, b, norm, norm, scale=0.5, n_in=n_in)
    if kind == "bottleneck":
        return Bottleneck(leaf, array(4, *outs, RANK), jnp.zeros(RANK), b, jnp.zeros(outs))
    if kind == "several":
        pair = array(3, *ins, 3, RANK), jnp.zeros((3, RANK, *outs))
        return Several(leaf, *pair, jnp.full(3, 0.5), jnp.full((1, 3), 0.7), n_in)
    return Scaled(leaf, jnp.ones(ins if kind == "ia3 in" else outs), len(outs), kind == "ia3 in")


def stirred(w: Any, seed: int = 40) -> Any:
    """The same adapter after some training."""
    names = w.TRAINED or ("a", "b")
    return replace(w, **{name: getattr(w, name) + array(seed + i, *getattr(w, name).shape) / 3 for i, name in enumerate(names)})


KINDS = ("lora", "dora", "bottleneck", "ia3 in", "ia3 out", "several")


@partial(jax.jit, static_argnums=2)
def ran(x: jax.Array, leaves: dict[str, Any], n_in: int) -> dict[str, tuple[jax.Array, jax.Array | None]]:
    """Of each leaf: its product, and its one array where it has one."""
    return {name: (dense(x, w, n_in), merged(w) if mergeable(w) else None) for name, w in leaves.items()}


# Both forms of a matrix over each kind of base would say the same twice.
CASES = [("float32", W, INS, OUTS), ("bfloat16", OUT, OUTS, INS), ("int8", OUT, OUTS, INS), ("int4", W, INS, OUTS)]


@pytest.mark.parametrize(("under", "matrix", "ins", "outs"), CASES, ids=[case[0] for case in CASES])
def test_identity_until_trained_over_every_base(under: str, matrix: jax.Array, ins: tuple[int, ...], outs: tuple[int, ...]) -> None:
    leaf, x = base(under, matrix, len(ins)), array(0, 2, 5, *ins)
    leaves = {kind: fresh(kind, leaf, ins, outs) for kind in KINDS}
    want, full = ran(x, {"base": leaf}, len(ins))["base"]
    moved = ran(x, {kind: stirred(w) for kind, w in leaves.items()}, len(ins))
    for kind, (out, one) in ran(x, leaves, len(ins)).items():
        # To the bit, but for the scale of int8, which the compiler may round together with the sum behind it.
        np.testing.assert_allclose(out, want, atol=2e-7 * float(jnp.abs(want).max()) if under == "int8" else 0, rtol=0, err_msg=kind)
        assert leaf_dtype(leaves[kind]) == leaf_dtype(leaf) and without_adapter({"q": leaves[kind]})["q"] is leaf
        assert (one is None) == (kind == "bottleneck")
        if one is not None:
            exact = kind != "dora"  # its norms are taken anew for merging, and may be summed in another order
            np.testing.assert_allclose(one.astype(float), full.astype(float), rtol=0 if exact else 0.01 if full.dtype == jnp.bfloat16 else 1e-6, err_msg=kind)
        assert np.abs(np.asarray(moved[kind][0] - want)).max() > 0.1, kind


@pytest.mark.parametrize("under", ["float32", "int8", "pruned"])
def test_merged_equals_running_the_adapter(under: str) -> None:
    matrix, ins, outs = (OUT, OUTS, INS) if under == "int8" else (W, INS, OUTS)
    leaf, x = base(under, matrix, len(ins)), array(0, 2, 5, *ins)
    refused = ("bottleneck", "dora", "several") if under == "pruned" else ("bottleneck",)
    leaves = {kind: stirred(fresh(kind, leaf, ins, outs)) for kind in KINDS if kind not in refused}
    plain = merge(leaves)
    assert all(isinstance(w, jax.Array) for w in plain.values())
    again = ran(x, plain, len(ins))
    for kind, (out, _) in ran(x, leaves, len(ins)).items():
        close(again[kind][0], out)
        if under == "pruned":
            assert (np.asarray(plain[kind])[~np.asarray(leaf.mask)] == 0).all()


def test_dora_is_what_its_paper_says() -> None:
    """Equation 5, with the norm of section 4.3 a constant for the gradient."""
    w, x, g = stirred(fresh("dora", W, INS, OUTS)), array(0, 7, *INS), array(5, 7, *OUTS)

    def plain(a: jax.Array, b: jax.Array, m: jax.Array) -> jax.Array:
        v = W + 0.5 * jnp.einsum("dr,rnh->dnh", a, b)
        norm = jax.lax.stop_gradient(jnp.sqrt(jnp.sum(v * v, 0)))
        return jnp.sum(jnp.einsum("td,dnh->tnh", x, m * v / norm) * g)

    ours = lambda a, b, m: jnp.sum(dense(x, replace(w, a=a, b=b, m=m)) * g)  # noqa: E731
    close(ours(w.a, w.b, w.m), plain(w.a, w.b, w.m))
    close(jax.grad(ours, (0, 1, 2))(w.a, w.b, w.m), jax.grad(plain, (0, 1, 2))(w.a, w.b, w.m))


def test_a_bottleneck_is_what_its_paper_says() -> None:
    w, x = stirred(fresh("bottleneck", OUT, OUTS, INS)), array(0, 7, *OUTS)
    y = jnp.einsum("tnh,nhd->td", x, OUT)
    inner = jax.nn.gelu(y @ w.down + w.down_bias, approximate=True)
    close(dense(x, w, 2), y + inner @ w.up + w.up_bias)
    with pytest.raises(ModelError, match="not linear"):
        merged(w)
    below = LoRA(OUT, array(6, *OUTS, 1), array(7, 1, *INS), n_in=2)
    left = merge({"o": replace(w, base=below)})["o"]
    assert isinstance(left, Bottleneck)
    close(dense(x, left, 2), dense(x, replace(w, base=below), 2))


def test_ia3_scales_one_side() -> None:
    x, by_in, by_out = array(0, 7, *INS), array(3, *INS), array(4, *OUTS)
    close(dense(x, Scaled(W, by_in, 2, True)), jnp.einsum("td,d,dnh->tnh", x, by_in, W))
    close(dense(x, Scaled(W, by_out, 2)), jnp.einsum("td,dnh,nh->tnh", x, W, by_out))


def test_stacked_adapters_merge_and_run_layer_by_layer() -> None:
    layers = [{kind: stirred(fresh(kind, array(50 + i, *OUTS, *INS), OUTS, INS), 60 + i) for kind in KINDS} for i in range(2)]
    stacked, x = jax.tree.map(lambda *xs: jnp.stack(xs), *layers), array(0, 2, 5, *OUTS)
    out = jax.jit(lambda ws: jax.lax.scan(lambda _, w: (None, {kind: dense(x, w[kind], 2) for kind in w}), None, ws)[1])(stacked)
    alone = [ran(x, layer, 2) for layer in layers]
    for kind in KINDS:
        close(out[kind], jnp.stack([one[kind][0] for one in alone]))
        if kind != "bottleneck":
            close(merged(stacked[kind]), jnp.stack([one[kind][1] for one in alone]))


def test_layers_of_different_strength() -> None:
    gain = jnp.array([1.0, 0.25])
    for kind in ("lora", "dora"):
        layers = [stirred(fresh(kind, array(50 + i, *INS, *OUTS), INS, OUTS), 60 + i) for i in range(2)]
        stacked = replace(jax.tree.map(lambda *xs: jnp.stack(xs), *layers), gain=gain)
        want = [replace(w, scale=0.5 * float(g)) for w, g in zip(layers, gain, strict=True)]
        close(merged(stacked), jnp.stack([merged(w) for w in want]))
        x = array(0, 5, *INS)
        close(jax.vmap(lambda w, x=x: dense(x, w))(stacked), jnp.stack([dense(x, w) for w in want]))


def test_an_adapted_table_looks_up_and_contracts_as_its_sum() -> None:
    table, ids = array(1, 9, 6), jnp.array([[3, 1], [8, 3]])
    w = LoRA(table, array(2, 9, 2), array(3, 2, 6), scale=0.5)
    full = table + 0.5 * w.a @ w.b
    close(rows(w, ids), full[ids])
    close(dense(array(4, 5, 6), transposed(w)), array(4, 5, 6) @ full.T)


def test_rows_of_a_batch_use_their_own_mixture() -> None:
    several = stirred(fresh("several", W, INS, OUTS))
    mix = jnp.array([[1.0, 0, 0], [0, 0, 2], [0, 0, 0], [0.5, 0.25, -1]])
    x = array(0, 4, 5, *INS)
    out = dense(x, replace(several, mix=mix))
    delta = jnp.einsum("djr,jrnh->jdnh", several.a, several.b) * 0.5
    want = jnp.einsum("btd,bdnh->btnh", x, W[None] + jnp.einsum("bj,jdnh->bdnh", mix, delta))
    close(out, want)
    np.testing.assert_array_equal(out[2], dense(x[2], W))
    with pytest.raises(ModelError, match="another number of rows"):
        dense(x[:3], replace(several, mix=mix))
    with pytest.raises(ModelError, match="differ between rows"):
        merged(replace(several, mix=mix))
    assert isinstance(merge({"q": replace(several, mix=mix)})["q"], Several)


def test_what_is_trained_has_a_gradient_over_integers_too() -> None:
    x, leaf = array(0, 4, *INS), base("int4", W, 1)
    leaves = {kind: stirred(fresh(kind, leaf, INS, OUTS)) for kind in KINDS}
    trained = {kind: {name: getattr(w, name) for name in w.TRAINED} for kind, w in leaves.items()}
    loss: Callable[..., Any] = lambda t: sum(jnp.sum(dense(x, replace(leaves[kind], **t[kind])) ** 2) for kind in t)  # noqa: E731
    grads = jax.jit(jax.grad(loss))(trained)
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(grads))
