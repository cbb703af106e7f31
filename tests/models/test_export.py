"""Models written for others: read back to the same numbers, or not written at all."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solon.core.dense import merge
from solon.core.errors import ConfigError, ModelError, StorageError
from solon.core.records import as_messages
from solon.models import deltas
from solon.models.formats import gguf, gguf_write, read
from solon.models.formats.gguf_vocabulary import scores, vocabulary
from solon.models.formats.hf_config import hf_config
from solon.models.hub import locate
from solon.models.load import Model, family, from_checkpoint, to_tensors
from solon.models.shapes import PUBLISHED, published
from solon.stages.export import LIMITS, Order, compare, export, mean_kl
from solon.text.template import DEFAULT_TEMPLATE, encode_chat
from solon.text.tokenizer import Tokenizer
from solon.text.vocabulary import pre_tokenizer

TEXTS = ["The   answer, on  the whole, is 42.", "    def f(x):\n\treturn x\n\n", "Größe 你好 🤗 <eos> it's IT'S", " leading", ""]


def merged(model: Model) -> dict[str, np.ndarray]:
    return to_tensors(model.arch, deltas.tensor_names(model.arch), merge(model.params))


@pytest.mark.parametrize("name", ["llama-tied-scaled", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3"])
def test_every_configuration_survives(name: str, tiny_family: Callable[..., Model]) -> None:
    arch = tiny_family(name).arch
    config = hf_config(arch)
    assert family(config["model_type"]).architecture(config) == arch


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_survive(name: str) -> None:
    config = hf_config(published(name))
    assert family(config["model_type"]).architecture(config) == published(name)


def test_what_a_configuration_cannot_say_is_refused(tiny_family: Callable[..., Model]) -> None:
    with pytest.raises(ModelError, match=r"(?s)cannot say.*embed_scale.*got: +1.0\n +expected: 3"):
        hf_config(replace(tiny_family("llama").arch, embed_scale=3.0))


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_both_formats_give_back_the_model(name: str, tiny_family, adapt, tmp_path: Path) -> None:
    """Config, tokenizer and every number of the merged model, and the record says what it should."""
    model = adapt(tiny_family(name), targets=("q", "k", "o", "down"))
    want = merged(model)
    for to in ("hf", "gguf"):
        out = tmp_path / to
        made = export(model, "base-name", out, Order(to))
        checkpoint = read(locate(out))
        assert from_checkpoint(name, checkpoint).arch == model.arch
        assert set(checkpoint.tensors) == set(want)
        for tensor, array in want.items():
            atol = 3e-7 if "norm" in tensor and to == "gguf" else 1e-7  # GGUF has Gemma's norms as 1 + weight
            np.testing.assert_allclose(checkpoint.tensors[tensor], array, atol=atol, rtol=0, err_msg=tensor)
        assert made == json.loads((out / "solon.json").read_text())
        assert (made["base"], made["base_digest"], made["weights"]) == ("base-name", f"digest of {name}", checkpoint.digest)
        assert made["adapter"] == deltas.digest(deltas.of_params(model.arch, model.params))
        assert made["chat_template"] == hashlib.sha256(model.tokenizer.template.encode()).hexdigest()
        assert made["check"]["tokens"] > 200 and 0 <= made["check"]["largest_difference"] < 1e-4 < made["check"]["spread"]
        assert "license: apache-2.0" in (out / "README.md").read_text()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_chat_template_is_where_others_look(tiny_model: Model, tmp_path: Path) -> None:
    export(tiny_model, "tiny", tmp_path / "out", Order("hf"))
    assert json.loads((tmp_path / "out/tokenizer_config.json").read_text())["chat_template"] == tiny_model.tokenizer.template
    assert (tmp_path / "out/chat_template.jinja").read_text() == tiny_model.tokenizer.template
    assert gguf_write.settings(tiny_model.arch, hf_config(tiny_model.arch))["block_count"] == 2
    generation = json.loads((tmp_path / "out/generation_config.json").read_text())
    assert generation["eos_token_id"] == [2, 0], "every token that ends a reply"


def test_solons_plain_template_leaves_bos_out_elsewhere_too(tiny_model: Model, tmp_path: Path) -> None:
    """Solon leaves BOS out by looking at the tokenizer; another program renders the template as it stands."""
    plain = replace(tiny_model, tokenizer=tiny_model.tokenizer.with_template(DEFAULT_TEMPLATE))
    export(plain, "tiny", tmp_path / "out", Order("hf"))
    text = (tmp_path / "out/chat_template.jinja").read_text()
    assert "bos_token" not in text and text == DEFAULT_TEMPLATE.replace("{{ bos_token }}", "")


def test_large_weights_are_cut_into_files(tiny_model: Model, tmp_path: Path) -> None:
    export(tiny_model, "tiny", tmp_path / "out", Order("hf", shard=40_000))
    files = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 2 and files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert all((tmp_path / "out" / name).stat().st_size < 44_000 for name in files)
    for tensor, array in merged(tiny_model).items():
        np.testing.assert_array_equal(read(tmp_path / "out").tensors[tensor], array)


@pytest.mark.parametrize("to,kind", [("hf", "bf16"), ("hf", "f16"), ("gguf", "bf16"), ("gguf", "f16"), ("gguf", "q8_0")])
def test_shorter_numbers_cost_what_is_said(to: str, kind: str, tiny_model: Model, tmp_path: Path) -> None:
    made = export(tiny_model, "tiny", tmp_path / "out", Order(to, kind))
    back = read(locate(tmp_path / "out"))
    relative = {"bf16": 2**-8, "f16": 2**-11}
    for tensor, array in merged(tiny_model).items():
        error = np.abs(back.tensors[tensor] - array)
        if kind == "q8_0" and array.ndim == 2:
            # Half a step of 1/127 of the largest of 32, and the scale itself is a float16.
            steps = np.abs(array).reshape(array.shape[0], -1, 32).max(-1) / 127
            assert (error.reshape(array.shape[0], -1, 32) <= steps[..., None] * 0.57).all(), tensor
        elif array.ndim == 2 or to == "hf":
            assert (error <= np.abs(array) * relative[kind] + 1e-7).all(), tensor
        else:
            assert not error.any(), "vectors stay float32 in GGUF"
    assert 0 < made["check"]["mean_kl"] < LIMITS[kind] and made["check"]["largest_difference"] > 1e-4


def test_a_loss_beyond_the_limit_is_refused_unless_told(tiny_model: Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"(?s)thrown away.*mean KL.*--max-kl"):
        export(tiny_model, "tiny", tmp_path / "out", Order("gguf", "q8_0", max_kl=1e-9))
    assert not list(tmp_path.iterdir())
    assert export(tiny_model, "tiny", tmp_path / "out", Order("gguf", "q8_0", max_kl=1.0))["check"]["mean_kl"] < 1.0


def test_the_divergence_is_the_textbooks() -> None:
    p, q = np.log([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]), np.log([[0.25, 0.5, 0.25], [0.1, 0.2, 0.7]])
    assert mean_kl(p + 3.0, q - 2.0) == pytest.approx((0.5 * np.log(2) - 0.25 * np.log(2)) / 2)


@pytest.mark.parametrize("mistake", ["rotation", "norm", "vocabulary", "base"])
def test_a_mistake_in_the_writer_never_reaches_out(mistake: str, tiny_family, monkeypatch, tmp_path: Path) -> None:
    """The kinds of silent damage that users of other exporters reported: here nothing is left behind."""
    model = tiny_family("gemma3" if mistake == "norm" else "llama")
    if mistake == "rotation":
        monkeypatch.setattr(gguf_write, "interleave", lambda array, heads: array)
    if mistake == "norm":
        monkeypatch.setattr(gguf_write, "as_stored", lambda config, name, array: array)
    if mistake == "vocabulary":
        right = vocabulary
        monkeypatch.setattr(gguf_write, "vocabulary", lambda words, rows: right(words, rows) | {"tokenizer.ggml.pre": "gpt-2"})
    if mistake == "base":
        right_settings = gguf_write.settings
        monkeypatch.setattr(gguf_write, "settings", lambda *a: right_settings(*a) | {"rope.freq_base": 10000.0})
    with pytest.raises(ModelError, match={"vocabulary": "tokenizer did not survive", "base": "rope_base"}.get(mistake, "thrown away")):
        export(model, "x", tmp_path / "out", Order("gguf"))
    assert not list(tmp_path.iterdir())


def test_what_gguf_cannot_say_is_refused(tiny_family, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot say what this model computes: window, local_layers"):
        export(tiny_family("mistral"), "x", tmp_path / "out", Order("gguf"))
    with pytest.raises(ModelError, match="query_scale"):
        arch = replace(tiny_family("gemma2").arch, query_scale=0.5)
        export(replace(tiny_family("gemma2"), arch=arch), "x", tmp_path / "out", Order("gguf"))
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_none_are_refused(tiny_model: Model, tmp_path: Path) -> None:
    for value, kind, said in ((np.nan, "f32", "not finite"), (1e6, "f16", "beyond the range of float16")):
        params = {**tiny_model.params, "embed": tiny_model.params["embed"].at[3, 3].set(value)}
        for to in ("hf", "gguf"):
            with pytest.raises(ModelError, match=said):
                export(replace(tiny_model, params=params), "x", tmp_path / "out", Order(to, kind))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order,said", [(Order("onnx"), "no such format"), (Order("hf", "q8_0"), "f32, bf16, f16"), (Order("gguf-lora", "bf16"), "f32, f16")])
def test_unknown_formats_and_types_are_named(order: Order, said: str, tiny_model: Model, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        export(tiny_model, "x", tmp_path / "out", order)


def test_out_is_replaced_only_if_asked_and_ours(tiny_model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export(tiny_model, "x", out, Order("hf"))  # an empty folder is as good as none
    with pytest.raises(ConfigError, match="is not empty"):
        export(tiny_model, "x", out, Order("gguf"))
    assert (out / "config.json").exists()
    export(tiny_model, "x", out, Order("gguf", force=True))
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "model.gguf", "solon.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not written by Solon"):
        export(tiny_model, "x", mine, Order("hf", force=True))
    with pytest.raises(ConfigError, match="is a file"):
        export(tiny_model, "x", mine / "thesis.txt", Order("hf", force=True))
    assert (mine / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("to", ["hf", "gguf"])
def test_a_full_disk_leaves_nothing(to: str, tiny_model: Model, tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # writing beyond it fails, as on a full disk
    try:
        with pytest.raises(StorageError, match="could not be written"):
            export(tiny_model, "x", tmp_path / "out", Order(to))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
from solon.core.folders import whole
with whole(Path(sys.argv[1])) as folder:
    (folder / "model.gguf").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_export_leaves_out_alone(tiny_model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    died = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False)
    assert died.returncode == -9 and not out.exists()
    assert (tmp_path / ".out.part/model.gguf").exists(), "the test kills too late"
    export(tiny_model, "x", out, Order("hf"))
    assert not (out / "model.gguf").exists() and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_writers_of_one_folder(tmp_path: Path) -> None:
    from solon.core.folders import whole

    with whole(tmp_path / "out") as folder:
        (folder / "x").write_text("1")
        with pytest.raises(StorageError, match="another process"), whole(tmp_path / "out"):
            pass
    assert (tmp_path / "out/x").exists()


def test_scores_give_the_same_merges(pieces_tokenizer: Tokenizer) -> None:
    """Also where tokens share a score and their merges are entangled, as with Gemma's runs of spaces."""
    merges = [tuple(pair) for pair in pieces_tokenizer.layout["model"]["merges"]]
    fields = vocabulary(pieces_tokenizer, pieces_tokenizer.vocab_size + 2)
    runs = {fields["tokenizer.ggml.scores"][pieces_tokenizer.id_of("▁" * n)] for n in (2, 3, 4)}
    assert len(runs) == 1, "equal scores stay equal"
    back = Tokenizer.from_gguf(fields)
    assert [tuple(pair) for pair in back.layout["model"]["merges"]] == merges
    assert back.vocab_size == pieces_tokenizer.vocab_size + 2 and back.token(back.vocab_size - 1).startswith("[PAD")
    for text in TEXTS:
        assert back.encode(text) == pieces_tokenizer.encode(text)
    assert scores(["ab", "b", "abc"], [("a", "b"), ("ab", "c")]) == [-1.0, -3.0, -2.0]


