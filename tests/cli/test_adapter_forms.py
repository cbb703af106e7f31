"""Adapters over rounded bases: the form goes with them, and what leaving it or rounding again costs is measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

from solon.core.artifacts import Store
from solon.core.errors import ConfigError, ModelError
from solon.core.quantise import dequantise, forms, quantise
from solon.learn import lora
from solon.models import deltas
from solon.models.architecture import spec
from solon.models.block import jit_forward
from solon.models.formats import gguf, peft, read
from solon.models.load import Model, lazy_tensors
from solon.stages import adapters
from solon.stages.export import Order, bare, export, found_deltas, prose, with_deltas
from solon.stages.models import BASE, base, published, resolve

TARGETS = ("q", "up")


def logits(model: Model) -> np.ndarray:
    """On the passages that costs are measured on, `[12 96 v]` float64."""
    return np.asarray(jit_forward(model.arch, model.params, prose(model))[0], np.float64)


def kl(before: np.ndarray, after: np.ndarray) -> float:
    """Mean KL(before || after) in nats, by whole distributions."""
    p, q = (x - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)) - x.max(-1, keepdims=True) for x in (before, after))
    return float((np.exp(p) * (p - q)).sum(-1).mean())


@pytest.fixture(scope="module")
def trained(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """`trained("int8")`: the folder of an adapter that was trained over the tiny model's weights in this form."""
    here = tmp_path_factory.mktemp("made")
    export(tiny_model, "tiny", here / "base", Order("hf"))

    def make(form: str, seed: int = 0) -> str:
        folder = here / f"{form}-{seed}"
        if folder.exists():
            return str(folder)
        model = base(str(here / "base"), "float32")
        ground = model.params if form == "none" else quantise(spec(model.arch), model.params, form)
        fresh = lora.adapter(lora.attach(model.arch, ground, rank=2, alpha=4.0, seed=0, targets=TARGETS), TARGETS)
        rng = np.random.default_rng(seed)
        arrays = jax.tree.map(lambda x: rng.normal(0, 0.1, x.shape).astype(np.float32), fresh)
        folder.mkdir()
        said: dict[str, Any] = {"rank": 2, "alpha": 4.0, "targets": list(TARGETS)}
        lora.save(folder, arrays, said | ({"quantise": form} if form != "none" else {}))
        (folder / BASE).write_text(json.dumps({"base": str(here / "base"), "digest": model.digest}))
        return str(folder)

    return make


