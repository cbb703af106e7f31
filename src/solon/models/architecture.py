"""What distinguishes one decoder from another, as plain numbers and switches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from solon.core.errors import ModelError, nearest
from solon.core.weights import Tree, Weight, stack

LINEAR = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class RopeScaling:
    """Stretching of rotary frequencies for long contexts: `linear` or `llama3` (Llama 3.1 model card)."""

    kind: str
    factor: float
    low_factor: float = 1.0
    high_factor: float = 4.0
    original_context: int = 8192


@dataclass(frozen=True)
class Architecture:
    """A decoder-only transformer: sizes, and the switches in which the Llama and Gemma families differ."""

    family: str
    layers: int
    embed: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    context: int
    rope_base: float = 10_000.0
    rope_local_base: float = 0.0  # local layers rotate by an own, unscaled base; 0 means as all layers do
    rope_scaling: RopeScaling | None = None
    norm_eps: float = 1e-6
    norm_offset: float = 0.0  # Gemma multiplies by 1 + weight
    activation: str = "silu"  # or gelu_tanh
    embed_scale: float = 1.0
    query_scale: float = 0.0  # 0 means head_dim ** -0.5
    tied: bool = True
    qkv_bias: bool = False
    qk_norm: bool = False
    post_norms: bool = False  # Gemma 2 and 3 also normalise what attention and MLP give back
    window: int = 0
    local_layers: tuple[bool, ...] = ()  # which layers see only the window
    attn_softcap: float = 0.0
    final_softcap: float = 0.0

    @property
    def sizes(self) -> dict[str, int]:
        names = ("layers", "embed", "heads", "kv_heads", "head_dim", "mlp", "vocab")
        return {name: getattr(self, name) for name in names}

    @property
    def local(self) -> np.ndarray:
        """`[layers]` booleans: does the layer attend only within the window?"""
        return np.array(self.local_layers or (False,) * self.layers)


def spec(arch: Architecture) -> Tree:
    """The weights of a model: one `Weight` per tensor, blocks stacked over layers."""
    start = 1.0 - arch.norm_offset
    block: dict[str, Weight] = {
        "attn_norm": Weight("embed", start=start),
        "q": Weight("embed -> heads head_dim"),
        "k": Weight("embed -> kv_heads head_dim"),
        "v": Weight("embed -> kv_heads head_dim"),
        "o": Weight("heads head_dim -> embed"),
        "mlp_norm": Weight("embed", start=start),
        "gate": Weight("embed -> mlp"),
        "up": Weight("embed -> mlp"),
        "down": Weight("mlp -> embed"),
    }
    if arch.qkv_bias:
        block |= {"q_bias": Weight("heads head_dim", start=0.0), "k_bias": Weight("kv_heads head_dim", start=0.0)}
        block |= {"v_bias": Weight("kv_heads head_dim", start=0.0)}
    if arch.qk_norm:
        block |= {"q_norm": Weight("head_dim", start=start), "k_norm": Weight("head_dim", start=start)}
    if arch.post_norms:
        block |= {"attn_post_norm": Weight("embed", start=start), "mlp_post_norm": Weight("embed", start=start)}
    tree = {"embed": Weight("vocab -> embed"), "blocks": stack(block, "layers"), "norm": Weight("embed", start=start)}
    return tree if arch.tied else tree | {"unembed": Weight("embed -> vocab")}


class Fields:
    """A Hugging Face configuration read field by field, so that a field nobody understood is refused, not ignored."""

    # Bookkeeping of training or serving that does not change the function that the weights compute.
    HARMLESS = frozenset(
        "architectures model_type torch_dtype dtype transformers_version use_cache bos_token_id eos_token_id "
        "pad_token_id initializer_range attention_dropout hidden_dropout resid_pdrop embd_pdrop pretraining_tp "
        "is_llama_config rope_interleaved transformers.js_config _name_or_path name_or_path auto_map cache_implementation "
        "output_attentions output_hidden_states return_dict torchscript id2label label2id problem_type chunk_size_feed_forward "
        "is_encoder_decoder is_decoder add_cross_attention tie_encoder_decoder cross_attention_hidden_size "
        "attn_implementation _attn_implementation unsloth_version unsloth_fixed sliding_window_size "
        "prefix pruned_heads finetuning_task task_specific_params tokenizer_class decoder_start_token_id".split()
    )

    def __init__(self, config: Mapping[str, Any]):
        self.config, self.read = config, set(self.HARMLESS)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        value = self.config.get(name)
        return default if value is None else value

    def unless_absent(self, name: str, default: Any, off: Any) -> Any:
        """A field that files leave out when it has its default and write as null when it is switched off."""
        return self.get(name, off) if name in self.config else self.get(name, default)

    def need(self, name: str) -> Any:
        value = self.get(name)
        if value is None:
            raise ModelError(f"the model configuration lacks {name!r}", got=", ".join(sorted(self.config)))
        return value

    def expect(self, name: str, *allowed: Any) -> Any:
        """A field whose value must be one of those that the forward implements (absent means the first)."""
        value = self.get(name, allowed[0])
        if value not in allowed:
            raise ModelError(f"the model configuration has an unsupported {name!r}", got=value, expected=allowed)
        return value

    def done(self) -> None:
        """Refuse what was not read and is not switched off."""
        unknown = [name for name, value in self.config.items() if name not in self.read and value not in (None, False)]
        if unknown:
            raise ModelError(
                f"the model configuration has fields that Solon does not understand: {', '.join(sorted(unknown))}",
                expected=nearest(unknown[0], self.read - self.HARMLESS),
                fix="they may change what the model computes; add them to the family's file in solon/models",
            )


def rope_frequencies(dim: int, base: float, scaling: RopeScaling | None) -> np.ndarray:
    """`[dim / 2]` angular frequencies, float32 (RoFormer, arXiv 2104.09864)."""
    inv = 1.0 / (base ** (np.arange(0, dim, 2, dtype=np.float32) / dim))
    if scaling is None:
        return inv.astype(np.float32)
    if scaling.kind == "linear":
        return (inv / scaling.factor).astype(np.float32)
    wavelength = 2 * np.pi / inv
    low = scaling.original_context / scaling.low_factor
    high = scaling.original_context / scaling.high_factor
    blend = (scaling.original_context / wavelength - scaling.low_factor) / (scaling.high_factor - scaling.low_factor)
    smooth = (1 - blend) * inv / scaling.factor + blend * inv
    out = np.where(wavelength > low, inv / scaling.factor, np.where(wavelength < high, inv, smooth))
    return out.astype(np.float32)
