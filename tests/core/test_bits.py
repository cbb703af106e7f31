"""Stacked bf16 weights as integers: the same numbers, the same memory, and no float32 copy of the stack."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.bits import Bits, sliceable
from solon.core.dense import dense, rows
from solon.learn import lora
from solon.models.block import hidden
from solon.models.load import Model

RNG = np.random.default_rng(0)


def low(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(jnp.bfloat16), tree)


def test_products_and_rows_are_those_of_the_array() -> None:
    w, x = jnp.asarray(RNG.normal(size=(48, 4, 8)), jnp.bfloat16), jnp.asarray(RNG.normal(size=(3, 48)), jnp.float32)
    bits = Bits(jax.lax.bitcast_convert_type(w, jnp.uint16))
    np.testing.assert_array_equal(dense(x, bits), dense(x, w))
    np.testing.assert_array_equal(bits.array(), w)
    np.testing.assert_array_equal(rows(bits, jnp.array([5, 0])), w[jnp.array([5, 0])])


def test_it_is_the_same_memory(tiny_model: Model) -> None:
    params = low(tiny_model.params)
    made, plain = sliceable(params)["blocks"], params["blocks"]
    assert isinstance(made["up"], Bits) and made["up"].bits.unsafe_buffer_pointer() == plain["up"].unsafe_buffer_pointer()
    assert sliceable(tiny_model.params)["blocks"]["up"] is tiny_model.params["blocks"]["up"]  # float32 stays


def test_below_an_adapter_and_through_its_gradient(tiny_model: Model) -> None:
    """The same losses and gradients to the bit, so a training does not depend on it."""
    arch = tiny_model.arch
    params = lora.attach(arch, low(tiny_model.params), rank=2, alpha=4.0, seed=0)
    trained = jax.tree.map(lambda x: x + 0.1, lora.adapter(params))
    tokens = jnp.asarray(RNG.integers(0, arch.vocab, (2, 16)))

    @jax.jit
    def loss(trained: Any, frozen: Any) -> Any:
        return jax.value_and_grad(lambda t: jnp.mean(hidden(arch, lora.put(frozen, t), tokens) ** 2))(trained)

    hollow = lora.emptied(params)
    assert isinstance(sliceable(hollow)["blocks"]["q"].base, Bits)
    one, other = loss(trained, hollow), loss(trained, sliceable(hollow))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(other[1]))


def test_a_chain_with_nothing_in_its_adapters(tiny_model: Model) -> None:
    """What a training holds of DoRA over a trained LoRA: its lengths stay, and nothing below it is read."""
    arch = tiny_model.arch
    params = lora.attach(arch, lora.attach(arch, low(tiny_model.params), rank=2, alpha=4.0, seed=0), rank=2, alpha=4.0, seed=1, kind="dora")
    hollow = lora.emptied(params)
    made = sliceable(hollow)["blocks"]["q"]
    assert isinstance(made.base.base, Bits)
    np.testing.assert_array_equal(made.norm, hollow["blocks"]["q"].norm)
    tokens = jnp.asarray(RNG.integers(0, arch.vocab, (2, 16)))
    one, other = (hidden(arch, lora.put(tree, lora.adapter(params)), tokens) for tree in (hollow, sliceable(hollow)))
    np.testing.assert_array_equal(one, other)


def test_no_program_makes_a_copy_of_the_stack(tiny_model: Model) -> None:
    arch, params = tiny_model.arch, low(tiny_model.params)
    program = jax.jit(partial(hidden, arch))
    stack = sum(x.size for x in jax.tree.leaves(params["blocks"]))

    def temporary(given: Any) -> int:
        analysis: Any = program.lower(given, jnp.zeros((1, 2), jnp.int32)).compile().memory_analysis()
        return int(analysis.temp_size_in_bytes)

    assert temporary(sliceable(params)) < temporary(params) - 2 * stack
