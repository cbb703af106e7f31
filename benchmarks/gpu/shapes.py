"""The models and the work of the comparison on an accelerator. Weights are random, from a named seed: speed depends on shapes
alone, and both sides get the very same numbers, so their logits can be compared."""

from __future__ import annotations

from typing import Any

GEMMA_270M = {
    "model_type": "gemma3_text", "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18, "num_attention_heads": 4,
    "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262_144, "max_position_embeddings": 32_768, "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0, "query_pre_attn_scalar": 256,
    "sliding_window": 512, "sliding_window_pattern": 6, "attention_bias": False,
}  # fmt: skip
TINY = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 512, "hidden_act": "silu", "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0, "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
}  # fmt: skip

# Rows and length of a training step, pairs of a DPO step, prompt and new tokens of decoding, its batches.
WORK: dict[str, dict[str, Any]] = {
    "135m": {"rows": 32, "length": 1024, "pairs": 16, "prompt": 128, "new": 128, "batches": [1, 8, 64, 512]},
    "270m": {"rows": 16, "length": 1024, "pairs": 8, "prompt": 128, "new": 128, "batches": [1, 8, 64, 512]},
    "7b": {"rows": 8, "length": 1024, "pairs": 4, "prompt": 128, "new": 64, "batches": [1, 8, 64, 512]},
    "tiny": {"rows": 2, "length": 64, "pairs": 2, "prompt": 16, "new": 8, "batches": [1, 4]},
}
TARGETS = {"sft": 1.5, "decode64": 5.0}
"""Ratios to the peer's figure that are aimed at, whatever the model."""
SHARES = {"7b decode1": 0.6, "7b sft": 0.45}
"""Shares of the bound that are aimed at, by model and job: of the measured bandwidth's, and of the measured matrix rate's."""


def architecture(name: str) -> Any:
    """The model's architecture, read as a Hugging Face configuration."""
    from solon.models.load import family
    from solon.models.shapes import PUBLISHED

    config = {"135m": PUBLISHED["smollm2-135m"], "270m": GEMMA_270M, "7b": PUBLISHED["gemma-7b"], "tiny": TINY}[name]
    return family(config["model_type"]).architecture(config)


def tensors(arch: Any) -> Any:
    """Hugging Face names and random float32 arrays, one made at a time: normal with deviation 0.02, norms at their identity."""
    import numpy as np

    from solon.core.keys import rng
    from solon.core.weights import is_weight, named
    from solon.models.architecture import spec
    from solon.models.load import family

    names = family({"gemma": "gemma", "llama": "llama"}[arch.family]).names(arch)
    for path, w in named(spec(arch), is_leaf=is_weight).items():
        rows, columns = (int(np.prod([arch.sizes[axis] for axis in axes])) for axes in (w.ins, w.outs))
        turned = bool(w.ins) and w.ins != ("vocab",)
        shape = ((columns, rows) if turned else (rows, columns)) if w.ins else (columns,)
        for layer in range(arch.layers) if w.stacked else [None]:
            draw = rng("gpu bench", path, layer or 0)
            if w.ins:
                yield names[path].format(layer), 0.02 * draw.standard_normal(shape, np.float32)
            else:
                yield names[path].format(layer), np.full(shape, 1.0 - arch.norm_offset, np.float32)
