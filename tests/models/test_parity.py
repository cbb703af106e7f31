"""Solon's forward against transformers: every family on tiny random models, and the two real models whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import jax.numpy as jnp  # noqa: E402

from solon.models.block import jit_forward  # noqa: E402
from solon.models.formats import Checkpoint, read  # noqa: E402
from solon.models.load import Model, family, from_checkpoint, to_tensors  # noqa: E402

pytestmark = pytest.mark.parity

VOCAB = 97
# Three query heads a key head, and heads that together are wider than the model.
SIZES = {
    "vocab_size": VOCAB, "hidden_size": 66, "intermediate_size": 144, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "initializer_range": 0.1,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
LINEAR = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
# name -> (configuration class, what differs from SIZES); windows are shorter than the 48 tokens of the test
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {"rms_norm_eps": 1e-5}),
    "llama-tied-one-kv-head": ("LlamaConfig", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
    "llama-3.1-scaling": ("LlamaConfig", {"rope_parameters": LLAMA3}),
    "llama-linear-scaling": ("LlamaConfig", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "mistral-window": ("MistralConfig", {"sliding_window": 11}),
    "mistral-window-scaled": ("MistralConfig", {"sliding_window": 11, "rope_parameters": LLAMA3}),
    "mistral-no-window": ("MistralConfig", {"sliding_window": None}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2-upper-layers-windowed": (
        "Qwen2Config", {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    ),
    "qwen2.5-tied": ("Qwen2Config", {"tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen3": ("Qwen3Config", {"tie_word_embeddings": True}),
    "gemma": ("GemmaConfig", {}),
    "gemma2": (
        "Gemma2Config",
        {"sliding_window": 10, "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0, "query_pre_attn_scalar": 24},
    ),
    "gemma2-scaled": ("Gemma2Config", {"sliding_window": 10, "rope_parameters": LLAMA3}),
    "gemma3": ("Gemma3TextConfig", {"num_hidden_layers": 7, "sliding_window": 8, "query_pre_attn_scalar": 20}),
    "gemma3-linear-scaling": (
        "Gemma3TextConfig", {"num_hidden_layers": 7, "sliding_window": 8, "rope_parameters": LINEAR, "head_dim": 20},
    ),
}  # fmt: skip


def reference(config: Any, seed: int = 0) -> Any:
    """A random transformers model. Norms and biases are stirred too: at their start they hide mistakes."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 1:
                p.add_(torch.randn_like(p) * 0.3)
            elif config.model_type.startswith("gemma") and "embed" in name:
                p.mul_(0.5)
    return model


def write_tokenizer(folder: Path) -> None:
    """The smallest tokenizer that a model folder may have."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {name: i for i, name in enumerate(["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(4, VOCAB))])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def torch_logits(model: Any, ids: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(ids).long(), use_cache=False).logits.float().numpy()


def tokens(vocab: int, rows: int, length: int) -> np.ndarray:
    return np.random.default_rng(7).integers(3, vocab, (rows, length), dtype=np.int32)


@pytest.mark.parametrize("name", FAMILIES)
def test_tiny_random_models_agree(name: str, tmp_path: Path, record_property: Any) -> None:
    kind, changes = FAMILIES[name]
    config = getattr(transformers, kind)(**{**SIZES, **changes})
    theirs = reference(config)
    theirs.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    ours = from_checkpoint(name, read(tmp_path))
    ids = tokens(VOCAB, 2, 48)
    want = torch_logits(theirs, ids)
    got = np.asarray(jit_forward(ours.arch, ours.params, jnp.asarray(ids))[0])
    gap = float(np.abs(got - want).max())
    record_property("max_difference", gap)
    print(f"{name}: max |difference| {gap:.2e}, logits spread {want.std():.2f}")
    assert want.std() > 0.1, "the test model says nothing"
    assert gap <= 1e-4
    back = to_tensors(ours.arch, family(config.model_type).names(ours.arch), ours.params)
    stored = {k: v.numpy() for k, v in theirs.state_dict().items()}
    for tensor, array in back.items():
        np.testing.assert_array_equal(array, stored[tensor], err_msg=tensor)


def exported(model: Model, config: dict[str, Any]) -> Any:
    """The same weights in a transformers model."""
    kind = config["model_type"]
    theirs = transformers.AutoConfig.for_model(kind, **{k: v for k, v in config.items() if k != "model_type"})
    with torch.device("meta"):
        out = transformers.AutoModelForCausalLM.from_config(theirs, attn_implementation="eager")
    out = out.to_empty(device="cpu").float().eval()
    # Rotary tables are computed at construction, which the meta device skipped.
    for module in out.modules():
        if "RotaryEmbedding" in type(module).__name__:
            module.__init__(theirs)
        if hasattr(module, "embed_scale") and hasattr(module, "scalar_embed_scale"):
            module.embed_scale = torch.tensor(module.scalar_embed_scale)
    tensors = to_tensors(model.arch, family(kind).names(model.arch), model.params)
    missing, unexpected = out.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()}, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    out.tie_weights()
    return out


def real(name: str) -> tuple[Path, Checkpoint]:
    """A catalogue model from the cache or the network; skipped where it cannot be had."""
    from solon.core.errors import SolonError
    from solon.models.hub import locate

    try:
        path = locate(name, progress=False)
    except SolonError as error:
        pytest.skip(str(error).splitlines()[0])
    return path, read(path)


def compare(name: str, model: Model, theirs: Any) -> None:
    """Logits within 1e-3, and the same most likely token wherever the first two differ by more than that."""
    length = 512 + (model.arch.window and 128)  # past the window, where there is one
    text = (Path(__file__).parents[2] / "src/solon/models/block.py").read_text()
    ids = np.array([model.tokenizer.encode(text)[:length]], np.int32)
    assert ids.shape == (1, length)
    want = torch_logits(theirs, ids)[0]
    got = np.asarray(jit_forward(model.arch, model.params, jnp.asarray(ids))[0])[0]
    gap = float(np.abs(got - want).max())
    top = np.sort(np.partition(want, -2, -1)[:, -2:], -1)
    sure = top[:, 1] - top[:, 0] > 1e-3
    same = got.argmax(-1) == want.argmax(-1)
    print(f"{name}: max |difference| {gap:.2e}; argmax equal at {same.sum()} of {length}, {sure.sum()} of them sure")
    assert gap <= 1e-3
    assert same[sure].all()


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma3-270m"])
def test_real_models_agree(name: str) -> None:
    path, checkpoint = real(name)
    model = from_checkpoint(name, checkpoint)
    compare(name, model, exported(model, checkpoint.config))


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma3-270m"])
def test_real_models_agree_with_another_reader(name: str) -> None:
    """transformers reads the GGUF file itself: other code for names, layouts and settings."""
    path, checkpoint = real(name)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    compare(name, from_checkpoint(name, checkpoint), theirs)
