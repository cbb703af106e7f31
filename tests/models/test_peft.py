"""Adapters as files and as values: PEFT and GGUF both ways, joined, cut, compared, merged and taken out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from solon.core.artifacts import Store
from solon.core.errors import ConfigError, MissingError, ModelError
from solon.learn import lora
from solon.models import deltas
from solon.models.block import jit_forward
from solon.models.deltas import Delta
from solon.models.formats import gguf, gguf_lora, peft, read
from solon.models.formats.hf_config import hf_config
from solon.models.load import Model
from solon.stages import adapters
from solon.stages.export import TEXT, Order, bare, export, found_deltas, with_deltas
from solon.stages.models import resolve


def logits(model: Model) -> np.ndarray:
    """On the text of the round-trip check, whose shape is compiled already."""
    ids = np.array([model.tokenizer.encode(TEXT)], np.int32)
    return np.asarray(jit_forward(model.arch, model.params, ids)[0])


def dense(delta: Delta) -> np.ndarray:
    """The delta by a plain product, in float64."""
    return delta.scale * delta.b.astype(np.float64) @ delta.a.astype(np.float64)


def same(found: dict[str, Delta], back: dict[str, Delta]) -> None:
    assert set(found) == set(back)
    for module in found:
        for part in ("a", "b"):
            np.testing.assert_array_equal(getattr(found[module], part), getattr(back[module], part))
        assert found[module].scale == back[module].scale


@pytest.fixture(scope="module")
def chain(tiny_model: Model, adapt: Callable[..., Model]) -> Model:
    """Two adapters on one another, of different ranks, scales and targets."""
    return adapt(adapt(tiny_model, rank=4, alpha=8.0), rank=3, alpha=4.5, targets=("q", "down"), seed=6)


@pytest.fixture
def place(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.fixture(scope="module")
def made(chain: Model, adapt: Callable[..., Model], tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The tiny model as a folder (`base`), and two adapters on it: `a` is a chain brought in from PEFT, `b` another one."""
    here = tmp_path_factory.mktemp("made")
    export(tiny_model, "tiny", here / "base", Order("hf"))
    for name, model in (("a", chain), ("b", adapt(tiny_model, rank=2, alpha=4.0, targets=("q", "v"), seed=9))):
        export(model, "tiny", here / f"peft-{name}", Order("peft"))
        adapters.bring_in(here / f"peft-{name}", str(here / "base"), here / name)
    return {name: str(here / name) for name in ("a", "b", "base", "peft-a", "peft-b")}


@pytest.fixture
def base_folder(made: dict[str, str]) -> str:
    return made["base"]


@pytest.mark.slow
def test_a_chain_is_one_adapter(chain: Model) -> None:
    """W + s1 B1 A1 + s2 B2 A2 with the ranks side by side is the same delta, weight by weight."""
    found = found_deltas(chain)
    assert {delta.rank for delta in found.values()} == {4, 7}
    down = chain.params["blocks"]["down"]
    for layer in range(2):
        parts = [x.scale * np.asarray(x.a[layer], np.float64) @ np.asarray(x.b[layer], np.float64) for x in (down, down.base)]
        np.testing.assert_allclose(dense(found[f"model.layers.{layer}.mlp.down_proj"]), (parts[0] + parts[1]).T, atol=1e-6)
    np.testing.assert_allclose(logits(with_deltas(chain, found)), logits(chain), atol=2e-5)


def test_equal_scales_are_not_touched() -> None:
    rng = np.random.default_rng(0)
    p, q = (Delta(*(rng.normal(size=shape).astype(np.float32) for shape in ((2, 5), (7, 2))), 1.7) for _ in range(2))
    both = deltas.joined([p, q])
    assert both.scale == 1.7 and np.array_equal(both.b, np.concatenate([p.b, q.b], 1))
    mixed = deltas.joined([p, replace(q, scale=0.5)])
    np.testing.assert_allclose(dense(mixed), dense(p) + 0.5 / 1.7 * dense(q), atol=1e-6)