@pytest.mark.parametrize("kind", ["default", "gpt-2", "llama-bpe", "qwen2", "smollm"])
def test_rules_of_splitting_are_recognised(kind: str, tiny_tokenizer: Tokenizer) -> None:
    fields = vocabulary(tiny_tokenizer, tiny_tokenizer.vocab_size) | {"tokenizer.ggml.pre": kind}
    words = Tokenizer.from_gguf(fields)
    assert vocabulary(words, words.vocab_size) == fields


def test_unknown_rules_are_refused(tiny_tokenizer: Tokenizer) -> None:
    from tokenizers import Tokenizer as Backend
    from tokenizers import pre_tokenizers

    backend = Backend.from_str(json.dumps(tiny_tokenizer.layout))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizer("gpt-2")])
    with pytest.raises(ModelError, match="no name for the rules"):
        vocabulary(Tokenizer(backend, kind="bytes"), 300)
    with pytest.raises(ModelError, match="more tokens than the model has rows"):
        vocabulary(tiny_tokenizer, 100)


def test_compare_sees_one_changed_weight(tiny_model: Model) -> None:
    assert compare(tiny_model, tiny_model, 0.0)["largest_difference"] == 0.0
    norm = tiny_model.params["norm"].at[7].add(0.5)
    with pytest.raises(ModelError, match="thrown away"):
        compare(tiny_model, replace(tiny_model, params={**tiny_model.params, "norm": norm}), LIMITS["f32"])
    deaf = replace(tiny_model, tokenizer=tiny_model.tokenizer.with_template("{{ messages[0]['content'] }}"))
    with pytest.raises(ModelError, match="the chat template"):
        compare(tiny_model, deaf, 1.0)


