"""Full fine-tuning as a leaf: every number trained, in float32, over any base; nothing else of the machinery knows of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from solon.core.adapters import Full
from solon.core.dense import is_leaf, leaf_dtype, merge, without_adapter
from solon.core.errors import ConfigError, ModelError
from solon.core.mesh import mesh, placed
from solon.core.prune import prune
from solon.core.quantise import dequantise, quantise
from solon.core.weights import count, init, is_weight, named
from solon.learn import lora
from solon.learn.objectives import sft
from solon.models import deltas
from solon.models.architecture import Architecture, spec
from solon.models.block import forward, jit_forward
from solon.models.load import lazy_tensors
from solon.text.batches import batch as pack
from solon.text.batches import shape_of
from solon.text.template import Tokens as Row

ARCH = Architecture(
    "llama", layers=2, embed=16, heads=4, kv_heads=2, head_dim=4, mlp=24, vocab=31, context=64, qkv_bias=True,
)  # fmt: skip
TOKENS = np.random.default_rng(0).integers(0, 31, (2, 9))
ROWS = [Row(list(range(1, 12)), [True] * 11), Row(list(range(12, 20)), [True] * 8)]
BATCH = pack(ROWS, shape_of([ROWS], 64))


def weights(low: Any = jnp.float32) -> Any:
    """Random weights, vectors included, matrices in `low`."""
    rng = np.random.default_rng(1)
    fresh = init(spec(ARCH), ARCH.sizes, seed=0)
    return jax.tree.map(lambda w, x: (x + rng.normal(0, 0.1, x.shape)).astype(low if w.ins else jnp.float32), spec(ARCH), fresh, is_leaf=is_weight)


def whole(params: Any) -> Any:
    return lora.attach(ARCH, params, rank=1, alpha=1.0, seed=0, kind="full", targets=lora.TARGETS["full"])


def loss(trained: Any, params: Any) -> Any:
    return sft.loss(ARCH, lora.put(params, trained), BATCH)[0]


@pytest.mark.parametrize("base", ["float32", "bfloat16", "int8", "pruned", "lora"])
def test_untrained_it_computes_what_the_model_does(base: str) -> None:
    params = weights(jnp.bfloat16 if base == "bfloat16" else jnp.float32)
    if base == "int8":
        params = dequantise(quantise(spec(ARCH), params, "int8"))
        wrapped = whole(quantise(spec(ARCH), weights(), "int8"))
    elif base == "pruned":
        params = prune(spec(ARCH), params, 0.5)
        wrapped = whole(params)
    elif base == "lora":
        params = lora.attach(ARCH, params, rank=2, alpha=2.0, seed=0)
        params = lora.put(params, jax.tree.map(lambda x: x + 0.1, lora.adapter(params)))
        wrapped = whole(params)
        params = merge(params)
    else:
        wrapped = whole(params)
    np.testing.assert_allclose(jit_forward(ARCH, wrapped, TOKENS)[0], jit_forward(ARCH, params, TOKENS)[0], atol=1e-5)


def test_every_number_of_the_model_is_trained_and_no_other() -> None:
    trained = lora.adapter(whole(weights()))
    assert sum(x.size for x in jax.tree.leaves(trained)) == count(spec(ARCH), ARCH.sizes)
    assert set(trained) == set(named(spec(ARCH), is_leaf=is_weight))
    assert {x.dtype for x in jax.tree.leaves(trained)} == {jnp.dtype("float32")}


@pytest.mark.slow
def test_gradients_are_those_of_the_plain_weights() -> None:
    """Against autodiff of a model that knows nothing of leaves; biases, norms and the tied table are in it."""
    params = weights()

    def plainly(params: Any) -> jax.Array:
        total = jnp.float32(0)
        for row in ROWS:
            logp = jax.nn.log_softmax(forward(ARCH, params, jnp.array([row.ids]))[0][0])
            total -= jnp.sum(jnp.take_along_axis(logp[:-1], jnp.array(row.ids[1:])[:, None], -1))
        return total

    value, want = jax.value_and_grad(plainly)(params)
    wrapped = whole(params)
    got_value, got = jax.value_and_grad(loss)(lora.adapter(wrapped), wrapped)
    np.testing.assert_allclose(got_value, value, rtol=1e-5)
    for name, gradient in named(want).items():
        np.testing.assert_allclose(got[name]["w"], gradient, atol=2e-5 * float(jnp.abs(gradient).max()) + 1e-7, err_msg=name)


def test_steps_too_small_for_bfloat16_add_up() -> None:
    params = weights(jnp.bfloat16)
    wrapped = whole(params)
    trained = lora.adapter(wrapped)
    step = jax.tree.map(lambda x: x * 1e-4, trained)  # a bf16 of this size moves by 1/256 of itself or not at all
    for _ in range(100):
        trained = optax.apply_updates(trained, step)
    moved = merge(lora.put(wrapped, trained))["blocks"]["q"].astype(jnp.float32) / params["blocks"]["q"].astype(jnp.float32)
    assert leaf_dtype(merge(wrapped)["blocks"]["q"]) == jnp.bfloat16
    np.testing.assert_allclose(moved, 1.01, atol=0.005)


def test_a_pruned_base_keeps_its_zeros_and_the_base_is_still_there() -> None:
    params = prune(spec(ARCH), weights(), 0.5)
    wrapped = whole(params)
    trained = jax.tree.map(lambda x: x + 1.0, lora.adapter(wrapped))
    after = merge(lora.put(wrapped, trained))
    mask = np.asarray(params["blocks"]["q"].mask)
    assert (np.asarray(after["blocks"]["q"])[~mask] == 0).all() and (np.asarray(after["blocks"]["q"])[mask] != 0).all()
    jax.tree.map(np.testing.assert_array_equal, without_adapter(lora.put(wrapped, trained)), params)


def test_saved_and_loaded_it_is_the_same_and_leaves_as_a_merged_model_only(tmp_path: Path) -> None:
    wrapped = whole(weights())
    trained = jax.tree.map(lambda x: x * 1.5 + 0.01, lora.adapter(wrapped))
    lora.save(tmp_path, trained, {"rank": 1, "alpha": 1.0, "targets": list(lora.TARGETS["full"]), "kind": "full"})
    back = lora.load_onto(ARCH, weights(), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, lora.adapter(back), trained)
    tensors = lazy_tensors(ARCH, deltas.tensor_names(ARCH), back)
    np.testing.assert_array_equal(tensors["model.norm.weight"], trained["norm"]["w"])
    with pytest.raises(ModelError, match="no low-rank delta|linear weights only"):
        deltas.of_params(ARCH, back)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="no ranks"):
        lora.attach(ARCH, weights(), rank=1, alpha=1.0, seed=0, kind="full", targets=("q",), ranks={"q": 2})
    with pytest.raises(ConfigError, match="no matrix"):
        lora.attach(ARCH, weights(), rank=1, alpha=1.0, seed=0, kind="full", targets=("query",))
    with pytest.raises(ConfigError, match="no matrix"):
        lora.attach(ARCH, weights(), rank=1, alpha=1.0, seed=0, targets=("attn_norm",))


def test_it_lies_on_a_mesh_where_its_base_does() -> None:
    wrapped = whole(weights())
    spots = placed(spec(ARCH), wrapped, mesh())
    for name, leaf in named(spots, is_leaf=is_leaf).items():
        assert isinstance(leaf, Full) and leaf.w == leaf.base, name


def test_emptied_holds_no_adapter_twice_and_is_filled_by_put() -> None:
    wrapped = whole(weights())
    hollow = lora.emptied(wrapped)
    assert sum(x.size for x in jax.tree.leaves(hollow)) == count(spec(ARCH), ARCH.sizes)
    jax.tree.map(np.testing.assert_array_equal, lora.put(hollow, lora.adapter(wrapped)), wrapped)