@pytest.mark.parametrize("to", ["peft", "gguf-lora"])
@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_adapters_go_round(to: str, kind: str, chain: Model, tmp_path: Path) -> None:
    made = export(chain, "tiny", tmp_path / "out", Order(to, kind))
    config = hf_config(chain.arch)
    back = peft.read(tmp_path / "out")[0] if to == "peft" else gguf_lora.read(tmp_path / "out/adapter.gguf", config)
    found = found_deltas(chain)
    for module, delta in found.items():
        np.testing.assert_allclose(dense(back[module]), dense(delta), atol=1e-6 if kind == "f32" else 3e-4)
    assert made["adapter"] == deltas.digest(found) and made["base"] == "tiny" and made["check"]["mean_kl"] < 1e-4
    if to == "peft":
        config = json.loads((tmp_path / "out/adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "tiny" and config["peft_type"] == "LORA"
        assert (tmp_path / "out/chat_template.jinja").exists(), "the template goes with the adapter"
    else:
        fields = gguf.open_file(tmp_path / "out/adapter.gguf").fields
        assert (fields["general.type"], fields["adapter.type"], fields["general.architecture"]) == ("adapter", "lora", "llama")


def test_one_adapter_is_exact_through_peft(tiny_model: Model, adapt: Callable[..., Model], tmp_path: Path) -> None:
    model = adapt(tiny_model, rank=3, alpha=7.0)
    export(model, "tiny", tmp_path / "out", Order("peft"))
    same(found_deltas(model), peft.read(tmp_path / "out")[0])
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["rank_pattern"]) == (3, 7, {})
    assert sorted(config["target_modules"]) == sorted(f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down"))


def test_gguf_lora_turns_the_heads_rows(chain: Model, tmp_path: Path) -> None:
    """llama.cpp's q and k have their rotated pairs adjacent, so the rows of B move with them."""
    export(chain, "tiny", tmp_path / "out", Order("gguf-lora"))
    file = gguf.open_file(tmp_path / "out/adapter.gguf")
    want = found_deltas(chain)["model.layers.1.self_attn.q_proj"].b.reshape(4, 2, 4, -1)  # heads, halves, places, rank
    got = file.array("blk.1.attn_q.weight.lora_b").reshape(4, 4, 2, -1)
    ratio = got[0, 0, 0, 0] / want[0, 0, 0, 0]
    np.testing.assert_allclose(got, want.swapaxes(1, 2) * ratio, rtol=1e-6)


def test_ranks_and_alphas_that_differ(tiny_model: Model, adapt: Callable[..., Model], tmp_path: Path) -> None:
    """PEFT's patterns come in by its rule, and go out so that each module keeps its own."""
    export(adapt(tiny_model, rank=4, alpha=8.0), "tiny", tmp_path / "out", Order("peft"))
    path = tmp_path / "out/adapter_config.json"
    config, tensors = json.loads(path.read_text()), load_file(tmp_path / "out/adapter_model.safetensors")
    half = {name: (x[:2] if "lora_A" in name else x[:, :2]).copy() for name, x in tensors.items() if ".q_proj." in name}
    save_file({**tensors, **half}, tmp_path / "out/adapter_model.safetensors")
    config |= {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 6}, "use_rslora": True}
    path.write_text(json.dumps(config))
    found, _ = peft.read(tmp_path / "out")
    assert found["model.layers.0.self_attn.q_proj"].scale == pytest.approx(8 / 2**0.5)
    assert found["model.layers.1.self_attn.q_proj"].scale == pytest.approx(6 / 2**0.5)
    assert found["model.layers.1.mlp.up_proj"].scale == pytest.approx(8 / 2)
    model = with_deltas(tiny_model, found)
    for module, delta in found_deltas(model).items():
        np.testing.assert_allclose(dense(delta), dense(found[module]), atol=1e-6)
    (tmp_path / "again").mkdir()
    peft.write(tmp_path / "again", found, "tiny")
    back, _ = peft.read(tmp_path / "again")
    for module, delta in found.items():
        assert back[module].rank == delta.rank and back[module].scale == pytest.approx(delta.scale, rel=1e-12)
    config["rank_pattern"] = {"q_proj": 3}
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"(?s)damaged at .*q_proj.*expected: rank 3"):
        peft.read(tmp_path / "out")


