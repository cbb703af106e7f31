"""Adapters: nothing until trained, put back exactly, one on another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from solon.core.dense import merge, without_adapter
from solon.core.errors import ConfigError, ModelError
from solon.core.weights import abstract, named
from solon.learn import lora
from solon.models.architecture import LINEAR, Architecture, spec
from solon.models.block import jit_forward

ARCH = Architecture("llama", layers=2, embed=16, heads=4, kv_heads=2, head_dim=4, mlp=24, vocab=31, context=64)
TOKENS = np.random.default_rng(0).integers(0, 31, (2, 9))
SETTINGS = {"rank": 3, "alpha": 6.0, "targets": list(LINEAR)}


def noise(shapes: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.3, s.shape), jnp.float32), shapes)


PARAMS = noise(abstract(spec(ARCH), ARCH.sizes), 1)


def attached(params: Any = PARAMS, seed: int = 0, **how: Any) -> Any:
    return lora.attach(ARCH, params, **{"rank": 3, "alpha": 6.0, "seed": seed, **how})


def trained(params: Any, seed: int) -> Any:
    """The same with noise in its outermost adapters."""
    return lora.put(params, noise(lora.adapter(params), seed))


def out(params: Any) -> np.ndarray:
    return np.asarray(jit_forward(ARCH, params, TOKENS)[0])


def test_a_fresh_adapter_changes_nothing() -> None:
    params = attached()
    np.testing.assert_array_equal(out(params), out(PARAMS))
    jax.tree.map(np.testing.assert_array_equal, merge(params), PARAMS)
    arrays = lora.adapter(params)
    assert set(arrays) == {f"blocks/{name}" for name in LINEAR}
    assert arrays["blocks/q"]["a"].shape == (2, 16, 3) and arrays["blocks/q"]["b"].shape == (2, 3, 4, 4)
    assert arrays["blocks/o"]["a"].shape == (2, 4, 4, 3) and arrays["blocks/o"]["b"].shape == (2, 3, 16)
    assert all(float(jnp.abs(w["b"]).max()) == 0 < float(jnp.abs(w["a"]).min()) for w in arrays.values())
    jax.tree.map(np.testing.assert_array_equal, attached(), params)
    assert not np.array_equal(lora.adapter(attached(seed=1))["blocks/q"]["a"], arrays["blocks/q"]["a"])
    assert set(lora.adapter(attached(targets=("q", "up")))) == {"blocks/q", "blocks/up"}


def test_an_adapter_is_what_its_paper_says() -> None:
    """W + alpha / rank * A B, layer by layer, in NumPy."""
    params = trained(attached(), 2)
    arrays, plain = lora.adapter(params), dict(named(PARAMS))
    for name, w in arrays.items():
        base = np.asarray(plain[name], np.float64)
        ins = w["a"].ndim - 2
        a = np.asarray(w["a"], np.float64).reshape(2, -1, 3)
        delta = 2.0 * a @ np.asarray(w["b"], np.float64).reshape(2, 3, -1)
        np.testing.assert_allclose(dict(named(merge(params)))[name], base + delta.reshape(base.shape), atol=1e-5)
        assert ins == (2 if name == "blocks/o" else 1)
    assert np.abs(out(params) - out(PARAMS)).max() > 0.1
    np.testing.assert_allclose(out(merge(params)), out(params), atol=2e-4)


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    params = trained(attached(), 2)
    lora.save(tmp_path, lora.adapter(params), SETTINGS)
    back = lora.load_onto(ARCH, PARAMS, tmp_path)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    np.testing.assert_array_equal(out(back), out(params))


def test_adapters_chain(tmp_path: Path) -> None:
    """The second is trained on the first, which stays as it was; both add up."""
    first = trained(attached(), 2)
    second = attached(first, seed=5, rank=2, alpha=2.0, targets=("q", "down"))
    np.testing.assert_array_equal(out(second), out(first))
    assert set(lora.adapter(without_adapter(second))) <= set(lora.adapter(first))
    both = lora.put(second, noise(lora.adapter(second, ("q", "down")), 3))
    np.testing.assert_array_equal(both["blocks"]["up"].b, first["blocks"]["up"].b)
    inner = both["blocks"]["q"].base
    np.testing.assert_array_equal(inner.b, first["blocks"]["q"].b)
    assert lora.adapter(both)["blocks/q"]["a"].shape[-1] == 2
    np.testing.assert_allclose(out(merge(both)), out(both), atol=5e-4)
    for number, (params, settings) in enumerate([(first, SETTINGS), (both, {"rank": 2, "alpha": 2.0, "targets": ["q", "down"]})]):
        (tmp_path / str(number)).mkdir()
        lora.save(tmp_path / str(number), lora.adapter(params, settings["targets"]), settings)
    chain = lora.load_onto(ARCH, lora.load_onto(ARCH, PARAMS, tmp_path / "0"), tmp_path / "1")
    jax.tree.map(np.testing.assert_array_equal, chain, both)


@pytest.mark.parametrize("rank", [0, -1, 17])
def test_an_impossible_rank_is_refused(rank: int) -> None:
    with pytest.raises(ConfigError, match=rf"rank of an adapter(.|\n)*got: +{rank}\n +expected: 1 to 16"):
        attached(rank=rank)


@pytest.mark.parametrize("harm", ["gone", "cut", "empty", "not its kind", "no settings", "half settings", "not JSON"])
def test_a_damaged_file_is_named(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "adapter.safetensors"
    lora.save(tmp_path, lora.adapter(attached()), SETTINGS)
    whole = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm in ("cut", "empty", "not its kind"):
        path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "not its kind": b"{}" * 40}[harm])
    else:
        metadata = {"no settings": None, "half settings": {"lora": json.dumps({"rank": 3})}, "not JSON": {"lora": "{"}}[harm]
        save_file(load_file(path), path, metadata=metadata)
    with pytest.raises(ModelError, match=r"adapter\.safetensors cannot be read"):
        lora.load_onto(ARCH, PARAMS, tmp_path)


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    lora.save(tmp_path, lora.adapter(attached()), SETTINGS)
    deeper = replace(ARCH, layers=3)
    with pytest.raises(ModelError, match="does not fit the model: blocks/down.a"):
        lora.load_onto(deeper, noise(abstract(spec(deeper), deeper.sizes), 1), tmp_path)
    tensors = load_file(tmp_path / "adapter.safetensors")
    del tensors["blocks/q.b"]
    save_file(tensors, tmp_path / "adapter.safetensors", metadata={"lora": json.dumps(SETTINGS)})
    with pytest.raises(ModelError, match="does not fit the model: blocks/q.b"):
        lora.load_onto(ARCH, PARAMS, tmp_path)