@pytest.fixture
def place(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def exported(name: str, place: Store, out: Path, order: Order) -> dict[str, Any]:
    return export(resolve(name, place, "float32"), published(name, place), out, order)


def test_an_adapter_leaves_with_the_form_of_its_base(trained, place: Store, tmp_path: Path) -> None:
    name = trained("int8")
    model, plain = resolve(name, place, "float32"), base(published(name, place), "float32")
    made = exported(name, place, tmp_path / "out", Order("peft"))
    elsewhere = with_deltas(plain, peft.read(tmp_path / "out")[0])  # what peft makes of the folder
    want = kl(logits(model), logits(elsewhere))
    assert made["base_form"] == "int8" and want > 1e-6
    np.testing.assert_allclose(made["cost"]["kl"], want, rtol=1e-2)
    assert made["cost"]["n"] == 12 * 96 and made["cost"]["low"] < want < made["cost"]["high"]
    assert made["check"]["mean_kl"] < 1e-9, "the copy is compared where it will lie"
    with safe_open(tmp_path / "out/adapter_model.safetensors", framework="numpy") as file:
        assert file.metadata()["solon.base_form"] == "int8"
    assert "rounded to int8" in (tmp_path / "out/README.md").read_text()
    # Brought in again it lies on the rounded base, as it was trained.
    facts = adapters.bring_in(tmp_path / "out", published(name, place), tmp_path / "mine")
    np.testing.assert_array_equal(logits(resolve(str(tmp_path / "mine"), place, "float32")), logits(model))
    rows = adapters.listing(place, [tmp_path / "mine", Path(trained("none"))])
    assert [(row["kind"], row["quantise"]) for row in rows] == [("lora", "int8"), ("lora", "none")] and facts["quantise"] == "int8"


def test_a_base_that_matters_too_much_is_not_left_behind_unless_told(trained, place: Store, tmp_path: Path) -> None:
    name = trained("int4")
    with pytest.raises(ModelError, match=r"(?s)trained over a base in int4.*at most 0\.001.*--to hf"):
        exported(name, place, tmp_path / "out", Order("gguf-lora", max_kl=0.001))
    assert not (tmp_path / "out").exists()
    made = exported(name, place, tmp_path / "out", Order("gguf-lora", max_kl=1.0))
    assert made["cost"]["kl"] > 0.001 and made["base_form"] == "int4"
    assert gguf.open_file(tmp_path / "out/adapter.gguf").fields["solon.base_form"] == "int4"
    whole = exported(name, place, tmp_path / "whole", Order("hf"))
    assert whole["check"]["mean_kl"] < 1e-6 and "cost" not in whole, "the merged model takes its base along"


def test_a_damaged_note_is_named(trained, place: Store, tmp_path: Path) -> None:
    exported(trained("none"), place, tmp_path / "whole", Order("hf"))
    for said in ("{", "[]"):
        (tmp_path / "whole/solon.json").write_text(said)
        with pytest.raises(ModelError, match=r"solon\.json cannot be read"):
            export(base(str(tmp_path / "whole"), "float32"), str(tmp_path / "whole"), tmp_path / "copy", Order("hf"))


def test_a_form_that_is_not_known_is_refused(tmp_path: Path) -> None:
    one = deltas.Delta(np.ones((1, 2), np.float32), np.ones((2, 1), np.float32), 1.0)
    peft.write(tmp_path, {"model.layers.0.mlp.up_proj": one}, "x", form="int3")
    with pytest.raises(ModelError, match="(?s)form that is not known.*int3"):
        peft.base_form(tmp_path)


def test_combining_keeps_the_form_and_does_not_mix_forms(trained, place: Store, tmp_path: Path) -> None:
    one, two = trained("int8"), trained("int8", seed=1)
    made = adapters.combine([(one, 0.5), (two, 2.0)], place, tmp_path / "both")
    assert made["quantise"] == "int8"
    both = resolve(str(tmp_path / "both"), place, "float32")
    assert forms(both.params) == ["int8"]
    p, q, sum = (found_deltas(model)["model.layers.0.mlp.up_proj"] for model in (*(resolve(name, place, "float32") for name in (one, two)), both))
    np.testing.assert_allclose(deltas.array(sum), 0.5 * deltas.array(p) + 2.0 * deltas.array(q), atol=1e-6)
    with pytest.raises(ConfigError, match="(?s)different forms.*int8.*plain weights"):
        adapters.combine([(one, 1.0), (trained("none"), 1.0)], place, tmp_path / "mixed")


def test_a_base_that_was_rounded_twice_cannot_be_stored(trained, place: Store, tmp_path: Path) -> None:
    """An adapter over int4 on one over int8: the base is int4 of int8, and stored it would come back as int4 of the weights."""
    model = resolve(trained("int8"), place, "float32")
    twice = replace(model, params=quantise(spec(model.arch), model.params, "int4"))
    with pytest.raises(ModelError, match="rounded twice"):
        adapters._store(twice, published(trained("int8"), place), found_deltas(twice), "int4", tmp_path / "out", False, {})


def test_unmerging_says_which_base_it_gives_back(trained, place: Store, tmp_path: Path, solon: Callable[..., Any]) -> None:
    name = trained("int8")
    adapters.merge(name, place, tmp_path / "merged", Order("hf"))
    shown = solon("adapters", "unmerge", tmp_path / "merged", name, tmp_path / "back")
    assert shown.code == 0 and "base restored" not in shown.out and "not the published weights" in shown.out
    assert json.loads((tmp_path / "back/solon.json").read_text())["base_form"] == "int8"
    model = resolve(name, place, "float32")
    names = deltas.tensor_names(model.arch)
    rounded, plain = lazy_tensors(model.arch, names, dequantise(bare(model))), read(published(name, place)).tensors
    back = read(tmp_path / "back").tensors
    assert all(np.array_equal(back[name], rounded[name]) for name in back)
    assert not np.array_equal(back["model.layers.0.mlp.up_proj.weight"], plain["model.layers.0.mlp.up_proj.weight"])


@pytest.mark.parametrize("form", ["none", "int4"])
def test_merging_into_rounded_weights_says_what_it_costs(form: str, trained, place: Store, tmp_path: Path) -> None:
    name = trained(form)
    model = resolve(name, place, "float32")
    made = adapters.merge(name, place, tmp_path / "merged", Order("hf", max_kl=1.0), kind="int4")
    again = base(str(tmp_path / "merged"), "float32")
    want = kl(logits(model), logits(again))
    np.testing.assert_allclose(made["cost"]["kl"], want, rtol=1e-2)
    assert made["quantise"] == "int4" and made["cost"]["n"] == 12 * 96 and want > 1e-4
    # The folder holds the numbers of int4: sixteen levels of each block, the same ones when they are rounded again.
    held = quantise(spec(again.arch), again.params, "int4")
    for x, y in zip(jax.tree.leaves(dequantise(held)), jax.tree.leaves(again.params), strict=True):
        np.testing.assert_array_equal(x, y)
    block = np.asarray(again.params["blocks"]["up"])[0, :, 0]
    assert len(np.unique(block)) <= 16 < len(np.unique(np.asarray(model.params["blocks"]["down"] if form == "none" else again.params["embed"])))
    adapters.unmerge(tmp_path / "merged", name, place, tmp_path / "back")
    ground = base(str(tmp_path / "back"), "float32").params
    jax.tree.map(np.testing.assert_array_equal, ground, jax.tree.map(jnp.asarray, dequantise(bare(model))))


def test_a_dear_rounding_is_refused_unless_told(trained, solon: Callable[..., Any], tmp_path: Path) -> None:
    name, out = trained("none"), tmp_path / "out"
    shown = solon("adapters", "merge", name, out, "--quantise", "int4", "--max-kl", "1e-6")
    assert shown.code == 2 and "rounding to int4 changes the model too much" in shown.err and not out.exists()
    shown = solon("adapters", "merge", name, out, "--quantise", "int3")
    assert shown.code == 2 and "int8 or int4" in shown.err
    shown = solon("adapters", "merge", name, out, "--quantise", "int8", "--type", "bf16")
    assert shown.code == 2 and "in f32 only" in shown.err
    shown = solon("adapters", "merge", name, out, "--quantise", "int8")
    assert shown.code == 0 and "n=1152 tokens, for merging and rounding to int8" in " ".join(shown.out.split())


def test_the_list_shows_kind_and_form(trained, solon: Callable[..., Any]) -> None:
    shown = solon("adapters", "list", trained("int8"), trained("none"))
    assert shown.code == 0 and [word in shown.out for word in ("kind", "lora", "int8", "plain")] == [True] * 4


@pytest.mark.parametrize(("to", "numbers"), [("hf", "f32"), ("gguf", "f16")])
def test_an_exported_model_says_what_is_merged_into_it(to: str, numbers: str, trained, place: Store, tmp_path: Path) -> None:
    """Without `adapters merge` too: the adapter on the model that holds it already is refused, another one is not."""
    name = trained("none")
    made = exported(name, place, tmp_path / "whole", Order(to))
    assert made["merged"] == [made["adapter"]]
    exported(name, place, tmp_path / "peft", Order("peft", numbers))
    exported(trained("none", seed=1), place, tmp_path / "other", Order("peft"))
    where = tmp_path / ("whole/model.gguf" if to == "gguf" else "whole")
    adapters.bring_in(tmp_path / "peft", str(where), tmp_path / "again")
    with pytest.raises(ConfigError, match="apply it twice"):
        adapters.merge(str(tmp_path / "again"), place, tmp_path / "twice", Order("hf"))
    adapters.bring_in(tmp_path / "other", str(where), tmp_path / "more")
    both = exported(str(tmp_path / "more"), place, tmp_path / "both", Order("hf"))
    assert both["merged"] == [made["adapter"], both["adapter"]]
    copy = exported(str(tmp_path / "both"), place, tmp_path / "copy", Order("hf"))
    assert copy["merged"] == both["merged"] and copy["adapter"] is None