@pytest.mark.parametrize(
    "feature,value",
    [
        ("bias", "all"), ("modules_to_save", ["lm_head"]), ("fan_in_fan_out", True), ("layers_to_transform", [0]),
        ("layer_replication", [[0, 2]]), ("peft_type", "IA3"), ("task_type", "SEQ_CLS"), ("init_lora_weights", "pissa_niter_4"),
        ("trainable_token_indices", [1]), ("lora_bias", True), ("target_parameters", ["x"]), ("something_of_next_year", 1),
        ("alpha_pattern", {"(": 1}),
    ],
)  # fmt: skip
def test_what_solon_does_not_represent_is_named(feature: str, value: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    name = "model.layers.0.mlp.up_proj"
    peft.write(tmp_path, {name: Delta(*(rng.normal(size=s).astype(np.float32) for s in ((2, 8), (8, 2))), 1.0)}, "x")
    assert peft.read(tmp_path)[0][name].rank == 2
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, feature: value}))
    with pytest.raises(ModelError) as refused:
        peft.read(tmp_path)
    assert feature in str(refused.value) or "no regular expression" in str(refused.value)


@pytest.mark.parametrize("tensor,said", [("modules_to_save.weight", "whole modules"), ("lora_embedding_A", "embeddings")])
def test_foreign_tensors_are_named(tensor: str, said: str, tmp_path: Path) -> None:
    peft.write(tmp_path, {"model.layers.0.mlp.up_proj": Delta(np.ones((1, 2), np.float32), np.ones((2, 1), np.float32), 1.0)}, "x")
    path = tmp_path / "adapter_model.safetensors"
    save_file({**load_file(path), f"base_model.model.lm_head.{tensor}": np.ones(2, np.float32)}, path)
    with pytest.raises(ModelError, match=said):
        peft.read(tmp_path)


