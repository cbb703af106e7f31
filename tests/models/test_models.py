"""What the forward must keep, whatever way it is run; and what a model file must not get away with."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.core.errors import MissingError, ModelError
from solon.core.taps import BLOCK_POINTS, POINTS, Taps
from solon.core.weights import abstract, count, named, unstack
from solon.models.architecture import Architecture, spec
from solon.models.block import causal_attend, compute_dtype, forward, hidden, jit_forward, logits, run
from solon.models.families import gemma, llama
from solon.models.load import family, to_tensors, to_tree
from solon.models.shapes import PUBLISHED, describe, published

# Every switch that works together, on a model of odd sizes: 3 query heads a key head, 4 local layers of 5.
ARCH = Architecture(
    "gemma", layers=3, embed=24, heads=6, kv_heads=2, head_dim=8, mlp=40, vocab=61, context=64, norm_offset=1.0,
    activation="gelu_tanh", embed_scale=24**0.5, qk_norm=True, post_norms=True, window=5,
    local_layers=(True, False, True), rope_local_base=1e3, attn_softcap=20.0, final_softcap=10.0,
)  # fmt: skip
LLAMA = replace(published("llama-3.1-8b"), layers=2, embed=16, heads=4, kv_heads=2, head_dim=8, mlp=32, vocab=40)


def noise(arch: Architecture, seed: int) -> Any:
    """Random weights from NumPy, which compiles nothing; norms too, which at their start hide mistakes."""
    rng = np.random.default_rng(seed)
    shapes = abstract(spec(arch), arch.sizes, jnp.float32)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.25, s.shape), s.dtype), shapes)


PARAMS = noise(ARCH, 3)
TOKENS = np.random.default_rng(0).integers(1, 61, (2, 16), dtype=np.int32)
BASE = jit_forward(ARCH, PARAMS, TOKENS)[0]


def wave(params: Any, **how: Any) -> jax.Array:
    """A loss on which every weight bears."""
    return jnp.sum(jnp.sin(hidden(ARCH, params, TOKENS, **how)))


graded = jax.jit(jax.value_and_grad(wave))

CONFIG = {
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 40,
}  # fmt: skip


def tapped(taps: Taps) -> tuple[jax.Array, dict[str, jax.Array]]:
    return jax.jit(lambda p, t: forward(ARCH, p, t, taps))(PARAMS, TOKENS)


# ---- what is refused


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"num_local_experts": 8}, "num_local_experts"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_type"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"hidden_size": None}, "hidden_size"),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ],
)
def test_a_configuration_that_would_change_the_model_unnoticed_is_refused(changes: dict[str, Any], name: str) -> None:
    config = CONFIG | changes
    with pytest.raises(ModelError, match=name):
        family(config["model_type"]).architecture(config)


def test_fields_that_are_switched_off_or_bookkeeping_are_accepted() -> None:
    extra = {"torch_dtype": "bfloat16", "transformers_version": "4.40", "quantisation": None, "rope_scaling": None}
    assert llama.architecture(CONFIG | extra) == llama.architecture(CONFIG)


def test_defaults_that_files_leave_out_are_those_of_the_reference() -> None:
    mistral = llama.architecture(CONFIG | {"model_type": "mistral"})
    assert (mistral.window, mistral.local_layers) == (4096, (True, True))
    assert llama.architecture(CONFIG | {"model_type": "mistral", "sliding_window": None}).window == 0
    two = gemma.architecture(CONFIG | {"model_type": "gemma2"})
    assert (two.attn_softcap, two.final_softcap, two.window, two.local_layers) == (50.0, 30.0, 4096, (True, False))
    assert gemma.architecture(CONFIG | {"model_type": "gemma2", "final_logit_softcapping": None}).final_softcap == 0


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(ModelError, match="'mamba'"):
        family("mamba")


def test_tensors_come_back_as_they_went() -> None:
    for arch, maker in ((ARCH, gemma), (LLAMA, llama)):
        tree = noise(arch, 0)
        back = to_tree(arch, maker.names(arch), to_tensors(arch, maker.names(arch), tree), jnp.float32)
        jax.tree.map(np.testing.assert_array_equal, back, tree)


def test_missing_extra_and_misshapen_tensors_are_refused() -> None:
    names = llama.names(LLAMA)
    good = to_tensors(LLAMA, names, noise(LLAMA, 0))
    q = "model.layers.1.self_attn.q_proj.weight"
    with pytest.raises(ModelError, match=q):
        to_tree(LLAMA, names, {k: v for k, v in good.items() if k != q}, jnp.float32)
    with pytest.raises(ModelError, match="extra.weight"):
        to_tree(LLAMA, names, good | {"extra.weight": np.zeros(3, np.float32)}, jnp.float32)
    for wrong in (good[q][:-1], good[q].T, good[q].reshape(-1)):
        with pytest.raises(ModelError, match=q):
            to_tree(LLAMA, names, good | {q: wrong}, jnp.float32)


# ---- shapes without memory


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gemma-7b", 8_537_680_896), ("gemma-2b", 2_506_172_416), ("llama-3.1-8b", 8_030_261_248),
        ("mistral-7b", 7_241_732_096), ("qwen2.5-7b", 7_615_616_512), ("smollm2-135m", 134_515_008),
    ],
)  # fmt: skip
def test_published_models_have_their_published_size(name: str, parameters: int) -> None:
    arch = published(name)
    assert count(spec(arch), arch.sizes) == parameters
    rows = describe(name)
    assert sum(row.parameters for row in rows) == parameters
    ghosts = named(abstract(spec(arch), arch.sizes))
    assert {row.path: row.shape for row in rows} == {path: x.shape for path, x in ghosts.items()}


def test_gemma_7b_has_its_known_shapes() -> None:
    shapes = {row.path: (row.rule, row.shape) for row in describe("gemma-7b")}
    assert shapes["embed"] == ("vocab -> embed", (256_000, 3072))
    assert shapes["blocks/q"] == ("embed -> heads head_dim", (28, 3072, 16, 256))
    assert shapes["blocks/down"] == ("mlp -> embed", (28, 24_576, 3072))
    assert set(PUBLISHED) == {"gemma-7b", "gemma-2b", "llama-3.1-8b", "mistral-7b", "qwen2.5-7b", "smollm2-135m"}
    with pytest.raises(MissingError, match="gemma-7b"):
        describe("gemma-7")


# ---- taps


def test_kept_activations_have_their_shapes_and_the_logits_are_the_logits() -> None:
    out, seen = tapped(Taps(keep=frozenset(POINTS)))
    b, t, layers, heads, kv = 2, 16, 3, 6, 2
    width, query, key = (layers, b, t, 24), (layers, b, t, heads, 8), (layers, b, t, kv, 8)
    expected = dict.fromkeys(BLOCK_POINTS, width) | {
        "attn_q": query, "attn_k": key, "attn_v": key, "pattern": (layers, b, heads, t, t),
        "mlp_hidden": (layers, b, t, 40), "embed": (b, t, 24), "logits": (b, t, 61),
    }  # fmt: skip
    assert {name: x.shape for name, x in seen.items()} == expected
    np.testing.assert_array_equal(seen["logits"], out)
    np.testing.assert_allclose(out, BASE, atol=1e-5)
    pattern = np.asarray(seen["pattern"])
    np.testing.assert_allclose(pattern.sum(-1), 1, atol=1e-5)
    assert not pattern[..., np.triu(np.ones((t, t), bool), 1)].any()
    assert not pattern[[0, 2]][..., np.tril(np.ones((t, t), bool), -5)].any(), "a local layer saw past its window"
    assert pattern[1][..., np.tril(np.ones((t, t), bool), -5)].any()
    np.testing.assert_allclose(seen["resid_post"][:-1], seen["resid_pre"][1:], atol=1e-5)
    np.testing.assert_allclose(seen["resid_mid"], seen["resid_pre"] + seen["attn_out"], atol=1e-5)
    np.testing.assert_array_equal(seen["resid_pre"][0], seen["embed"])


def test_an_edit_changes_its_layer_and_what_follows_and_nothing_before() -> None:
    def at_one(layer: Any, x: jax.Array) -> jax.Array:
        return x.at[:, 7:].add(jnp.where(layer == 1, 0.5, 0.0))

    kept = frozenset({"resid_pre", "resid_post"})
    plain, before = tapped(Taps(keep=kept))
    out, after = tapped(Taps(keep=kept, edit={"resid_mid": at_one}))
    moved = np.abs(np.asarray(after["resid_post"] - before["resid_post"])).max((1, 3))  # [layer, place]
    assert moved[0].max() == 0
    assert moved[1:, :7].max() == 0
    assert moved[1:, 7:].min() > 1e-3
    assert np.abs(np.asarray(out - plain))[:, :7].max() == 0
    assert np.abs(np.asarray(out - BASE))[:, 7:].max() > 1e-3


def test_without_taps_the_program_is_the_same() -> None:
    bare = jax.make_jaxpr(lambda p, t: forward(ARCH, p, t)[0])(PARAMS, TOKENS)
    empty = jax.make_jaxpr(lambda p, t: forward(ARCH, p, t, Taps())[0])(PARAMS, TOKENS)
    kept = jax.make_jaxpr(lambda p, t: forward(ARCH, p, t, Taps(keep=frozenset({"mlp_out"}))))(PARAMS, TOKENS)
    assert str(bare) == str(empty)
    assert str(bare) != str(kept)


def test_an_unknown_point_is_refused() -> None:
    with pytest.raises(MissingError, match="resid_post"):
        Taps(keep=frozenset({"resid_pots"}))


# ---- one model, many ways to run it


def test_unrolled_blocks_equal_the_scan() -> None:
    listed = PARAMS | {"blocks": unstack(PARAMS["blocks"], ARCH.layers)}
    taps = Taps(keep=frozenset({"mlp_out"}))
    out, seen = jax.jit(lambda p, t: forward(ARCH, p, t, taps))(listed, TOKENS)
    np.testing.assert_allclose(out, BASE, atol=1e-5)
    np.testing.assert_allclose(seen["mlp_out"], tapped(taps)[1]["mlp_out"], atol=1e-5)


def test_the_future_is_not_seen() -> None:
    other = TOKENS.copy()
    other[:, 9:] = 5
    np.testing.assert_array_equal(jit_forward(ARCH, PARAMS, other)[0][:, :9], BASE[:, :9])


def test_packed_rows_equal_rows_alone() -> None:
    lengths, packed = (7, 9), np.zeros((1, 20), np.int32)
    segments, positions, start = np.zeros_like(packed), np.zeros_like(packed), 0
    rows = [TOKENS[0, :n] for n in lengths]
    for number, row in enumerate(rows):
        span = slice(start, start + len(row))
        packed[0, span], segments[0, span], positions[0, span] = row, number + 1, np.arange(len(row))
        start += len(row)
    whole = jax.jit(lambda p: hidden(ARCH, p, packed, positions_bt=positions, segments_bt=segments, parts=4))(PARAMS)
    start = 0
    for row in rows:
        alone = hidden(ARCH, PARAMS, jnp.asarray(row[None]))
        np.testing.assert_allclose(whole[:, start : start + len(row)], alone, atol=1e-5)
        start += len(row)
    assert np.isfinite(np.asarray(whole)).all()


def test_remat_and_parts_change_neither_values_nor_gradients() -> None:
    value, grads = graded(PARAMS)
    other, other_grads = jax.jit(jax.value_and_grad(lambda p: wave(p, remat=True, parts=4)))(PARAMS)
    np.testing.assert_allclose(other, value, rtol=1e-5)
    # 5 does not divide 16, so this is one part
    np.testing.assert_allclose(jax.jit(lambda p: wave(p, parts=5))(PARAMS), value, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * jnp.abs(b).max()), other_grads, grads)
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(grads))


def test_bf16_matrices_stay_near_float32() -> None:
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
    # The float32 model gets the rounded weights, so that only the arithmetic differs.
    same = jax.tree.map(lambda x: x.astype(jnp.float32), low)
    plain = np.asarray(jit_forward(ARCH, same, TOKENS)[0])
    rounded = jit_forward(ARCH, low, TOKENS)[0]
    assert rounded.dtype == jnp.float32
    gap = np.abs(np.asarray(rounded) - plain)
    print(f"bf16: max {gap.max() / plain.std():.3f}, mean {gap.mean() / plain.std():.4f} of the spread of the logits")
    assert gap.max() < 0.15 * plain.std()
    assert gap.mean() < 0.02 * plain.std()
    for a, b in zip(jax.tree.leaves(graded(low)[1]), jax.tree.leaves(graded(same)[1]), strict=True):
        assert a.dtype == jnp.bfloat16
        a, b = np.asarray(a, np.float32).ravel(), np.asarray(b).ravel()
        assert a @ b > 0.99 * np.linalg.norm(a) * np.linalg.norm(b)


def test_positions_may_start_anywhere() -> None:
    """Rotary embedding sees distances alone: a row moved by 100 places is the same row."""
    attend = causal_attend(ARCH, None, compute_dtype(PARAMS))
    moved = jnp.broadcast_to(jnp.arange(16) + 100, TOKENS.shape)
    h = jax.jit(lambda p: run(ARCH, p, jnp.asarray(TOKENS), moved, attend)[0])(PARAMS)
    np.testing.assert_allclose(logits(ARCH, PARAMS, h), BASE, atol=2e-4)


# ---- many devices

# Compiling is what takes the time here, so the compiler is told not to try hard.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from solon.core.mesh import mesh, shardings
from solon.core.weights import init, named
from solon.models.architecture import Architecture, spec
from solon.models.block import forward, hidden
assert jax.device_count() == 8
arch = Architecture("llama", layers=2, embed=16, heads=4, kv_heads=2, head_dim=8, mlp=24, vocab=40, context=32, tied=False)
params = init(spec(arch), arch.sizes, seed=0)
tokens = np.random.default_rng(0).integers(0, 40, (4, 8), dtype=np.int32)

def loss(p, t):
    out = forward(arch, p, t)[0]
    return jnp.sum(jnp.sin(out)), out

one = jax.jit(jax.value_and_grad(loss, has_aux=True))
(value, out), grads = one(params, tokens)
where = mesh(data=4, model=2)
places = shardings(spec(arch), arch.sizes, where)
many = jax.device_put(params, places)
rows = jax.device_put(tokens, NamedSharding(where, PartitionSpec("data")))
(other, other_out), other_grads = one(many, rows)
np.testing.assert_allclose(other_out, out, atol=2e-5)
np.testing.assert_allclose(other, value, rtol=1e-5)
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * jnp.abs(b).max()), other_grads, grads)
shapes = {k: x.addressable_shards[0].data.shape for k, x in named(many).items()}
assert shapes["blocks/q"] == (2, 4, 2, 8), shapes
assert shapes["blocks/k"] == (2, 4, 1, 8), shapes
assert shapes["blocks/down"] == (2, 12, 4), shapes
assert shapes["unembed"] == (4, 20), shapes
print("max difference", float(np.abs(np.asarray(other_out) - np.asarray(out)).max()))
odd = shardings(spec(arch), arch.sizes, mesh(data=1, model=8))
assert named(odd)["blocks/q"].spec == PartitionSpec(None, "data", None, None), named(odd)["blocks/q"]
"""


@pytest.mark.slow
def test_eight_devices_equal_one() -> None:
    source = Path(__file__).parents[2] / "src"
    env = os.environ | {"XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu"}
    env["PYTHONPATH"] = str(source)
    done = subprocess.run([sys.executable, "-c", SHARDED], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
