"""What llama.cpp's converter did to names, layouts and settings, and how it is undone to give Hugging Face's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from solon.core.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

    from solon.models.formats.gguf import File

    Change = Callable[[np.ndarray], np.ndarray]

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3")
TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
FOUR_NORMS = LAYER | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
"""Gemma 2 and 3 have a norm before and after each half of a layer."""


def hf_config(file: File) -> dict[str, Any]:
    """The settings under Hugging Face's names. Raises `ModelError` for what is not known or missing."""
    arch = file.fields.get("general.architecture")
    if arch not in ARCHITECTURES:
        raise ModelError(
            f"{file.path.name} holds an architecture that Solon cannot read from GGUF",
            got=arch,
            expected="one of " + ", ".join(ARCHITECTURES),
        )
    if _field(file, "expert_count", 0):
        raise ModelError("mixtures of experts cannot be read from GGUF", got=f"{_field(file, 'expert_count')} experts")
    heads, width = _count(file, "attention.head_count"), _count(file, "embedding_length")
    head_size = _count(file, "attention.key_length", _field(file, "rope.dimension_count", width // heads))
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise ModelError(f"{file.path.name} has no token_embd.weight", fix="give the file of a whole model")
    config = {
        "model_type": "gemma3_text" if arch == "gemma3" else arch,
        "vocab_size": embedding.shape[0],
        "hidden_size": width,
        "intermediate_size": _count(file, "feed_forward_length"),
        "num_hidden_layers": _count(file, "block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": _count(file, "attention.head_count_kv", heads),
        "head_dim": head_size,
        "max_position_embeddings": _count(file, "context_length"),
        "rms_norm_eps": _plain(_field(file, "attention.layer_norm_rms_epsilon", 1e-6)),
        "rope_theta": _plain(_field(file, "rope.freq_base", 10000.0)),
        "rope_scaling": _rope_scaling(file, head_size),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "hidden_act": "gelu_pytorch_tanh" if arch.startswith("gemma") else "silu",
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
    }
    return config | _family(file, arch, config)


def _field(file: File, name: str, default: Any = None) -> Any:
    """One setting of the architecture; a list of equal values, one a layer, counts as the value."""
    value = file.fields.get(f"{file.fields['general.architecture']}.{name}", default)
    if isinstance(value, list):
        if len(set(value)) != 1:
            raise ModelError(f"{name} differs from layer to layer, which Solon cannot run", got=value)
        value = value[0]
    if value is None:
        raise ModelError(f"{file.path.name} does not say its {name}")
    return value


def _count(file: File, name: str, default: Any = None) -> int:
    """A whole number from 1 on. A layer has tensors, so a count beyond their number, or a huge size, is damage."""
    value = _field(file, name, default)
    most = len(file.tensors) if name == "block_count" else 1 << 31
    if not isinstance(value, int) or not 0 < value <= most:
        raise ModelError(
            f"{file.path.name} is cut short or damaged", got=f"{name} = {value!r}", expected=f"1 to {most}"
        )
    return value


def _plain(value: float) -> float:
    """1e-05 for the 9.999999747378752e-06 that a float32 made of it."""
    if not isinstance(value, int | float):
        raise ModelError("the file is damaged", got=repr(value), expected="a number")
    return float(f"{value:.7g}")


def _family(file: File, arch: str, config: dict[str, Any]) -> dict[str, Any]:
    """What only one family has, and what llama.cpp keeps in its code instead of in the file."""
    if arch in ("llama", "qwen3"):
        return {"mlp_bias": False} if arch == "llama" else {}
    if arch == "qwen2":
        return {"use_sliding_window": False}
    extra: dict[str, Any] = {"hidden_activation": "gelu_pytorch_tanh"}
    if arch == "gemma":
        return extra
    # The 27B models of both generations scale by hidden_size / heads instead of by the head size.
    biggest = {"gemma2": 46, "gemma3": 62}[arch] == config["num_hidden_layers"]
    scalar = config["hidden_size"] // config["num_attention_heads"] if biggest else config["head_dim"]
    extra |= {"query_pre_attn_scalar": scalar, "sliding_window": _field(file, "attention.sliding_window")}
    local = 2 if arch == "gemma2" else 6
    extra["layer_types"] = [
        "full_attention" if (layer + 1) % local == 0 else "sliding_attention"
        for layer in range(config["num_hidden_layers"])
    ]
    if arch == "gemma2":
        caps = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
        return extra | {key: float(_field(file, key, cap)) for key, cap in caps.items()}
    return extra | {
        "sliding_window_pattern": 6,
        "rope_local_base_freq": 10000.0,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
    }


def _rope_scaling(file: File, head_size: int) -> dict[str, Any] | None:
    kind = _field(file, "rope.scaling.type", "none")
    if kind == "linear":
        return {"rope_type": "linear", "factor": float(_field(file, "rope.scaling.factor"))}
    if kind != "none":
        raise ModelError(
            "this scaling of rotary positions cannot be read from GGUF", got=kind, expected="none or linear"
        )
    return _llama3_scaling(file, head_size) if "rope_freqs.weight" in file.tensors else None


def _llama3_scaling(file: File, head_size: int) -> dict[str, Any]:
    """Llama 3.1's settings are not in the file, only the divisors they give; they are guessed and then checked."""
    import numpy as np

    divisors = file.array("rope_freqs.weight")
    low, high, original = 1.0, 4.0, 8192
    factor = float(np.round(divisors.max()))
    base = _field(file, "rope.freq_base", 10000.0)
    wave = 2 * np.pi * base ** (np.arange(0, head_size, 2) / head_size)
    smooth = (original / wave - low) / (high - low)
    expected = np.where(wave > original / low, factor, 1 / ((1 - smooth) / factor + smooth))
    expected = np.where(wave < original / high, 1.0, expected)
    if divisors.shape != expected.shape or not np.allclose(divisors, expected, rtol=1e-3):
        raise ModelError("the file scales rotary positions in a way that Solon does not know", got="rope_freqs.weight")
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }


def hf_tensors(file: File, config: dict[str, Any]) -> dict[str, tuple[str, Change]]:
    """Hugging Face name to (GGUF name, what to do to the array)."""
    arch = file.fields["general.architecture"]
    layer_names = FOUR_NORMS if arch in ("gemma2", "gemma3") else LAYER
    found: dict[str, tuple[str, Change]] = {}
    for source in file.tensors:
        if source == "rope_freqs.weight":
            continue
        if source == "output.weight":
            name = "lm_head.weight"
        elif source in TOP:
            name = TOP[source]
        else:
            match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", source)
            if not match or match[2] not in layer_names:
                raise ModelError(f"{file.path.name} holds a tensor that is not known", got=source)
            name = f"model.layers.{match[1]}.{layer_names[match[2]]}.{match[3]}"
        found[name] = (source, _change(arch, name, config))
    _check_complete(file, found, config)
    return found


def _check_complete(file: File, found: dict[str, tuple[str, Change]], config: dict[str, Any]) -> None:
    parts = (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    )
    needed = [*TOP.values()]
    needed += [f"model.layers.{n}.{part}.weight" for n in range(config["num_hidden_layers"]) for part in parts]
    missing = [name for name in needed if name not in found]
    if missing:
        raise ModelError(
            f"{file.path.name} lacks {len(missing)} tensors",
            got=f"no {missing[0]}",
            fix="give the file of a whole model",
        )


def _change(arch: str, name: str, config: dict[str, Any]) -> Change:
    if arch == "llama" and "q_proj" in name:
        return lambda array: rotate_half(array, config["num_attention_heads"])
    if arch == "llama" and "k_proj" in name:
        return lambda array: rotate_half(array, config["num_key_value_heads"])
    if arch.startswith("gemma") and name.endswith("norm.weight"):
        # The converter stored 1 + weight; Hugging Face adds the 1 in the forward pass.
        return lambda array: array - 1.0
    return lambda array: array


def rotate_half(array: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k from llama.cpp's order (each rotated pair adjacent) to Hugging Face's (pairs half a head apart)."""
    half = array.shape[0] // heads // 2
    return array.reshape(heads, half, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