def test_broken_peft_folders(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no adapter_config\.json"):
        peft.read(tmp_path)
    peft.write(tmp_path, {"model.layers.0.mlp.up_proj": Delta(np.ones((1, 2), np.float32), np.ones((2, 1), np.float32), 1.0)}, "x")
    path = tmp_path / "adapter_model.safetensors"
    save_file({name: x for name, x in load_file(path).items() if "lora_A" in name}, path)
    with pytest.raises(ModelError, match="matrices A and B"):
        peft.read(tmp_path)
    path.unlink()
    (tmp_path / "adapter_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(ModelError, match="can run code"):
        peft.read(tmp_path)


def test_adapters_that_do_not_fit(tiny_model: Model, adapt: Callable[..., Model]) -> None:
    found = found_deltas(adapt(tiny_model, targets=("q",)))
    first = next(iter(found))
    with pytest.raises(ModelError, match="layers_to_transform"):
        deltas.to_trained(tiny_model.arch, {first: found[first]})
    with pytest.raises(ModelError, match="puts none"):
        deltas.to_trained(tiny_model.arch, {**found, "model.embed_tokens": found[first]})
    wide = replace(found[first], a=np.zeros((4, 99), np.float32))
    with pytest.raises(ModelError, match=r"(?s)does not fit the model.*99"):
        deltas.to_trained(tiny_model.arch, {**found, first: wide})
    with pytest.raises(ConfigError, match="has no adapter"):
        found_deltas(tiny_model)


def test_norms_and_cosines_are_those_of_the_whole_matrices() -> None:
    rng = np.random.default_rng(3)
    p, q = (Delta(*(rng.normal(size=shape).astype(np.float32) for shape in ((r, 9), (11, r))), s) for r, s in ((2, 0.5), (5, 2.0)))
    assert deltas.norm(p) == pytest.approx(np.linalg.norm(dense(p)))
    assert deltas.inner(p, q) == pytest.approx(float((dense(p) * dense(q)).sum()))
    assert deltas.difference(p, q) == pytest.approx(np.linalg.norm(dense(p) - dense(q)))
    assert deltas.difference(p, p) < 1e-6 * deltas.norm(p)
    cut = deltas.truncated(q, 3)
    u, s, v = np.linalg.svd(dense(q))
    np.testing.assert_allclose(dense(cut), (u[:, :3] * s[:3]) @ v[:3], atol=1e-5)
    assert deltas.difference(q, cut) == pytest.approx(np.sqrt((s[3:] ** 2).sum()), rel=1e-5)
    np.testing.assert_allclose(deltas.array(q), dense(q), atol=1e-5)


def test_an_imported_adapter_works_by_its_path(made: dict[str, str], chain: Model, place: Store, base_folder: str) -> None:
    model = resolve(made["a"], place, "float32")
    np.testing.assert_allclose(logits(model), logits(chain), atol=2e-5)
    assert np.abs(logits(model) - logits(resolve(base_folder, place, "float32"))).max() > 0.1
    rows = adapters.listing(place, [Path(made["a"]), Path(made["b"])])
    assert [(row["rank"], row["base"]) for row in rows] == [(7, base_folder), (2, base_folder)]
    with pytest.raises(ConfigError, match="holds no adapter"):
        adapters.listing(place, [Path(base_folder)])


def test_an_adapter_is_not_put_on_other_weights(made: dict[str, str], place: Store, tmp_path: Path) -> None:
    shutil.copytree(made["base"], tmp_path / "base")
    adapters.bring_in(Path(made["peft-a"]), str(tmp_path / "base"), tmp_path / "mine")
    path = tmp_path / "base/model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"] += 1e-3
    save_file(tensors, path)
    with pytest.raises(ModelError, match="other weights"):
        resolve(str(tmp_path / "mine"), place)


@pytest.mark.slow
def test_combining_is_exact_and_cutting_states_its_error(made: dict[str, str], place: Store, tmp_path: Path) -> None:
    a, b = (found_deltas(resolve(made[name], place, "float32")) for name in "ab")
    facts = adapters.combine([(made["a"], 0.5), (made["b"], -2.0)], place, tmp_path / "c")
    both = found_deltas(resolve(str(tmp_path / "c"), place, "float32"))
    assert facts["rank"] == 9 and facts["relative_error"] == 0
    squares, losses = 0.0, 0.0
    for module in both:
        want = 0.5 * dense(a[module]) + (-2.0 * dense(b[module]) if module in b else 0.0)
        np.testing.assert_allclose(dense(both[module]), want, atol=2e-6)
        squares += float((want**2).sum())
        losses += float((np.linalg.svd(want)[1][2:] ** 2).sum())
    cut = adapters.combine([(made["a"], 0.5), (made["b"], -2.0)], place, tmp_path / "d", rank=2)
    assert cut["rank"] == 2 and cut["relative_error"] == pytest.approx((losses / squares) ** 0.5, rel=1e-4)
    assert cut["worst"]["relative_error"] > cut["relative_error"] > 0.01


def test_diff(made: dict[str, str], place: Store) -> None:
    a, b = (found_deltas(resolve(made[name], place, "float32")) for name in "ab")
    value = adapters.diff(made["a"], made["b"], place)
    rows = {row["module"]: row for row in value["weights"]}
    assert list(rows)[:2] == sorted(list(rows)[:2]) and len(rows) == 14
    module = "model.layers.1.self_attn.q_proj"
    x, y = dense(a[module]), dense(b[module])
    assert rows[module]["cosine"] == pytest.approx((x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-6)
    assert rows[module]["difference"] == pytest.approx(np.linalg.norm(x - y), rel=1e-6)
    assert rows["model.layers.0.mlp.up_proj"]["cosine"] is None and rows["model.layers.0.mlp.up_proj"]["norm_b"] == 0
    itself = adapters.diff(made["a"], made["a"], place)
    assert itself["total"]["cosine"] == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["f32", "bf16"])
def test_merge_then_unmerge_gives_the_base_bit_for_bit(kind: str, made, place: Store, base_folder: str, tmp_path: Path) -> None:
    order = Order("hf", kind)
    facts = adapters.merge(made["a"], place, tmp_path / "merged", order)
    merged_model = resolve(str(tmp_path / "merged"), place, "float32")
    atol = 2e-5 if kind == "f32" else 0.2
    np.testing.assert_allclose(logits(merged_model), logits(resolve(made["a"], place, "float32")), atol=atol)
    back = adapters.unmerge(tmp_path / "merged", made["a"], place, tmp_path / "back")
    base, again = read(base_folder).tensors, read(tmp_path / "back").tensors
    assert set(base) == set(again)
    for name in base:
        np.testing.assert_array_equal(base[name].view(np.uint32), again[name].view(np.uint32), err_msg=name)
    assert back["restored"] == facts["unmerged"] and back["merged"] == []
    assert (tmp_path / "back/model.safetensors").read_bytes() == Path(base_folder, "model.safetensors").read_bytes()
    # Subtraction alone would not have done it.
    model = resolve(made["a"], place, "float32")
    delta = found_deltas(model)["model.layers.0.mlp.up_proj"]
    rough = read(tmp_path / "merged").tensors["model.layers.0.mlp.up_proj.weight"] - deltas.array(delta)
    assert not np.array_equal(rough, base["model.layers.0.mlp.up_proj.weight"])


def test_merging_twice_is_refused(made: dict[str, str], place: Store, base_folder: str, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    adapters.merge(made["a"], place, merged, Order("hf"))
    with pytest.raises(ConfigError, match=r"(?s)nothing to merge.*merged before"):
        adapters.merge(str(merged), place, tmp_path / "twice", Order("hf"))
    with pytest.raises(ConfigError, match=r"(?s)nothing to merge.*has no adapter"):
        adapters.merge(base_folder, place, tmp_path / "twice", Order("hf"))
    adapters.bring_in(Path(made["peft-a"]), str(merged), tmp_path / "again")
    with pytest.raises(ConfigError, match="apply it twice"):
        adapters.merge(str(tmp_path / "again"), place, tmp_path / "twice", Order("hf"))
    # Another adapter on the merged model is no mistake, and both come out again in turn.
    adapters.bring_in(Path(made["peft-b"]), str(merged), tmp_path / "more")
    adapters.merge(str(tmp_path / "more"), place, tmp_path / "both", Order("hf"))
    with pytest.raises(ConfigError, match="not the adapter that was merged"):
        adapters.unmerge(tmp_path / "both", made["a"], place, tmp_path / "x")
    one = adapters.unmerge(tmp_path / "both", str(tmp_path / "more"), place, tmp_path / "one")
    assert len(one["merged"]) == 1 and not (tmp_path / "twice").exists()
    assert (tmp_path / "one/model.safetensors").read_bytes() == (merged / "model.safetensors").read_bytes()


def test_a_merged_folder_that_was_changed_is_refused(made: dict[str, str], place: Store, base_folder: str, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    adapters.merge(made["a"], place, merged, Order("hf"))
    tensors = load_file(merged / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] += 1e-3
    save_file(tensors, merged / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="bit for bit"):
        adapters.unmerge(merged, made["a"], place, tmp_path / "out")
    with pytest.raises(ConfigError, match="cannot be undone|can be undone"):
        adapters.unmerge(Path(base_folder), made["a"], place, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bottleneck_is_not_sent_where_it_cannot_go(tiny_model: Model, tmp_path: Path) -> None:
    """Advice that always fails is none: only what can be merged is told to leave as a merged model."""
    attach = partial(lora.attach, tiny_model.arch, rank=2, alpha=4.0, seed=0)
    stuck = replace(tiny_model, params=attach(attach(tiny_model.params, kind="bottleneck", targets=("o",)), targets=("o",)))
    with pytest.raises(ModelError, match="(?s)Bottleneck.*cannot be merged either") as refused:
        export(stuck, "tiny", tmp_path / "out", Order("peft"))
    assert "--to hf" not in str(refused.value)
    with pytest.raises(ModelError, match="cannot be merged"):
        export(stuck, "tiny", tmp_path / "out", Order("hf"))
    scaled = replace(tiny_model, params=attach(tiny_model.params, kind="ia3", targets=("k",)))
    with pytest.raises(ModelError, match="(?s)Scaled.*--to hf"):
        export(scaled, "tiny", tmp_path / "out", Order("peft"))
    export(scaled, "tiny", tmp_path / "out", Order("hf"))


def test_an_adapter_is_the_same_one_however_it_is_laid_out(chain: Model, tmp_path: Path) -> None:
    """Ranks filled up with zeros and scales moved into b do not make it another; a last bit does."""
    found = found_deltas(chain)
    back = found_deltas(with_deltas(chain, found))
    module = "model.layers.0.self_attn.k_proj"
    assert found[module].rank < back[module].rank and found[module].scale != back[module].scale
    assert deltas.digest(found) == deltas.digest(back)
    other = found[module].b.copy()
    other[0, 0] = np.nextafter(other[0, 0], np.float32(9))
    assert deltas.digest({**found, module: replace(found[module], b=other)}) != deltas.digest(found)


def test_bare_takes_every_adapter_off(chain: Model, tiny_model: Model) -> None:
    np.testing.assert_array_equal(logits(replace(chain, params=bare(chain))), logits(tiny_model))


def test_dora_goes_round_and_is_taken_out_again(tiny_model: Model, base_folder: str, place: Store, tmp_path: Path) -> None:
    """PEFT has DoRA's lengths beside A and B; a merged one is undone by its whole difference, since it is no sum."""
    params = lora.attach(tiny_model.arch, tiny_model.params, rank=3, alpha=6.0, seed=0, targets=("q", "down"), kind="dora")
    rng = np.random.default_rng(4)
    stir = {name: {part: x + rng.normal(0, 0.1, x.shape).astype(np.float32) for part, x in parts.items()} for name, parts in lora.adapter(params).items()}
    model = replace(tiny_model, params=lora.put(params, stir))
    export(model, "tiny", tmp_path / "out", Order("peft"))
    assert json.loads((tmp_path / "out/adapter_config.json").read_text())["use_dora"] is True
    adapters.bring_in(tmp_path / "out", base_folder, tmp_path / "mine")
    back = resolve(str(tmp_path / "mine"), place, "float32")
    np.testing.assert_array_equal(logits(back), logits(model))
    assert np.abs(logits(model) - logits(tiny_model)).max() > 0.1
    with pytest.raises(ModelError, match="DoRA adapter is no low-rank delta"):
        export(model, "tiny", tmp_path / "lora", Order("gguf-lora"))
    with pytest.raises(ModelError, match="DoRA adapter is no low-rank delta"):
        adapters.diff(str(tmp_path / "mine"), str(tmp_path / "mine"), place)
    adapters.merge(str(tmp_path / "mine"), place, tmp_path / "merged", Order("hf"))
    adapters.unmerge(tmp_path / "merged", str(tmp_path / "mine"), place, tmp_path / "back")
    assert (tmp_path / "back/model.safetensors").read_bytes() == Path(base_folder, "model.safetensors").read_bytes()
