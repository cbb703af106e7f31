"""Tiny random models of every family, with tokenizers of both kinds, and adapters on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.core.weights import abstract, is_weight
from solon.learn import lora
from solon.models.architecture import LINEAR, spec
from solon.models.load import Model, family
from solon.text.tokenizer import Tokenizer

SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "max_position_embeddings": 1024, "rms_norm_eps": 1e-6,
}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "num_key_value_heads": 1},
    "llama-tied-scaled": {"model_type": "llama", "tie_word_embeddings": True, "rope_theta": 500000.0, "rope_scaling": LLAMA3},
    "mistral": {"model_type": "mistral", "sliding_window": 9},
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True, "rope_theta": 1e6},
    "qwen3": {"model_type": "qwen3", "head_dim": 24, "rope_theta": 1e6},
    "gemma": {"model_type": "gemma", "head_dim": 32},
    "gemma2": {"model_type": "gemma2", "sliding_window": 8, "query_pre_attn_scalar": 16},
    "gemma3": {"model_type": "gemma3_text", "num_hidden_layers": 7, "sliding_window": 8, "query_pre_attn_scalar": 16},
}
SPARE = 3  # rows of the embedding that belong to no token, as most published models have some


def noise(shapes: Any, seed: int, size: float = 0.12) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(0, size, s.shape), jnp.float32), shapes)


@pytest.fixture(scope="session")
def pieces_tokenizer() -> Tokenizer:
    """A SentencePiece vocabulary as Gemma's: bytes, letters, words with a space in front, runs of spaces of equal score."""
    words = ["▁t", "he", "▁the", "in", "on", "er", "▁a", "an", "and", "▁and", "re", "▁s", "▁w", "ou", "at", "is", "▁p"]
    runs = ["▁▁", "▁▁▁", "▁▁▁▁"]
    letters = sorted(set("▁ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:;!?'\"()[]+-*=@"))
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *runs, *words, *letters]
    types = [3, 3, 3, 2, 3, 3, *[6] * 256, *[1] * (len(runs) + len(words) + len(letters))]
    scores = [0.0] * 262 + [-1000.0] * len(runs) + [-float(n) for n in range(len(words))] + [-5000.0] * len(letters)
    template = (
        "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + m['role'] + '\n' + m['content'] + '<end_of_turn>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>assistant\n' }}{% endif %}"
    )
    fields = {"model": "llama", "tokens": tokens, "token_type": types, "scores": scores, "add_space_prefix": False, "add_bos_token": True}
    fields |= {"bos_token_id": 2, "eos_token_id": 1, "padding_token_id": 0, "unknown_token_id": 3}
    return Tokenizer.from_gguf({**{f"tokenizer.ggml.{name}": value for name, value in fields.items()}, "tokenizer.chat_template": template})


@pytest.fixture(scope="session")
def tiny_family(tiny_tokenizer: Tokenizer, pieces_tokenizer: Tokenizer) -> Callable[..., Model]:
    """`tiny_family("gemma3")`: a random model whose norms and biases are not at their start, which would hide mistakes."""

    def make(name: str, seed: int = 0) -> Model:
        words = pieces_tokenizer if name.startswith("gemma") else tiny_tokenizer
        config = {**SIZES, "vocab_size": words.vocab_size + SPARE, **FAMILIES[name]}
        arch = family(config["model_type"]).architecture(config)
        start = jax.tree.map(lambda w: w.start if not w.ins else 0.0, spec(arch), is_leaf=is_weight)
        params = jax.tree.map(jnp.add, noise(abstract(spec(arch), arch.sizes), seed + 1), start)
        params["embed"] = params["embed"] * (4.0 if arch.family == "llama" else 0.5)
        return Model(name, arch, params, words, "apache-2.0", f"digest of {name}")

    return make


@pytest.fixture(scope="session")
def adapt() -> Callable[..., Model]:
    """`adapt(model, rank=4)`: the model with one more trained adapter on it."""
    from dataclasses import replace

    def make(model: Model, rank: int = 4, alpha: float = 8.0, targets: tuple[str, ...] = LINEAR, seed: int = 5) -> Model:
        params = lora.attach(model.arch, model.params, rank=rank, alpha=alpha, seed=0, targets=targets)
        return replace(model, params=lora.put(params, noise(lora.adapter(params, targets), seed, 0.1)))

    return make
