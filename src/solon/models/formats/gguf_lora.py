"""LoRA adapters as GGUF, as llama.cpp's convert_lora_to_gguf makes them, both ways."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solon.core.errors import ModelError
from solon.models.deltas import Delta, Deltas
from solon.models.formats import LazyTensors, gguf
from solon.models.formats.gguf_names import FOUR_NORMS, LAYER, rotate_half
from solon.models.formats.gguf_write import FILE_TYPES, as_stored, gguf_arch, gguf_name, write_file

if TYPE_CHECKING:
    import numpy as np


def write(
    path: Path, config: Mapping[str, Any], deltas: Deltas, kind: str = "f32", name: str = "", base: str = "", form: str | None = None
) -> None:
    """Write an adapter that llama.cpp puts on the GGUF of its base model (`config` is the base's; `form` says how that was
    quantised in training).

    llama.cpp multiplies by one alpha over each matrix's own rank; where that does not give a matrix's scale, `b` does.
    """
    alpha = next(iter(deltas.values())).scale * next(iter(deltas.values())).rank
    fields = {
        "general.type": "adapter", "general.name": name, "general.file_type": FILE_TYPES[kind], "adapter.type": "lora",
        "general.base_model.count": 1, "general.base_model.0.name": base, "adapter.lora.alpha": float(alpha),
    }  # fmt: skip
    fields |= {"solon.base_form": form} if form else {}  # llama.cpp passes over fields that it does not know
    arrays: dict[str, np.ndarray] = {}
    for module, delta in deltas.items():
        ours, scale = gguf_name(config, module), alpha / delta.rank
        b = delta.b if delta.scale == scale else delta.b * delta.b.dtype.type(delta.scale / scale)
        arrays |= {f"{ours}.weight.lora_a": delta.a, f"{ours}.weight.lora_b": as_stored(config, module, b)}
    tensors = LazyTensors({k: (lambda x=x: x) for k, x in arrays.items()}, {k: x.shape for k, x in arrays.items()})  # type: ignore[misc]
    write_file(path, gguf_arch(config), fields, tensors, kind)


def read(path: Path, config: Mapping[str, Any]) -> Deltas:
    """The adapter of a GGUF file for the model with this configuration. Raises `ModelError` for one of another kind."""
    file = gguf.open_file(path)
    got = (file.fields.get("general.architecture"), file.fields.get("adapter.type"))
    if got != (gguf_arch(config), "lora"):
        raise ModelError(f"{path.name} is no adapter for this model", got=got, expected=(gguf_arch(config), "lora"))
    alpha = float(file.fields["adapter.lora.alpha"])
    layer_names = FOUR_NORMS if gguf_arch(config) in ("gemma2", "gemma3") else LAYER
    out: Deltas = {}
    for name in file.tensors:
        match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight\.lora_(a|b)", name)
        if not match or match[2] not in layer_names:
            raise ModelError(f"{path.name} holds a tensor that is not known", got=name)
        if match[3] == "a":
            module = f"model.layers.{match[1]}.{layer_names[match[2]]}"
            a, b = file.array(name), file.array(name[:-1] + "b")
            heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(module.rpartition(".")[2])
            if gguf_arch(config) == "llama" and heads:
                b = rotate_half(b, config[heads])
            out[module] = Delta(a, b, alpha / a.shape[0])
    return out
