"""Matrices as products of two thin ones: the nearest of that rank, by NumPy."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from solon.core.dense import Axes, LoRA, dense, merged
from solon.core.errors import ConfigError
from solon.core.lowrank import LowRank, low_rank, widened
from solon.core.quantise import dequantise, quantise, size
from solon.core.weights import init
from solon.models.architecture import Architecture, spec

RNG = np.random.default_rng(0)
ARCH = Architecture("llama", layers=2, embed=16, heads=4, kv_heads=2, head_dim=4, mlp=24, vocab=31, context=64)
PARAMS = init(spec(ARCH), ARCH.sizes, seed=0)
THIN = low_rank(spec(ARCH), PARAMS, 0.5)


@pytest.mark.parametrize(("name", "n_in"), [("q", 1), ("o", 2), ("down", 1)])
def test_it_is_the_nearest_matrix_of_its_rank(name: str, n_in: int) -> None:
    leaf, whole = THIN["blocks"][name], np.asarray(PARAMS["blocks"][name], np.float64)
    flat = whole.reshape(2, int(np.prod(whole.shape[1 : 1 + n_in])), -1)
    rank = int(0.5 * flat[0].size / sum(flat[0].shape))
    assert leaf.a.shape[-1] == rank and leaf.a.size + leaf.b.size <= whole.size / 2
    u, s, v = np.linalg.svd(flat, full_matrices=False)
    best = (u[..., :rank] * s[:, None, :rank]) @ v[:, :rank]
    np.testing.assert_allclose(np.asarray(merged(leaf)).reshape(flat.shape), best, atol=1e-5)
    x = jnp.asarray(RNG.normal(size=(3, *whole.shape[1 : 1 + n_in])), jnp.float32)
    one = LowRank(leaf.a[1], leaf.b[1], n_in)
    np.testing.assert_allclose(dense(x, one, n_in).reshape(3, -1), np.asarray(x).reshape(3, -1) @ best[1], atol=1e-4)


def test_only_the_layers_become_thin_and_stay_so_where_packed_weights_are_unpacked() -> None:
    assert THIN["embed"] is PARAMS["embed"] and THIN["blocks"]["attn_norm"] is PARAMS["blocks"]["attn_norm"]
    back: Any = dequantise({**THIN, "embed": quantise(spec(ARCH), PARAMS, "int8", "embed")["embed"]})
    assert isinstance(back["blocks"]["q"], LowRank) and back["embed"].dtype == jnp.float32 and size(THIN) < 0.75 * size(PARAMS)
    assert THIN["blocks"]["q"].astype(jnp.bfloat16).dtype == jnp.bfloat16


@pytest.mark.parametrize("gain", [None, jnp.array([1.0, 0.5])])
def test_an_adapter_above_widens_it(gain: Any) -> None:
    leaf = THIN["blocks"]["o"]
    a, b = (jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((2, 4, 4, 3), (2, 3, 16)))
    lora = LoRA(leaf, a, b, gain=gain, scale=2.0, n_in=2)
    wide = widened(lora)
    assert wide.a.shape[-1] == leaf.a.shape[-1] + 3
    np.testing.assert_allclose(wide.array(), lora.array(), atol=1e-5)


def test_both_halves_lie_beside_the_sides_that_they_touch() -> None:
    seen = THIN["blocks"]["o"].spread(Axes(("layers",), ("heads", "head"), ("embed",)), lambda x, names: (x.ndim, names))
    assert seen.a == (4, ("layers", "heads", "head", None)) and seen.b == (3, ("layers", None, "embed"))


def test_what_cannot_be_is_refused() -> None:
    for share in (0.0, 1.0):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            low_rank(spec(ARCH), PARAMS, share)
    with pytest.raises(ConfigError, match=r"no rank of blocks/(.|\n)*at least"):
        low_rank(spec(ARCH), PARAMS, 0.01)
    with pytest.raises(ConfigError, match="carries an adapter"):
        low_rank(spec(ARCH), {**PARAMS, "blocks": {**PARAMS["blocks"], "q": LoRA(PARAMS["blocks"]["q"], jnp.ones(1), jnp.ones(1))}}, 0.5)
