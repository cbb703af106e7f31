"""`solon chat` with several adapters over one model, in 4 bits, and a file of requests answered in one batch."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.cli import chat
from solon.core import kernels
from solon.core.artifacts import Store
from solon.core.dense import is_leaf
from solon.core.errors import ConfigError, DataError
from solon.core.quantise import Int4
from solon.core.records import user
from solon.generate.engine import Engine, Request, _decode
from solon.learn import lora
from solon.models.load import Model, load
from solon.stages import models
from solon.stages.shelves import choice, open_shelf
from solon.text.template import encode_chat

pytestmark = pytest.mark.usefixtures("read_in_float32")


def saved(folder: Path, model: Model, seed: int, **more: Any) -> Path:
    """An adapter of noise, as `solon adapters import` leaves one."""
    how = {"rank": 2, "alpha": 8.0, "targets": ("q", "down"), **more}
    trained = lora.adapter(lora.attach(model.arch, model.params, seed=seed, **{k: v for k, v in how.items() if k != "quantise"}))
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    lora.save(folder, jax.tree.map(lambda x: np.asarray(rng.normal(0, 0.5, x.shape), np.float32), trained), how)
    return folder


@pytest.fixture(scope="module")
def shelves(tmp_path_factory, model_folder) -> Path:
    """Two adapters, `one` and `two`."""
    place, model = tmp_path_factory.mktemp("adapters"), load(str(model_folder))
    for seed, name in enumerate(("one", "two")):
        (saved(place / name, model, seed) / models.BASE).write_text(json.dumps({"base": str(model_folder), "digest": model.digest}))
    return place


def alone(name: Any, store: Store, id: str, prompt: str) -> str:
    """The greedy reply of one model that has nothing beside it."""
    model = models.resolve(str(name), store, "float32")
    request = Request(encode_chat(model.tokenizer, user(prompt), True), ("request", id), max_tokens=6, temperature=0.0)
    return Engine(model).sample([request])[0].text.strip()


def test_a_file_of_requests_gets_each_its_own_adapter(solon, shelves, model_folder, tmp_path) -> None:
    asked, said = tmp_path / "asked.jsonl", tmp_path / "said.jsonl"
    rows = [
        {"id": "a", "prompt": "hello", "adapter": "one"}, {"id": "b", "prompt": "hello", "adapter": "two"}, {"id": "c", "prompt": "hello"},
        {"id": "d", "messages": [{"role": "user", "content": "hello"}], "adapter": {"one": 0.0, "two": 1}},
    ]  # fmt: skip
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("chat", model_folder, "--adapters", shelves / "one", shelves / "two", "--requests", asked, "--max-tokens", 6, "--temperature", 0)
    shown = solon(*words)
    assert shown.code == 0, shown.err
    found = [json.loads(line) for line in shown.out.splitlines()]
    assert [row["id"] for row in found] == list("abcd") and found[3]["adapter"] == {"one": 0.0, "two": 1.0}
    wanted = [alone(name, Store(tmp_path), row["id"], "hello") for name, row in zip((shelves / "one", shelves / "two", model_folder, shelves / "two"), rows, strict=True)]
    assert [row["reply"] for row in found] == wanted and len(set(wanted)) == 3
    assert solon(*words, "--out", said).out == "" and said.read_text() == shown.out


def piped(monkeypatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_the_adapter_changes_within_a_chat_and_compiles_nothing(solon, shelves, model_folder, monkeypatch) -> None:
    words = ("chat", model_folder, "--adapters", shelves / "one", f"other={shelves / 'two'}", "--temperature", 0, "--max-tokens", 6, "--json")
    piped(monkeypatch, "hello", "/reset", "/adapter one", "hello", "/reset", "/adapter one=0.5 other=-2", "hello", "/reset", "/adapter none", "hello")
    shown = solon(*words)
    assert shown.code == 0, shown.err
    plain, one, both, again = values(shown.out)
    assert plain["adapter"] is None and one["adapter"] == "one" and both["adapter"] == {"one": 0.5, "other": -2.0}
    assert plain["reply"] == again["reply"] and len({plain["reply"], one["reply"], both["reply"]}) == 3
    compiled = _decode._cache_size()
    piped(monkeypatch, "/adapter other", "hello")
    assert solon(*words).code == 0 and _decode._cache_size() == compiled
    piped(monkeypatch, "/adapter onne", "hello")
    refused = solon(*words)
    assert refused.code == 2 and "onne" in refused.err and not refused.out


def values(text: str) -> list[dict[str, Any]]:
    """JSON values that stand behind one another."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


