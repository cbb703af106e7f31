"""Several adapters in one process: each row its own, swapped without compiling anew."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.core.dense import merge
from solon.core.errors import MissingError, ModelError
from solon.core.quantise import quantise
from solon.core.weights import abstract
from solon.learn import lora
from solon.learn.shelf import joined, shelf
from solon.models.architecture import LINEAR, Architecture, spec
from solon.models.block import forward

ARCH = Architecture("llama", layers=2, embed=16, heads=4, kv_heads=2, head_dim=4, mlp=24, vocab=31, context=64)
TOKENS = np.random.default_rng(0).integers(0, 31, (4, 9))


def noise(shapes: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.3, s.shape), jnp.float32), shapes)


PARAMS = noise(abstract(spec(ARCH), ARCH.sizes), 1)
TRACED: list[int] = []


@jax.jit
def run(params: Any, tokens: jax.Array) -> jax.Array:
    TRACED.append(1)
    return forward(ARCH, params, tokens)[0]


def adapted(seed: int, rank: int = 3, targets: Any = LINEAR, base: Any = PARAMS, **how: Any) -> Any:
    params = lora.attach(ARCH, base, rank=rank, alpha=6.0, seed=seed, targets=targets, **how)
    return lora.put(params, noise(lora.adapter(params, targets), seed))


ONE, TWO, THREE = adapted(2), adapted(3, rank=1, targets=("q", "down")), adapted(4, rank=2, kind="rslora")
SHELF = shelf(PARAMS, {"harmless": ONE, "honest": TWO, "kind": THREE})


def alone(params: Any) -> jax.Array:
    """The whole batch through one model."""
    return forward_jit(params, TOKENS)


forward_jit = jax.jit(lambda params, tokens: forward(ARCH, params, tokens)[0])


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, atol=2e-5 * float(np.abs(want).max()))


def test_each_row_equals_its_own_adapter_alone() -> None:
    out = run(SHELF.choose(["honest", None, "harmless", "kind"]), TOKENS)
    for i, params in enumerate((TWO, PARAMS, ONE, THREE)):
        close(out[i], alone(params)[i])
    assert np.abs(np.asarray(out) - np.asarray(run(SHELF.choose([None] * 4), TOKENS))).max() > 0.1


def test_a_row_does_not_depend_on_what_its_neighbours_chose() -> None:
    mine = run(SHELF.choose(["honest", "kind", None, "harmless"]), TOKENS)[0]
    np.testing.assert_array_equal(run(SHELF.choose(["honest", "honest", "harmless", None]), TOKENS)[0], mine)


def test_choosing_and_swapping_compile_nothing() -> None:
    run(SHELF.choose(["honest"] * 4), TOKENS)
    before = len(TRACED)
    run(SHELF.choose(["kind", {"harmless": 0.5, "kind": -1.0}, None, "honest"]), TOKENS)
    other = adapted(9, rank=2)
    swapped = SHELF.swap("kind", other, "curious")
    out = run(swapped.choose(["curious", "harmless", "honest", None]), TOKENS)
    assert len(TRACED) == before
    for i, params in enumerate((other, ONE, TWO, PARAMS)):
        close(out[i], alone(params)[i])
    with pytest.raises(MissingError, match="kind"):
        swapped.choose(["kind"])


def test_a_swapped_in_adapter_with_fewer_targets_leaves_the_rest_plain() -> None:
    few = adapted(8, targets=("v",))
    close(run(SHELF.swap("harmless", few).choose(["harmless"] * 4), TOKENS), alone(few))


def test_one_mixture_for_all_merges() -> None:
    mixed = SHELF.choose([{"harmless": 0.5, "honest": 2.0}])
    plain = merge(mixed)
    assert jax.tree.structure(plain) == jax.tree.structure(PARAMS)
    close(alone(plain), run(mixed, TOKENS))
    delta = jax.tree.map(lambda a, b: a - b, plain, PARAMS)["blocks"]
    first, second = (jax.tree.map(lambda a, b: a - b, merge(tree), PARAMS)["blocks"] for tree in (ONE, TWO))
    for name in LINEAR:
        np.testing.assert_allclose(delta[name], 0.5 * first[name] + 2 * second[name], atol=1e-5)


def test_a_shelf_over_a_quantised_base() -> None:
    base = quantise(spec(ARCH), PARAMS, "int8")
    one = adapted(2, base=base)
    out = alone(shelf(base, {"one": one}).choose(["one", None, None, None]))
    close(out[0], alone(one)[0])
    close(out[1:], alone(base)[1:])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ModelError, match=r"rank does not fit the shelf(.|\n)*got: +5\n +expected: at most 3"):
        SHELF.swap("honest", adapted(5, rank=5))
    with pytest.raises(ModelError, match="the shelf left out"):
        shelf(PARAMS, {"honest": TWO}).swap("honest", ONE)
    with pytest.raises(ModelError, match="cannot stand on a shelf"):
        shelf(PARAMS, {"a": lora.attach(ARCH, PARAMS, rank=2, alpha=2.0, seed=0, kind="dora")})
    with pytest.raises(ModelError, match="another number of rows"):
        run(SHELF.choose(["honest", None]), TOKENS)


def test_adapters_trained_on_top_of_each_other_stand_as_one() -> None:
    """Ranks that differ between layers, targets of which one has fewer: what the nested model computes."""
    first = adapted(2, ranks={"blocks/1/": 1})
    second = {"rank": 2, "targets": ("q", "down"), "ranks": {"blocks/0/q": 1}}
    nested, apart = adapted(3, base=first, **second), adapted(3, **second)
    one = joined([first, apart])
    assert one["blocks"]["q"].a.shape[-1] == 5 and one["blocks"]["v"].a.shape[-1] == 3
    want = alone(nested)
    close(alone(one), want)
    assert np.abs(np.asarray(want - alone(first))).max() > 0.1
