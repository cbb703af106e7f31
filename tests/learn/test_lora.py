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

from solon.core.adapters import Bottleneck
from solon.core.dense import merge, without_adapter
from solon.core.errors import ConfigError, ModelError
from solon.core.prune import prune
from solon.core.quantise import quantise
from solon.core.weights import abstract, is_weight, named
from solon.learn import lora, trainer
from solon.learn.objectives import sft
from solon.models.architecture import LINEAR, Architecture, spec
from solon.models.block import forward, jit_forward
from solon.text.batches import batch as pack
from solon.text.batches import shape_of
from solon.text.template import Tokens as Row

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


KINDS = lora.KINDS


def own(kind: str) -> tuple[str, ...]:
    return lora.TARGETS.get(kind, LINEAR)


# Which kind sits where when all are there at once; each test then compiles a single program.
PLACES = {"q": "dora", "k": "ia3", "v": "rslora", "o": "bottleneck", "gate": "lora", "up": "dora", "down": "ia3"}


def everywhere(params: Any, **how: Any) -> Any:
    for kind in KINDS:
        params = attached(params, kind=kind, targets=[name for name, other in PLACES.items() if other == kind], **how)
    return params


def mixed(params: Any = PARAMS) -> Any:
    """A base of which some matrices are int8, some int4, some float32."""
    return quantise(spec(ARCH), quantise(spec(ARCH), params, "int8", "(q|o|down)$"), "int4", "(k|v|up)$")


@pytest.mark.parametrize("base", ["float32", "bfloat16", "mixed"])
def test_every_kind_is_the_identity_over_every_base(base: str) -> None:
    params = mixed() if base == "mixed" else cast(PARAMS, base)
    fresh = everywhere(params)
    assert set(lora.adapter(fresh)) == {f"blocks/{name}" for name in LINEAR}
    assert jax.tree.structure(without_adapter(fresh)) == jax.tree.structure(params)
    # The scale of int8 may be rounded together with the sum behind it, or not, as the compiler likes.
    np.testing.assert_allclose(out(fresh), out(params), rtol=0, atol=1e-5 * np.abs(out(params)).max() if base == "mixed" else 0)


def cast(params: Any, dtype: str) -> Any:
    return jax.tree.map(lambda w, x: x.astype(dtype) if w.ins else x, spec(ARCH), params, is_leaf=is_weight)


def test_how_many_numbers_are_trained() -> None:
    """Seven adapters a layer, and the papers' counts: r (in + out); with DoRA one more an output; 2 m d + d + m; IA3 one each."""
    d, mlp, q, kv, layers = 16, 24, 16, 8, 2
    ins_outs = {"q": (d, q), "k": (d, kv), "v": (d, kv), "o": (q, d), "gate": (d, mlp), "up": (d, mlp), "down": (mlp, d)}
    pairs = sum(3 * (i + o) for i, o in ins_outs.values())
    want = {"lora": pairs, "rslora": pairs, "dora": pairs + sum(o for _, o in ins_outs.values()),
            "bottleneck": 2 * (2 * 3 * d + d + 3), "ia3": kv + kv + mlp}  # fmt: skip
    for kind in want:  # those of `full` are counted in test_full.py
        trained = lora.adapter(attached(kind=kind, targets=own(kind)))
        assert sum(x.size for x in jax.tree.leaves(trained)) == layers * want[kind], kind
        assert len(trained) * layers == len(own(kind)) * layers


def test_the_scale_of_each_kind() -> None:
    assert attached()["blocks"]["q"].scale == attached(kind="dora")["blocks"]["q"].scale == 2.0
    np.testing.assert_allclose(attached(kind="rslora")["blocks"]["q"].scale, 6 / 3**0.5, rtol=1e-6)


def test_merged_kinds_run_alike() -> None:
    """Of the kinds at once, over quantised matrices too; only the bottleneck stays a leaf."""
    params = stirred(everywhere(mixed()))
    plain = merge(params)
    assert isinstance(plain["blocks"]["o"], Bottleneck)
    assert all(isinstance(plain["blocks"][name], jax.Array) for name in LINEAR if name != "o")
    assert np.abs(out(params) - out(PARAMS)).max() > 0.1
    np.testing.assert_allclose(out(plain), out(params), atol=2e-4 * np.abs(out(plain)).max())


def stirred(params: Any) -> Any:
    return lora.put(params, jax.tree.map(lambda x, n: x + n / 2, lora.adapter(params), noise(lora.adapter(params), 2)))


@pytest.mark.parametrize("tied", [True, False])
def test_adapters_of_embeddings_and_output(tied: bool) -> None:
    """A tied table is one matrix: its adapter changes what goes in and what comes out, so merging changes nothing."""
    arch = replace(ARCH, tied=tied)
    base = noise(abstract(spec(arch), arch.sizes), 1)
    targets = ("embed", "q") if tied else ("embed", "unembed", "q")
    fresh = lora.attach(arch, base, rank=3, alpha=6.0, seed=0, targets=targets)
    arrays = lora.adapter(fresh)
    assert set(arrays) == {"blocks/q", *(set(targets) - {"q"})}
    assert arrays["embed"]["a"].shape == (31, 3) and arrays["embed"]["b"].shape == (3, 16)
    rows = pack_rows(arch)
    ours = jax.jit(jax.value_and_grad(lambda t: sft.loss(arch, lora.put(fresh, t), rows)[0]))
    plain = jax.jit(jax.value_and_grad(plain_loss(arch, fresh, rows)))
    close(ours(noise(arrays, 2)), plain(noise(arrays, 2)), 1e-3)
    np.testing.assert_array_equal(merge(fresh)["embed"], base["embed"])
    with pytest.raises(ConfigError, match="takes no dora adapter"):
        lora.attach(arch, base, rank=3, alpha=6.0, seed=0, targets=targets, kind="dora")