@pytest.mark.slow
def test_a_chat_in_4_bits_runs_the_kernel_below_its_adapters(shelves, model_folder, tmp_path) -> None:
    settings = {"temperature": 0.0}
    adapters = [str(shelves / "one")]
    talk, _ = chat._open(str(model_folder), tmp_path, 4, 0, settings, "int4")
    shelved, _ = chat._open(str(model_folder), tmp_path, 4, 0, settings, "int4", adapters)
    assert isinstance(talk.engine.packed["embed"], Int4)  # the table of words too
    if not kernels.ready():
        pytest.skip("no kernel here")
    is_row = lambda w: isinstance(w, kernels.ByRow)  # noqa: E731
    for one, below in ((talk, lambda w: w), (shelved, lambda w: w.base)):
        assert is_row(below(one.engine.alone["blocks"][0]["q"])) and is_row(one.engine.alone["blocks"][1]["up"])
        assert "".join(one.reply("hello")) is not None and one.count > 0
    single = models.resolve(str(shelves / "one"), Store(tmp_path), quantise="int4")  # here the sum is what is rounded
    assert all(isinstance(w, Int4) or jnp.ndim(w) < 3 for w in jax.tree.leaves(single.params, is_leaf=is_leaf))
    assert np.abs(single.params["blocks"]["q"].array() - talk.engine.packed["blocks"]["q"].array()).max() > 0.1


@pytest.mark.slow
def test_a_chain_of_trained_adapters_is_one_on_the_shelf(model_folder, tmp_path) -> None:
    store, model = Store(tmp_path), load(str(model_folder))

    def made(name: str, inputs: dict[str, str], seed: int, **more: Any) -> str:
        def build(draft: Any) -> None:
            saved(draft.path / "a", model, seed, **more)
            (draft.path / "a" / "adapter.safetensors").rename(draft.path / "adapter.safetensors")

        return store.make(name, 1, {}, inputs, build).id

    first = made("first", {"model": models.identity(str(model_folder))}, 3)
    second = made("second", {"start": first}, 4, targets=("q", "v"))
    low = made("low", {"model": models.identity(str(model_folder))}, 5, quantise="int4")
    prompt = np.arange(5, 14)[None]
    for base, chosen in ((str(model_folder), [f"x={first}", second]), (first, [f"x={second}"])):
        held, shelf = open_shelf(base, chosen, store)
        for name in shelf.names:
            want = models.resolve(second if name == second or base == first else first, store)
            logits = [forward(model, params, prompt) for params in (shelf.choose([name]), want.params)]
            np.testing.assert_allclose(*logits, atol=1e-4)
    with pytest.raises(ConfigError, match="trained over a base in int4"):
        open_shelf(str(model_folder), [low], store)
    assert open_shelf(str(model_folder), [low], store, "int4")[1].names == (low,)
    with pytest.raises(ConfigError, match="was not trained on"):
        open_shelf(second, [first], store)


def forward(model: Model, params: Any, prompt: Any) -> Any:
    from solon.models.block import jit_forward

    return np.asarray(jit_forward(model.arch, params, jnp.asarray(prompt))[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("one",), "--adapters A B"), (("--adapters", "one", "one"), "two adapters are called"), (("--adapters", "none=one"), "stands for the model"),
        (("--adapters", "MODEL"), "is a model and no adapter"), (("--adapters", "foreign"), "was not trained on"), (("--quantise", "int3"), "int3"),
        (("--out", "said.jsonl"), "--requests"), (("--requests", "bad.jsonl"), "line 2"), (("--requests", "asked.jsonl"), "holds none to choose from"),
        (("--requests", "asked.jsonl", "--guard"), "--guard"), (("--requests", "long.jsonl"), "does not fit"),
    ],
)  # fmt: skip
def test_mistakes_are_one_screen(solon, shelves, model_folder, tmp_path, monkeypatch, words, said) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "adapter.safetensors").write_bytes((shelves / "one" / "adapter.safetensors").read_bytes())
    (tmp_path / "foreign" / models.BASE).write_text(json.dumps({"base": "elsewhere", "digest": "0" * 64}))
    (tmp_path / "one").symlink_to(shelves / "one")
    (tmp_path / "asked.jsonl").write_text('{"prompt": "x", "adapter": "one"}\n')
    (tmp_path / "bad.jsonl").write_text('{"prompt": "x", "adapter": "one"}\n{"prompt": "x", "adapter": {"one": "much"}}\n')
    (tmp_path / "long.jsonl").write_text(json.dumps({"prompt": "word " * 5000}) + "\n")
    monkeypatch.chdir(tmp_path)
    shown = solon("chat", model_folder, *(model_folder if word == "MODEL" else word for word in words))
    assert shown.code == 2 and said in shown.err and "Traceback" not in shown.err and not shown.out


def test_a_choice_as_it_is_typed() -> None:
    assert choice("") is choice(" none ") is None and choice("kind") == "kind"
    assert choice("kind=0.7 honest=-0.3") == {"kind": 0.7, "honest": -0.3} and choice("a=b=2") == {"a=b": 2.0}
    for wrong in ("kind honest", "kind=much", "=1", "kind=nan", "kind=inf"):
        with pytest.raises(DataError, match="a weight for each"):
            choice(wrong)
