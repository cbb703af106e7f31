"""Published configurations of well-known models, so that their shapes and sizes can be looked at without their weights."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from solon.core.errors import MissingError, nearest
from solon.core.weights import is_weight, named
from solon.models.architecture import Architecture, spec

# The fields of each model's config.json that decide its shapes and its computation.
PUBLISHED: dict[str, dict[str, Any]] = {
    "gemma-7b": {
        "model_type": "gemma", "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256, "vocab_size": 256_000,
        "max_position_embeddings": 8192, "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0, "attention_bias": False,
    },
    "gemma-2b": {
        "model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18,
        "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 256_000,
        "max_position_embeddings": 8192, "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0, "attention_bias": False,
    },
    "llama-3.1-8b": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256, "max_position_embeddings": 131_072,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": False,
        "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
    "mistral-7b": {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32_000, "max_position_embeddings": 32_768,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "sliding_window": 4096,
        "tie_word_embeddings": False,
    },
    "qwen2.5-7b": {
        "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152_064, "max_position_embeddings": 131_072,
        "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0, "sliding_window": 131_072,
        "use_sliding_window": False, "max_window_layers": 28, "use_mrope": False, "tie_word_embeddings": False,
    },
    "smollm2-135m": {
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49_152, "max_position_embeddings": 8192,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 100_000.0, "rope_interleaved": False,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
    },
}  # fmt: skip


class Row(NamedTuple):
    """One weight: its place in the tree, its rule, its shape (stacked axes in front) and how many numbers it holds."""

    path: str
    rule: str
    shape: tuple[int, ...]
    parameters: int


def published(name: str) -> Architecture:
    """The architecture of a catalogued model. Raises `MissingError`."""
    from solon.models.load import family

    if name not in PUBLISHED:
        raise MissingError(f"no published configuration is called {name!r}", fix=nearest(name, PUBLISHED))
    config = PUBLISHED[name]
    return family(config["model_type"]).architecture(config)


def describe(name: str) -> list[Row]:
    """Every weight of a catalogued model; nothing is allocated."""
    arch = published(name)
    weights = named(spec(arch), is_leaf=is_weight)
    shapes = {path: w.shape(arch.sizes) for path, w in weights.items()}
    return [Row(path, w.rule, shapes[path], prod(shapes[path])) for path, w in weights.items()]
