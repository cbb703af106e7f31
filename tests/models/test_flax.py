"""The Flax face is the same function over the same weights, and Flax's own tools work on it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from solon.core.weights import Tree, abstract, init
from solon.learn.lora import attach
from solon.models.architecture import Architecture, spec
from solon.models.block import jit_forward
from solon.models.flax import Decoder, from_model, params
from solon.models.load import Model

SIZES = {"layers": 2, "embed": 24, "heads": 3, "kv_heads": 1, "head_dim": 8, "mlp": 40, "vocab": 53, "context": 64}
GEMMA = {
    "norm_offset": 1.0, "activation": "gelu_tanh", "embed_scale": 24**0.5, "post_norms": True, "window": 4,
    "local_layers": (True, False), "attn_softcap": 50.0, "final_softcap": 30.0,
}  # fmt: skip
ARCHS = {
    "llama": Architecture("llama", **SIZES, tied=False),
    "qwen2": Architecture("llama", **SIZES, qkv_bias=True),
    "qwen3": Architecture("llama", **SIZES, qk_norm=True),
    "gemma2": Architecture("gemma", **SIZES, **GEMMA),
    "gemma3": Architecture("gemma", **SIZES, **{**GEMMA, "attn_softcap": 0.0}, qk_norm=True, rope_local_base=1e3),
}
TOKENS = np.random.default_rng(3).integers(0, 53, (2, 12), dtype=np.int32)


def tiny(name: str) -> tuple[Architecture, Tree]:
    arch, rng = ARCHS[name], np.random.default_rng(1)
    shapes = abstract(spec(arch), arch.sizes, jnp.float32)
    return arch, jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.2, s.shape), s.dtype), shapes)


@nnx.jit
def call(module: Decoder, tokens: jax.Array) -> jax.Array:
    return module(tokens)


@nnx.jit
def step(module: Decoder, optimiser: nnx.Optimizer, tokens: jax.Array) -> jax.Array:
    def loss(module: Decoder) -> jax.Array:
        scores = module(tokens[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(scores, tokens[:, 1:]).mean()

    value, grads = nnx.value_and_grad(loss)(module)
    optimiser.update(module, grads)
    return value


@pytest.mark.parametrize("name", ARCHS)
def test_the_module_is_the_function(name: str) -> None:
    arch, tree = tiny(name)
    module = from_model(Model(name, arch, tree, None, "", ""))  # type: ignore[arg-type]
    assert jax.tree.structure(params(module)) == jax.tree.structure(tree)
    assert params(module)["embed"] is tree["embed"]
    np.testing.assert_array_equal(call(module, TOKENS), jit_forward(arch, tree, TOKENS)[0])


@pytest.mark.slow
def test_an_nnx_optimiser_trains_it() -> None:
    arch, tree = tiny("gemma3")
    module = Decoder(arch, tree)
    optimiser = nnx.Optimizer(module, optax.adam(3e-3), wrt=nnx.Param)
    losses = [float(step(module, optimiser, TOKENS)) for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]
    np.testing.assert_allclose(call(module, TOKENS), jit_forward(arch, params(module), TOKENS)[0], atol=1e-5)
    assert float(jnp.abs(params(module)["blocks"]["q"] - tree["blocks"]["q"]).max()) > 1e-4


def test_split_state_and_merge_give_the_same_module() -> None:
    arch, tree = tiny("llama")
    module = Decoder(arch, tree)
    graph, state = nnx.split(module)
    same = nnx.merge(graph, state, copy=True)
    before = call(module, TOKENS)
    np.testing.assert_array_equal(call(same, TOKENS), before)
    flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
    assert ("weights", "blocks", "q") in [path for path, _ in flat]
    nnx.update(same, jax.tree.map(lambda x: x * 0, state))
    assert all(float(jnp.abs(x).max()) == 0 for x in jax.tree.leaves(params(same)))
    np.testing.assert_array_equal(call(module, TOKENS), before)


def test_a_module_has_shapes_without_memory() -> None:
    arch = ARCHS["llama"]
    ghost = nnx.eval_shape(lambda: Decoder(arch, init(spec(arch), arch.sizes, seed=0)))
    assert params(ghost)["blocks"]["gate"].shape == (2, 24, 40)


@pytest.mark.slow
def test_adapters_alone_can_be_trained() -> None:
    arch, tree = tiny("llama")
    adapted = attach(arch, tree, rank=2, alpha=4.0, seed=0, targets=("q", "down"))
    module = Decoder(arch, adapted)
    np.testing.assert_array_equal(call(module, TOKENS), jit_forward(arch, adapted, TOKENS)[0])
    optimiser = nnx.Optimizer(module, optax.adam(1e-2), wrt=nnx.LoRAParam)

    @nnx.jit
    def lora_step(module: Decoder, optimiser: nnx.Optimizer) -> jax.Array:
        def loss(module: Decoder) -> jax.Array:
            scores = module(TOKENS[:, :-1])
            return optax.softmax_cross_entropy_with_integer_labels(scores, TOKENS[:, 1:]).mean()

        value, grads = nnx.value_and_grad(loss, argnums=nnx.DiffState(0, nnx.LoRAParam))(module)
        optimiser.update(module, grads)
        return value

    losses = [float(lora_step(module, optimiser)) for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]
    after = params(module)
    np.testing.assert_array_equal(after["blocks"]["q"].base, tree["blocks"]["q"])
    np.testing.assert_array_equal(after["embed"], tree["embed"])
    assert float(jnp.abs(after["blocks"]["q"].b).max()) > 0