@pytest.mark.slow
@pytest.mark.real
def test_smollm2_goes_round_from_its_gguf(smollm2: Model, tmp_path: Path) -> None:
    """Weights bit for bit, and a vocabulary that encodes alike, through both formats."""
    want: Any = None
    for to in ("gguf", "hf"):
        made = export(smollm2, "smollm2-135m-instruct", tmp_path / to, Order(to))
        assert made["check"]["largest_difference"] == 0.0 and made["check"]["same_top"] == 1.0
        back = read(locate(tmp_path / to))
        want = want or merged(smollm2)
        assert all(np.array_equal(back.tensors[name], array) for name, array in want.items())
        text = Path(__file__).read_text("utf-8")
        assert back.tokenizer.encode(text) == smollm2.tokenizer.encode(text)
        chat = ({"role": "user", "content": "Hi <|im_end|> there"},)
        assert encode_chat(back.tokenizer, as_messages(chat), True) == encode_chat(smollm2.tokenizer, as_messages(chat), True)
    source, back = (gguf.open_file(path).fields for path in (locate("smollm2-135m-instruct"), tmp_path / "gguf/model.gguf"))
    same = {name for name in source if name.startswith(("tokenizer.", "llama.")) and source[name] == back.get(name)}
    differ = {name for name in source if name.startswith(("tokenizer.", "llama."))} - same
    assert differ <= {"tokenizer.ggml.add_space_prefix", "tokenizer.ggml.unknown_token_id"}, differ
