"""`solon export` and `solon adapters` as a person types them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from solon.cli.adapters import weighted
from solon.core.errors import ConfigError


@pytest.fixture
def folders(tiny_model, tmp_path: Path) -> dict[str, Path]:
    """The tiny model as a folder, and a PEFT adapter for it."""
    import jax.numpy as jnp

    from solon.learn import lora
    from solon.stages.export import Order, export

    params = lora.attach(tiny_model.arch, tiny_model.params, rank=2, alpha=4.0, seed=0, targets=("q", "up"))
    rng = np.random.default_rng(0)
    trained = {
        name: {part: jnp.asarray(rng.normal(0, 0.1, x.shape), jnp.float32) for part, x in parts.items()}
        for name, parts in lora.adapter(params, ("q", "up")).items()
    }
    export(tiny_model, "tiny", tmp_path / "base", Order("hf"))
    export(replace(tiny_model, params=lora.put(params, trained)), "tiny", tmp_path / "peft", Order("peft"))
    return {"base": tmp_path / "base", "peft": tmp_path / "peft", "here": tmp_path}


def test_the_whole_way(solon, folders: dict[str, Path]) -> None:
    here = folders["here"]
    shown = solon("adapters", "import", folders["peft"], "--base", folders["base"], here / "mine")
    assert shown.code == 0 and "q up" in shown.out
    value = json.loads(solon("adapters", "list", here / "mine", "--json").out)
    assert [(row["rank"], row["targets"]) for row in value] == [(2, ["q", "up"])]
    shown = solon("export", here / "mine", "--to", "gguf", "--type", "q8_0", here / "gguf")
    assert shown.code == 0 and "largest difference of a logit" in shown.out and "export to gguf: done" in shown.err
    value = json.loads(solon("export", here / "mine", here / "lora", "--to", "gguf-lora", "--json").out)
    assert value["format"] == "gguf-lora" and value["base"] == str(folders["base"]) and (here / "lora/adapter.gguf").exists()
    assert solon("adapters", "merge", here / "mine", here / "merged").code == 0
    assert solon("adapters", "unmerge", here / "merged", here / "mine", here / "back").code == 0
    assert (here / "back/model.safetensors").read_bytes() == (folders["base"] / "model.safetensors").read_bytes()
    shown = solon("adapters", "combine", f"{here}/mine:0.5", f"{here}/mine:0.25", here / "both", "--rank", 2)
    assert shown.code == 0 and "from rank 4" in shown.out
    value = json.loads(solon("adapters", "diff", here / "mine", here / "both", "--json").out)
    assert value["total"]["cosine"] == pytest.approx(1, abs=1e-5)
    assert value["total"]["norm_b"] == pytest.approx(0.75 * value["total"]["norm_a"], rel=1e-5)
    assert "q_proj" in solon("adapters", "diff", here / "mine", here / "both").out


def test_mistakes_are_one_screen(solon, folders: dict[str, Path]) -> None:
    here, base = folders["here"], folders["base"]
    calls = {
        ("export", base, here / "out", "--to", "onnx"): "no such format",
        ("export", base, base, "--to", "hf"): "is not empty",
        ("export", base, here / "out", "--to", "peft"): "has no adapter",
        ("export", base, here / "out", "--to", "peft", "--type", "q8_0"): "not written in this type",
        ("adapters", "merge", base, here / "out"): "nothing to merge",
        ("adapters", "combine", here / "out"): "name adapters with weights",
        ("adapters", "combine", "mine", here / "out"): "given with its weight",
        ("adapters", "import", base, here / "out", "--base", base): "no adapter_config.json",
        ("adapters", "unmerge", base, base, here / "out"): "can be undone",
    }
    for call, said in calls.items():
        shown = solon(*call)
        assert shown.code == 2 and said in shown.err and "Traceback" not in shown.err and len(shown.err.splitlines()) < 12, call
    assert not (here / "out").exists()
    assert solon("adapters", "list").out.startswith("no adapters yet")


def test_weights_of_names_with_colons() -> None:
    assert weighted("latest:aligned:0.5") == ("latest:aligned", 0.5)
    assert weighted("mine:-1") == ("mine", -1.0)
    for wrong in ("mine", "mine:x", ":1", "mine:nan"):
        with pytest.raises(ConfigError, match="given with its weight"):
            weighted(wrong)
