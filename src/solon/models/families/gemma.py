"""Gemma 1, 2 and 3 (text): norms around zero, GeGLU, scaled embeddings, and from Gemma 2 on local layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from solon.core.errors import ModelError
from solon.models.architecture import Architecture, Fields, RopeScaling
from solon.models.families import llama

MODEL_TYPES = ("gemma", "gemma2", "gemma3_text")

# Gemma 2 and 3 normalise before and after both halves of a block, so `post_attention_layernorm` means another norm.
NAMES_POST = {
    **llama.NAMES,
    "blocks/attn_post_norm": "model.layers.{}.post_attention_layernorm.weight",
    "blocks/mlp_norm": "model.layers.{}.pre_feedforward_layernorm.weight",
    "blocks/mlp_post_norm": "model.layers.{}.post_feedforward_layernorm.weight",
}


def architecture(config: Mapping[str, Any]) -> Architecture:
    """Read a Hugging Face configuration. Raises `ModelError` on a field that would change the computation unnoticed."""
    f = Fields(config)
    kind = f.expect("model_type", *MODEL_TYPES)
    embed, heads, layers = f.need("hidden_size"), f.need("num_attention_heads"), f.need("num_hidden_layers")
    activation = f.get("hidden_activation", f.get("hidden_act", "gelu_pytorch_tanh"))
    f.get("hidden_act")
    if activation not in ("gelu_pytorch_tanh", "gelu"):  # Gemma 1 files say gelu and mean the tanh form
        raise ModelError("the model configuration has an unsupported 'hidden_activation'", got=activation)
    f.expect("attention_bias", False)
    f.expect("use_bidirectional_attention", False)
    base, local_base, scaling = _rotary(f, kind)
    window, local = _window(f, kind, layers)
    head_dim = f.get("head_dim", 256)
    arch = Architecture(
        family="gemma", layers=layers, embed=embed, heads=heads, kv_heads=f.get("num_key_value_heads", heads),
        head_dim=head_dim, mlp=f.need("intermediate_size"), vocab=f.need("vocab_size"),
        context=f.get("max_position_embeddings", 8192), rope_base=base, rope_local_base=local_base,
        rope_scaling=scaling, norm_eps=f.get("rms_norm_eps", 1e-6), norm_offset=1.0, activation="gelu_tanh",
        embed_scale=embed**0.5, query_scale=f.get("query_pre_attn_scalar", head_dim if kind == "gemma" else 256) ** -0.5,
        tied=f.get("tie_word_embeddings", True), qk_norm=kind == "gemma3_text", post_norms=kind != "gemma",
        window=window, local_layers=local, attn_softcap=f.unless_absent("attn_logit_softcapping", 50.0 if kind == "gemma2" else 0.0, 0.0),
        final_softcap=f.unless_absent("final_logit_softcapping", 30.0 if kind == "gemma2" else 0.0, 0.0),
    )  # fmt: skip
    f.done()
    return arch


def names(arch: Architecture) -> dict[str, str]:
    return NAMES_POST if arch.post_norms else llama.NAMES


def _rotary(f: Fields, kind: str) -> tuple[float, float, RopeScaling | None]:
    record = f.get("rope_parameters", {})
    if "full_attention" in record:  # the newer files keep one record per kind of layer
        whole, near = record["full_attention"], record["sliding_attention"]
        base, scaling = llama.rotary(Fields({"rope_parameters": whole}))
        local_base, local_scaling = llama.rotary(Fields({"rope_parameters": near}))
        if local_scaling:
            raise ModelError("the model configuration scales the rotation of its local layers", got=near)
        return base, local_base, scaling
    default = 1_000_000.0 if kind == "gemma3_text" else 10_000.0
    _, scaling = llama.rotary(f)
    base = f.get("rope_theta", record.get("rope_theta", default))
    return base, f.get("rope_local_base_freq", 10_000.0) if kind == "gemma3_text" else 0.0, scaling


def _window(f: Fields, kind: str, layers: int) -> tuple[int, tuple[bool, ...]]:
    types, window = f.get("layer_types"), f.unless_absent("sliding_window", 4096, 0)
    pattern = f.get("sliding_window_pattern", f.get("_sliding_window_pattern", 6 if kind == "gemma3_text" else 2))
    f.get("_sliding_window_pattern")
    if kind == "gemma" or not window:
        return 0, ()
    if types:
        return window, tuple(t == "sliding_attention" for t in types)
    return window, tuple((i + 1) % pattern != 0 for i in range(layers))
