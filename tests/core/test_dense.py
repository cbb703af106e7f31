"""The one contraction: its products, its gradients, and adapters as leaves."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.core.dense import (
    LoRA,
    bmm,
    dense,
    leaf_dtype,
    matmul,
    merge,
    merged,
    with_dropout,
    without_adapter,
)


def array(seed: int, *shape: int, dtype: jnp.dtype = jnp.float32) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def adapter(base: object, n_in: int = 1, rank: int = 3, seed: int = 9, rate: float = 0.0) -> LoRA:
    """An adapter that was trained: its `b` is not zero."""
    shape = base.base.shape if isinstance(base, LoRA) else base.shape  # type: ignore[attr-defined]
    a, b = array(seed, *shape[:n_in], rank), array(seed + 1, rank, *shape[n_in:])
    return LoRA(base, a, b, scale=0.5, n_in=n_in, rate=rate)


def close(got: object, want: object, tolerance: float = 1e-5) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance * float(jnp.abs(b).max())), got, want)


def test_dense_contracts_the_axes_it_is_told() -> None:
    x, w = array(0, 2, 5, 6), array(1, 6, 3, 4)
    close(dense(x, w), jnp.einsum("btd,dnh->btnh", x, w))
    y, o = array(2, 2, 5, 3, 4), array(3, 3, 4, 6)
    close(dense(y, o, 2), jnp.einsum("btnh,nhd->btd", y, o))


def test_matmul_gradients_equal_those_of_the_plain_product() -> None:
    x, w, g = array(0, 7, 6), array(1, 6, 4), array(2, 7, 4)
    got = jax.grad(lambda x, w: jnp.sum(matmul(x, w) * g), (0, 1))(x, w)
    close(got, jax.grad(lambda x, w: jnp.sum(jnp.einsum("mk,kn->mn", x, w) * g), (0, 1))(x, w))


def test_low_precision_products_have_float32_results_and_near_gradients() -> None:
    x, w, g = array(0, 7, 6), array(1, 6, 4, dtype=jnp.bfloat16), array(2, 7, 4)
    assert matmul(x, w).dtype == jnp.float32
    want = jax.grad(lambda x, w: jnp.sum(x @ w * g), (0, 1))(x, w.astype(jnp.float32))
    for form in (x, x.astype(jnp.bfloat16)):
        dx, dw = jax.grad(lambda x, w: jnp.sum(matmul(x, w) * g), (0, 1))(form, w)
        assert (dx.dtype, dw.dtype) == (form.dtype, jnp.bfloat16)
        close((dx.astype(jnp.float32), dw.astype(jnp.float32)), want, 0.03)


@pytest.mark.parametrize(("over", "rule", "shape"), [(2, "bmk,bnk->bmn", (3, 4, 6)), (1, "bmk,bkn->bmn", (3, 6, 4))])
def test_batched_product_and_gradients_equal_the_einsum(over: int, rule: str, shape: tuple[int, ...]) -> None:
    x, y, g = array(0, 3, 5, 6), array(1, *shape), array(2, 3, 5, 4)
    close(bmm(x, y, over), jnp.einsum(rule, x, y))
    got = jax.grad(lambda x, y: jnp.sum(bmm(x, y, over) * g), (0, 1))(x, y)
    close(got, jax.grad(lambda x, y: jnp.sum(jnp.einsum(rule, x, y) * g), (0, 1))(x, y))
    low = jax.grad(lambda x, y: jnp.sum(bmm(x, y, over) * g), (0, 1))(x.astype(jnp.bfloat16), y.astype(jnp.bfloat16))
    assert [d.dtype for d in low] == [jnp.bfloat16] * 2


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_an_adapter_changes_nothing_until_trained(dtype: jnp.dtype) -> None:
    x, base = array(0, 2, 5, 6), array(1, 6, 3, 4, dtype=dtype)
    fresh = LoRA(base, array(2, 6, 3), jnp.zeros((3, 3, 4)), scale=2.0)
    np.testing.assert_array_equal(dense(x, fresh), dense(x, base))
    np.testing.assert_array_equal(merged(fresh), base)
    assert leaf_dtype(fresh) == dtype


def test_merging_equals_running_the_adapter() -> None:
    x, w = array(0, 2, 5, 6), adapter(array(1, 6, 3, 4))
    close(dense(x, merged(w)), dense(x, w))
    y, o = array(2, 2, 5, 3, 4), adapter(array(3, 3, 4, 6), n_in=2)
    close(dense(y, merged(o), 2), dense(y, o, 2))
    close(dense(y, o, 2), jnp.einsum("btnh,nhd->btd", y, o.base + 0.5 * jnp.einsum("nhr,rd->nhd", o.a, o.b)))


def test_adapters_over_adapters() -> None:
    x, inner = array(0, 2, 5, 6), adapter(array(1, 6, 3, 4))
    outer = adapter(inner, seed=20)
    want = inner.base + 0.5 * (
        jnp.einsum("dr,rnh->dnh", inner.a, inner.b) + jnp.einsum("dr,rnh->dnh", outer.a, outer.b)
    )
    close(dense(x, outer), jnp.einsum("btd,dnh->btnh", x, want))
    close(merged(outer), want)
    tree = {"q": outer, "norm": array(3, 6)}
    assert without_adapter(tree)["q"] is inner
    close(merge(tree)["q"], want)
    assert merge(tree)["norm"] is tree["norm"]


def test_stacked_adapters_merge_layer_by_layer() -> None:
    layers = [adapter(array(i, 3, 4, 6), n_in=2, seed=30 + i) for i in range(2)]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *layers)
    close(merged(stacked), jnp.stack([merged(w) for w in layers]))


def test_only_the_adapter_is_learned_when_only_it_is_asked_for() -> None:
    x, w, g = array(0, 4, 6), adapter(array(1, 6, 5)), array(2, 4, 5)
    got = jax.grad(lambda ab: jnp.sum(dense(x, replace(w, a=ab[0], b=ab[1])) * g))((w.a, w.b))
    close(got, jax.grad(lambda ab: jnp.sum(x @ (w.base + 0.5 * ab[0] @ ab[1]) * g))((w.a, w.b)))


def test_dropout_keeps_the_mean_and_depends_on_its_key_alone() -> None:
    x = jnp.ones((4000, 8))
    w = LoRA(jnp.zeros((8, 1)), jnp.ones((8, 1)) / 8, jnp.ones((1, 1)), rate=0.25)
    tree = {"a": w, "plain": jnp.zeros(3), "never": replace(w, rate=0.0)}
    keyed = with_dropout(tree, jax.random.key(1))
    assert keyed["plain"] is tree["plain"]
    assert keyed["never"].key is None
    out = np.asarray(dense(x, keyed["a"]))
    assert abs(out.mean() - 1) < 0.01, "kept values are scaled by 1 / (1 - rate)"
    kept = np.unique(np.round(out * 8 * 0.75).astype(int))
    assert kept.min() >= 0
    assert kept.max() <= 8
    np.testing.assert_array_equal(out, dense(x, with_dropout(tree, jax.random.key(1))["a"]))
    assert (out != np.asarray(dense(x, with_dropout(tree, jax.random.key(2))["a"]))).any()
    np.testing.assert_allclose(dense(x, w), 1.0, rtol=1e-6)


def test_stacked_layers_drop_differently() -> None:
    w = LoRA(jnp.zeros((3, 8, 2)), jnp.ones((3, 8, 1)), jnp.ones((3, 1, 2)), rate=0.5)
    keys = with_dropout([w], jax.random.key(0))[0].key
    assert keys.shape == (3, 2)
    assert len({tuple(k) for k in np.asarray(keys).tolist()}) == 3
