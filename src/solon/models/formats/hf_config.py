"""The config.json of an architecture: the inverse of what `solon.models.families` reads."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from solon.core import plugins
from solon.core.errors import ModelError
from solon.models.architecture import Architecture, RopeScaling

CLASSES = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
    "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM",
}  # fmt: skip
"""Hugging Face's `model_type` and the class that runs it."""


def hf_config(arch: Architecture) -> dict[str, Any]:
    """The settings under Hugging Face's names. Raises `ModelError` for an architecture that no known type has: what is
    written is read again, and every field has to come back."""
    kind = _kind(arch)
    config = {
        "architectures": [CLASSES[kind]],
        "model_type": kind,
        "vocab_size": arch.vocab,
        "hidden_size": arch.embed,
        "intermediate_size": arch.mlp,
        "num_hidden_layers": arch.layers,
        "num_attention_heads": arch.heads,
        "num_key_value_heads": arch.kv_heads,
        "head_dim": arch.head_dim,
        "max_position_embeddings": arch.context,
        "rms_norm_eps": arch.norm_eps,
        "rope_theta": arch.rope_base,
        "rope_scaling": _scaling(arch.rope_scaling),
        "tie_word_embeddings": arch.tied,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
    }
    config |= _gemma(arch, kind) if arch.family == "gemma" else _llama(arch, kind)
    require_same(arch, plugins.load("families", arch.family).architecture(config), f"a {kind} config.json")
    return config


def require_same(arch: Architecture, back: Architecture, what: str) -> None:
    """Raise `ModelError` naming the fields that a format could not hold."""
    lost = [f.name for f in fields(Architecture) if getattr(arch, f.name) != getattr(back, f.name)]
    if lost:
        name = lost[0]
        raise ModelError(
            f"{what} cannot say what this model computes: {', '.join(lost)}", got=getattr(back, name),
            expected=getattr(arch, name), fix="choose another format with --to",
        )  # fmt: skip


def _kind(arch: Architecture) -> str:
    if arch.family == "gemma":
        return "gemma3_text" if arch.qk_norm else "gemma2" if arch.post_norms else "gemma"
    if arch.family != "llama":
        raise ModelError("Solon knows no Hugging Face type for this family", got=arch.family, expected="llama or gemma")
    if arch.qkv_bias:
        return "qwen2"
    return "qwen3" if arch.qk_norm else "mistral" if arch.window else "llama"


def _llama(arch: Architecture, kind: str) -> dict[str, Any]:
    own: dict[str, Any] = {"hidden_act": "silu"}
    if kind == "llama":
        return own | {"attention_bias": False, "mlp_bias": False}
    if kind == "mistral":
        return own | {"sliding_window": arch.window}
    own |= {"attention_bias": False} if kind == "qwen3" else {}
    if not arch.window:
        return own | {"use_sliding_window": False}
    first = arch.local_layers.index(True) if True in arch.local_layers else arch.layers
    return own | {
        "use_sliding_window": True, "sliding_window": arch.window, "max_window_layers": first, "layer_types": _types(arch),
    }  # fmt: skip


def _gemma(arch: Architecture, kind: str) -> dict[str, Any]:
    own: dict[str, Any] = {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "attention_bias": False}
    if kind == "gemma":
        return own
    scalar = arch.query_scale**-2
    near = round(scalar)
    own |= {
        "query_pre_attn_scalar": near if near**-0.5 == arch.query_scale else scalar,
        "sliding_window": arch.window or None,
        "attn_logit_softcapping": arch.attn_softcap or None,
        "final_logit_softcapping": arch.final_softcap or None,
    }
    if arch.window:
        own["layer_types"] = _types(arch)
    return own | ({"rope_local_base_freq": arch.rope_local_base} if kind == "gemma3_text" else {})


def _types(arch: Architecture) -> list[str]:
    return ["sliding_attention" if local else "full_attention" for local in arch.local]


def _scaling(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    if scaling.kind == "linear":
        return {"rope_type": "linear", "factor": scaling.factor}
    return {
        "rope_type": "llama3", "factor": scaling.factor, "low_freq_factor": scaling.low_factor,
        "high_freq_factor": scaling.high_factor, "original_max_position_embeddings": scaling.original_context,
    }  # fmt: skip