def pack_rows(arch: Architecture) -> Any:
    rows = [Row(np.random.default_rng(i).integers(0, 31, 9).tolist(), [False] * 3 + [True] * 6) for i in range(2)]
    return pack(rows, shape_of([rows], 9))


def plain_loss(arch: Architecture, params: Any, rows: Any) -> Any:
    """The same loss through whole logits of the merged model."""

    def loss(trained: Any) -> jax.Array:
        logp = jax.nn.log_softmax(forward(arch, merge(lora.put(params, trained)), jnp.asarray(rows.tokens_bt))[0])
        picked = logp.reshape(-1, arch.vocab)[rows.place_n, rows.target_n]
        return -jnp.sum(picked * rows.weight_n)

    return loss


def close(got: Any, want: Any, tolerance: float) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance * float(jnp.abs(b).max())), got, want)


def test_ranks_by_pattern_are_padded_and_stay_padded() -> None:
    """The padding has no gradient, so an optimiser with weight decay leaves it at zero; the rest is alpha / own rank."""
    ranks = {"0/(q|up)$": 1, "down": 2, "q": 5}
    params = attached(ranks=ranks)
    q, up, down = (params["blocks"][name] for name in ("q", "up", "down"))
    assert (q.a.shape[-1], up.a.shape[-1], down.a.shape[-1]) == (5, 3, 2)
    np.testing.assert_allclose(q.scale * q.gain, [6 / 1, 6 / 5])
    np.testing.assert_allclose(up.scale * up.gain, [6 / 1, 6 / 3])
    assert down.gain is None and down.scale == 3.0 and params["blocks"]["o"].scale == 2.0
    np.testing.assert_array_equal(out(params), out(PARAMS))
    after = lora.put(params, train(params, 8).trained)
    for name, layer, width in (("q", 0, 1), ("up", 0, 1), ("up", 1, 3)):
        w = after["blocks"][name]
        used = np.abs(np.asarray(w.a[layer])).sum(0), np.abs(np.asarray(w.b[layer])).reshape(w.b.shape[1], -1).sum(1)
        assert all((x[:width] > 0).all() and (x[width:] == 0).all() for x in used), (name, layer)
    for bad, words in (({"nothing": 2}, "names no matrix"), ({"(": 2}, "no regular expression"), ({"q": 99}, "does not fit")):
        with pytest.raises(ConfigError, match=words):
            attached(ranks=bad)


def train(params: Any, steps: int, seed: int = 3) -> trainer.Result:
    """A few steps of AdamW with decay on one batch."""
    rows = pack_rows(ARCH)

    def loss(trained: Any, frozen: Any, batch: Any, key: jax.Array) -> Any:
        return sft.loss(ARCH, lora.put(frozen, trained), batch)

    plan = trainer.Plan(steps=steps, learning_rate=0.05, seed=seed, decay=0.1, schedule="constant")
    return trainer.train(loss, lora.adapter(params), params, lambda i: [rows], plan)


def test_training_learns_and_leaves_the_base_to_the_bit() -> None:
    """Every kind at once, over float32, int8 and int4."""
    frozen = mixed()
    before = [np.array(x) for x in jax.tree.leaves(frozen)]
    result = train(everywhere(frozen), 8)
    losses = [row["loss"] for row in result.history]
    assert losses[-1] < 0.9 * losses[0]
    start = lora.adapter(everywhere(frozen))
    moved = jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), result.trained, start)
    assert all(change > 0 for change in jax.tree.leaves(moved))
    after = without_adapter(lora.put(everywhere(frozen), result.trained))
    for old, new in zip(before, jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize(
    "form", [{"kind": "rslora"}, {"kind": "dora"}, {"kind": "bottleneck"}, {"kind": "ia3"}, {"ranks": {"1/q": 1}}, {"quantise": "int4"}]
)  # fmt: skip
def test_every_kind_is_saved_and_loaded(tmp_path: Path, form: dict[str, Any]) -> None:
    made = {name: value for name, value in form.items() if name != "quantise"}
    base = quantise(spec(ARCH), PARAMS, form["quantise"]) if "quantise" in form else PARAMS
    targets = own(form.get("kind", "lora"))
    fresh = attached(base, targets=targets, **made)
    params = lora.put(fresh, jax.tree.map(lambda x, n: x + x * n, lora.adapter(fresh), noise(lora.adapter(fresh), 2)))
    lora.save(tmp_path, lora.adapter(params), {**SETTINGS, "targets": list(targets), **form})
    back = lora.load_onto(ARCH, PARAMS, tmp_path)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown kind of adapter"):
        attached(kind="qlora")
    with pytest.raises(ConfigError, match="where there is no matrix"):
        attached(targets=("q", "query"))
    with pytest.raises(ConfigError, match="where there is no matrix"):
        attached(targets=("unembed",))  # tied: there is no such weight
    with pytest.raises(ConfigError, match="would fill its zeros"):
        attached(prune(spec(ARCH), PARAMS, "2:4"), kind="dora")


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
