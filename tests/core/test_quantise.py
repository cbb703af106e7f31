"""Weights in 8 and 4 bits, and pruned ones: bounds, round trips, exact zeros, and products that equal the numbers stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

from solon.core.dense import LoRA, dense, leaf_dtype, merged, rows, transposed
from solon.core.errors import ConfigError
from solon.core.prune import Pruned, prune, sparsity
from solon.core.quantise import EVERYTHING, LEVELS, ZERO, Int4, Int8, dequantise, int4, int8, quantise, size
from solon.core.weights import Weight, abstract, named, stack

SIZES = {"layers": 2, "embed": 192, "heads": 3, "head_dim": 16, "vocab": 70}
SPEC = {
    "embed": Weight("vocab -> embed"),
    "blocks": stack({"q": Weight("embed -> heads head_dim"), "o": Weight("heads head_dim -> embed"), "n": Weight("embed")}, "layers"),
}


def array(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


PARAMS = {
    "embed": array(1, 70, 192),
    "blocks": {"q": array(2, 2, 192, 3, 16), "o": array(3, 2, 3, 16, 192), "n": array(4, 2, 192)},
}
KINDS = ("int8", "int4")


def close(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(got, want, atol=tolerance * float(jnp.abs(want).max()))


def test_the_levels_are_the_quantiles_of_the_paper() -> None:
    """QLoRA, appendix E: 2^(k-1) quantiles below and 2^(k-1) + 1 above zero, of which one zero is dropped."""
    end = (1 - 1 / 30 + 1 - 1 / 32) / 2
    above = norm.ppf(np.linspace(end, 0.5, 9))[:-1]
    below = -norm.ppf(np.linspace(end, 0.5, 8))[:-1]
    want = np.sort([*below, 0.0, *above])
    np.testing.assert_allclose(LEVELS, want / want.max(), atol=1e-6)
    assert LEVELS[ZERO] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_weight_moves_further_than_half_a_step(kind: str) -> None:
    tree = quantise(SPEC, PARAMS, kind, EVERYTHING)
    for name, stored in (("q", tree["blocks"]["q"]), ("o", tree["blocks"]["o"]), ("embed", tree["embed"])):
        full = PARAMS["embed"].T[None] if name == "embed" else PARAMS["blocks"][name]
        back = merged(stored).T[None] if name == "embed" else merged(stored)
        inputs = 192 if name != "o" else 48
        flat, got = (np.asarray(x).reshape(len(full), inputs, -1) for x in (full, back))
        if kind == "int8":
            bound = np.abs(flat).max(1, keepdims=True) / 254
        else:
            padded = np.pad(np.abs(flat), ((0, 0), (0, -inputs % 64), (0, 0)))
            largest = padded.reshape(len(flat), -1, 64, flat.shape[-1]).max(2).repeat(64, 1)[:, :inputs]
            bound = largest * np.diff(LEVELS).max() / 2
        assert (np.abs(got - flat) <= bound * (1 + 1e-5) + 1e-9).all(), name
        assert np.abs(got - flat).max() > 0
    assert tree["blocks"]["n"] is PARAMS["blocks"]["n"]


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_again_changes_nothing(kind: str) -> None:
    once = quantise(SPEC, PARAMS, kind, EVERYTHING)
    assert quantise(SPEC, once, kind, EVERYTHING)["blocks"]["q"] is once["blocks"]["q"]
    twice = quantise(SPEC, dequantise(once), kind, EVERYTHING)
    for name, leaf in named(once).items():
        if leaf.dtype in (jnp.int8, jnp.uint8):
            np.testing.assert_array_equal(named(twice)[name], leaf, err_msg=name)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    assert all((np.asarray(leaf) == 0).all() for leaf in named(dequantise(quantise(SPEC, zeros, kind))).values())


def test_int4_keeps_its_levels_exactly_and_packs_two_to_a_byte() -> None:
    codes = np.random.default_rng(0).integers(0, 16, (128, 5))
    codes[::64] = 15
    leaf = int4(jnp.asarray(LEVELS[codes] * 3), 0, 1, jnp.float32)
    assert (leaf.codes.shape, leaf.codes.dtype) == ((2, 32, 5), jnp.uint8)
    low, high = np.asarray(leaf.codes) & 15, np.asarray(leaf.codes) >> 4
    np.testing.assert_array_equal(np.concatenate([low, high], 1).reshape(128, 5), codes)
    np.testing.assert_allclose(merged(leaf), LEVELS[codes] * 3, rtol=1e-6)


def test_the_size_is_what_is_said() -> None:
    """One byte a weight and 4 a channel; half a byte a weight and 4 for each block of 64."""
    count = 2 * 192 * 48 * 2
    rest = 4 * (70 * 192 + 2 * 192)
    assert size(PARAMS) == 4 * count + rest
    assert size(quantise(SPEC, PARAMS, "int8")) == count + 4 * 2 * (48 + 192) + rest
    padded = 2 * (192 * 48 + 64 * 192)  # 48 inputs fill a block of 64
    assert size(quantise(SPEC, PARAMS, "int4")) == padded // 2 + 4 * padded // 64 + rest
    ghost = jax.eval_shape(lambda p: quantise(SPEC, p, "int4"), abstract(SPEC, SIZES))
    assert size(ghost) == padded // 2 + 4 * padded // 64 + 2 * 70 * 192 + 2 * 2 * 192


@pytest.mark.parametrize("low", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_products_and_their_gradients_are_those_of_the_numbers_stored(kind: str, low: str) -> None:
    make = {"int8": int8, "int4": int4}[kind]
    x, g = array(0, 5, 3, 16), array(9, 5, 192)
    leaf = make(PARAMS["blocks"]["o"][0], 0, 2, low)
    assert leaf_dtype(leaf) == jnp.dtype(low)
    full = merged(leaf).astype(jnp.float32)
    tolerance = 1e-5 if low == "float32" else 0.02
    close(dense(x, leaf, 2), jnp.einsum("tnh,nhd->td", x, full), tolerance)
    assert dense(x, leaf, 2).dtype == jnp.float32
    ours = jax.grad(lambda x: jnp.sum(dense(x, leaf, 2) * g))(x)
    close(ours, jnp.einsum("td,nhd->tnh", g, full), tolerance)


@pytest.mark.parametrize("heads", [(), (3, 16)])
def test_one_row_times_int8_is_the_row_of_a_larger_product(heads: tuple[int, ...]) -> None:
    """One row goes another way than several (a sum over rows), so both ways are held against float64."""
    outs = heads or (48,)
    w = int8(array(20, 192, *outs), 0, 1, jnp.float32)
    x = array(21, 5, 192)
    want = np.einsum("md,dn->mn", np.asarray(x, np.float64), np.asarray(w.q, np.float64).reshape(192, -1) * np.asarray(w.scale).reshape(-1))
    for shape in ((1, 192), (1, 1, 192)):
        got = jax.jit(dense)(x[:1].reshape(shape), w)
        assert got.shape == (*shape[:-1], *outs)
        np.testing.assert_allclose(np.asarray(got).reshape(-1), want[0], rtol=0, atol=1e-5 * np.abs(want).max())
    np.testing.assert_allclose(np.asarray(dense(x, w)).reshape(5, -1), want, rtol=0, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_table_looks_up_and_contracts(kind: str) -> None:
    leaf = quantise(SPEC, PARAMS, kind, "embed")["embed"]
    full, ids, x = merged(leaf), jnp.array([[3, 69], [0, 3]]), array(0, 5, 192)
    np.testing.assert_allclose(rows(leaf, ids), full[ids], rtol=1e-6)
    close(dense(x, transposed(leaf)), x @ full.T)
    close(dense(array(1, 5, 70), leaf), array(1, 5, 70) @ full)
    np.testing.assert_array_equal(merged(transposed(leaf)), full.T)


def test_quantising_reaches_below_adapters_and_pruning() -> None:
    adapted = {**PARAMS, "blocks": {**PARAMS["blocks"], "q": LoRA(PARAMS["blocks"]["q"], array(5, 2, 192, 2), array(6, 2, 2, 3, 16))}}
    q = quantise(SPEC, adapted, "int8")["blocks"]["q"]
    assert isinstance(q, LoRA) and isinstance(q.base, Int8)
    pruned = quantise(SPEC, prune(SPEC, PARAMS, 0.5), "int4")["blocks"]["q"]
    assert isinstance(pruned, Pruned) and isinstance(pruned.base, Int4)
    assert (np.asarray(merged(pruned.base))[~np.asarray(pruned.mask)] == 0).all()
    with pytest.raises(ConfigError, match="int8 or int4"):
        quantise(SPEC, PARAMS, "int2")


def test_two_of_four_keeps_the_two_largest_of_each_group_of_inputs() -> None:
    tree = prune(SPEC, PARAMS, "2:4")
    for name in ("q", "o"):
        full, got = (np.asarray(x).reshape(2, -1, 4, 48 if name == "q" else 192) for x in (PARAMS["blocks"][name], merged(tree["blocks"][name])))
        assert ((got != 0).sum(2) == 2).all()
        np.testing.assert_array_equal(got[got != 0], full[got != 0])
        assert (np.where(got != 0, np.abs(full), np.inf).min(2) >= np.where(got == 0, np.abs(full), 0).max(2)).all()
    assert tree["embed"] is PARAMS["embed"] and sparsity(tree) == 0.5


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_the_smallest_share_of_each_layer_goes(share: float) -> None:
    q = prune(SPEC, PARAMS, share)["blocks"]["q"]
    for layer in range(2):
        full, got = np.asarray(PARAMS["blocks"]["q"][layer]).ravel(), np.asarray(merged(q)[layer]).ravel()
        assert (got == 0).sum() == round(share * 10) * len(full) // 10
        assert np.abs(full[got != 0]).min() >= np.abs(full[got == 0]).max(initial=0)


def test_zeros_stay_zero_through_training() -> None:
    """Of the base itself, and of an adapter that is merged afterwards."""
    spec, x, y = {"blocks": {"w": Weight("embed -> vocab")}}, array(0, 40, 192), array(1, 40, 70)
    leaf = prune(spec, {"blocks": {"w": array(2, 192, 70)}}, "2:4")["blocks"]["w"]
    adapter = LoRA(leaf, array(3, 192, 2), jnp.zeros((2, 70)))

    def trained(start: Any, put: Any) -> Any:
        optimise = optax.adamw(0.05, weight_decay=0.1)

        def step(carry: Any, _: None) -> Any:
            p, state = carry
            value, grads = jax.value_and_grad(lambda p: jnp.mean((dense(x, put(p)) - y) ** 2))(p)
            updates, state = optimise.update(grads, state, p)
            return (optax.apply_updates(p, updates), state), value

        (p, _), losses = jax.lax.scan(step, (start, optimise.init(start)), None, 20)
        return p, losses

    trained = jax.jit(trained, static_argnums=1)  # type: ignore[assignment]
    base, losses = trained(leaf.base, lambda p: replace(leaf, base=p))
    assert losses[-1] < losses[0] and (np.asarray(base)[~np.asarray(leaf.mask)] == 0).all()
    pair, losses = trained((adapter.a, adapter.b), lambda p: replace(adapter, a=p[0], b=p[1]))
    after = replace(adapter, a=pair[0], b=pair[1])
    assert losses[-1] < losses[0] and (np.asarray(merged(after))[~np.asarray(leaf.mask)] == 0).all()
    close(dense(x, merged(after)), dense(x, after))


@pytest.mark.parametrize("by", [1.0, -0.1, "4:2", "half", "0:4"])
def test_an_impossible_pruning_is_refused(by: Any) -> None:
    with pytest.raises(ConfigError, match="prun"):
        prune(SPEC, PARAMS, by)


def test_pruning_below_an_adapter_is_refused() -> None:
    adapted = {**PARAMS, "blocks": {**PARAMS["blocks"], "q": LoRA(PARAMS["blocks"]["q"], array(5, 2, 192, 2), array(6, 2, 2, 3, 16))}}
    with pytest.raises(ConfigError, match="merge the adapters first"):
        prune(SPEC, adapted, 0.5)


@pytest.mark.parity
def test_int4_equals_the_formula_of_the_paper_in_torch() -> None:
    """Equation 3 of QLoRA written out: absmax of each block of 64, nearest level by distance, dequantised by look-up."""
    torch = pytest.importorskip("torch")
    full = torch.from_numpy(np.array(PARAMS["blocks"]["q"][0])).reshape(192, 48).T.contiguous()  # torch's [out, in]
    blocks = full.reshape(-1, 64)
    largest = blocks.abs().max(1, keepdim=True).values
    levels = torch.from_numpy(LEVELS)
    code = ((blocks / largest)[..., None] - levels).abs().argmin(-1)
    want = (levels[code] * largest).reshape(48, 192).T.numpy()
    got = np.asarray(merged(int4(PARAMS["blocks"]["q"][0], 0, 1, jnp.float32))).reshape(192, 48)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=0)
