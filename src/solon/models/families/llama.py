"""Llama and its relatives: Llama 1-3, SmolLM2, Mistral, Qwen 2, 2.5 and 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from solon.models.architecture import Architecture, Fields, RopeScaling

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")

# Path in Solon's tree -> tensor name in a Hugging Face checkpoint; `{}` is the layer.
NAMES = {
    "embed": "model.embed_tokens.weight",
    "norm": "model.norm.weight",
    "unembed": "lm_head.weight",
    "blocks/attn_norm": "model.layers.{}.input_layernorm.weight",
    "blocks/mlp_norm": "model.layers.{}.post_attention_layernorm.weight",
    "blocks/q": "model.layers.{}.self_attn.q_proj.weight",
    "blocks/k": "model.layers.{}.self_attn.k_proj.weight",
    "blocks/v": "model.layers.{}.self_attn.v_proj.weight",
    "blocks/o": "model.layers.{}.self_attn.o_proj.weight",
    "blocks/q_bias": "model.layers.{}.self_attn.q_proj.bias",
    "blocks/k_bias": "model.layers.{}.self_attn.k_proj.bias",
    "blocks/v_bias": "model.layers.{}.self_attn.v_proj.bias",
    "blocks/q_norm": "model.layers.{}.self_attn.q_norm.weight",
    "blocks/k_norm": "model.layers.{}.self_attn.k_norm.weight",
    "blocks/gate": "model.layers.{}.mlp.gate_proj.weight",
    "blocks/up": "model.layers.{}.mlp.up_proj.weight",
    "blocks/down": "model.layers.{}.mlp.down_proj.weight",
}


def architecture(config: Mapping[str, Any]) -> Architecture:
    """Read a Hugging Face configuration. Raises `ModelError` on a field that would change the computation unnoticed."""
    f = Fields(config)
    kind = f.expect("model_type", *MODEL_TYPES)
    heads, embed = f.need("num_attention_heads"), f.need("hidden_size")
    f.expect("hidden_act", "silu")
    f.expect("mlp_bias", False)
    f.expect("attention_bias", False, *([True] if kind == "qwen2" else []))
    layers = f.need("num_hidden_layers")
    window, local = _window(f, kind, layers)
    base, scaling = rotary(f)
    arch = Architecture(
        family="llama", layers=layers, embed=embed, heads=heads, kv_heads=f.get("num_key_value_heads", heads),
        head_dim=f.get("head_dim", embed // heads), mlp=f.need("intermediate_size"), vocab=f.need("vocab_size"),
        context=f.get("max_position_embeddings", 2048), rope_base=base, rope_scaling=scaling,
        norm_eps=f.get("rms_norm_eps", 1e-6), tied=f.get("tie_word_embeddings", False), qkv_bias=kind == "qwen2",
        qk_norm=kind == "qwen3", window=window, local_layers=local,
    )  # fmt: skip
    f.done()
    return arch


def names(arch: Architecture) -> dict[str, str]:
    return NAMES


def rotary(f: Fields) -> tuple[float, RopeScaling | None]:
    """Base and scaling, from either way in which configurations write them."""
    new, old = f.get("rope_parameters", {}), f.get("rope_scaling", {})
    record = {**new, **old}
    base = f.get("rope_theta", record.get("rope_theta", 10_000.0))
    own = {name: value for name, value in record.items() if name not in ("type", "rope_theta")}
    reader = Fields({"rope_type": record.get("type"), **own})
    kind = reader.expect("rope_type", "default", "linear", "llama3")
    scaling = None
    if kind == "linear":
        scaling = RopeScaling("linear", reader.need("factor"))
    if kind == "llama3":
        low, high = reader.need("low_freq_factor"), reader.need("high_freq_factor")
        original = reader.need("original_max_position_embeddings")
        scaling = RopeScaling("llama3", reader.need("factor"), low, high, original)
    reader.done()  # a partial or multimodal rotation is another computation
    return base, scaling


def _window(f: Fields, kind: str, layers: int) -> tuple[int, tuple[bool, ...]]:
    window, types = f.unless_absent("sliding_window", 4096 if kind == "mistral" else 0, 0), f.get("layer_types")
    switched = f.get("use_sliding_window", kind == "mistral")
    first = f.get("max_window_layers", 28) if kind.startswith("qwen") else 0  # Qwen: the layers below see everything
    if not window or not switched:
        return 0, ()
    if types:
        return window, tuple(t == "sliding_attention" for t in types)
    return window, tuple(i >= first for i in range(layers))
