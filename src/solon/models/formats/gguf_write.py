"""Writing GGUF as llama.cpp's own converter does: names, layouts and settings of a whole model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solon.core.errors import ModelError, StorageError
from solon.models.architecture import Architecture, rope_frequencies
from solon.models.formats import LazyTensors
from solon.models.formats.gguf_names import FOUR_NORMS, LAYER, TOP
from solon.models.formats.gguf_vocabulary import vocabulary
from solon.models.formats.safetensors import finite
from solon.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np

KINDS = {"f32": "F32", "bf16": "BF16", "f16": "F16", "q8_0": "Q8_0"}
FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7, "bf16": 32}
"""llama.cpp's numbers for what most of a file's tensors are."""


def gguf_arch(config: Mapping[str, Any]) -> str:
    """llama.cpp's name of the architecture; Mistral is a Llama to it."""
    return {"gemma3_text": "gemma3", "mistral": "llama"}.get(config["model_type"], config["model_type"])


def gguf_name(config: Mapping[str, Any], name: str) -> str:
    """The GGUF name of a Hugging Face tensor or module."""
    arch = gguf_arch(config)
    top = {"lm_head.weight": "output.weight", **{theirs: ours for ours, theirs in TOP.items()}}
    if name in top:
        return top[name]
    layer_names = {theirs: ours for ours, theirs in (FOUR_NORMS if arch in ("gemma2", "gemma3") else LAYER).items()}
    match = re.fullmatch(r"model\.layers\.(\d+)\.([\w.]+?)(\.weight|\.bias)?", name)
    if not match or match[2] not in layer_names:
        raise ModelError("GGUF has no name for this tensor", got=name)
    return f"blk.{match[1]}.{layer_names[match[2]]}{match[3] or ''}"


def interleave(array: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k from Hugging Face's order (rotated pairs half a head apart) to llama.cpp's (adjacent)."""
    half = array.shape[0] // heads // 2
    return array.reshape(heads, 2, half, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def as_stored(config: Mapping[str, Any], name: str, array: np.ndarray) -> np.ndarray:
    """What the converter does to one array (its `permute`, and 1 + weight for Gemma's norms)."""
    arch = gguf_arch(config)
    if arch == "llama" and "q_proj" in name:
        return interleave(array, config["num_attention_heads"])
    if arch == "llama" and "k_proj" in name:
        return interleave(array, config["num_key_value_heads"])
    if arch.startswith("gemma") and name.endswith("norm.weight"):
        return array + 1.0
    return array


def settings(arch: Architecture, config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that llama.cpp computes by, without the name of the architecture in front."""
    out: dict[str, Any] = {
        "block_count": arch.layers,
        "context_length": arch.context,
        "embedding_length": arch.embed,
        "feed_forward_length": arch.mlp,
        "vocab_size": arch.vocab,
        "attention.head_count": arch.heads,
        "attention.head_count_kv": arch.kv_heads,
        "attention.key_length": arch.head_dim,
        "attention.value_length": arch.head_dim,
        "attention.layer_norm_rms_epsilon": float(arch.norm_eps),
        "rope.freq_base": float(arch.rope_base),
        "rope.dimension_count": arch.head_dim,
    }
    if arch.rope_scaling and arch.rope_scaling.kind == "linear":
        out |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(arch.rope_scaling.factor)}
    if arch.family == "gemma" and arch.window:
        out["attention.sliding_window"] = arch.window
    if gguf_arch(config) == "gemma2":
        caps = {"attn_logit_softcapping": arch.attn_softcap, "final_logit_softcapping": arch.final_softcap}
        out |= {name: float(value) for name, value in caps.items() if value}
    return out


def write(
    path: Path, arch: Architecture, config: Mapping[str, Any], tensors: LazyTensors, tokenizer: Tokenizer, kind: str = "f32",
    name: str = "", licence: str = "",
) -> None:  # fmt: skip
    """Write one file that llama.cpp loads. Matrices get the type `kind`, vectors float32, as its converter does; a row
    that Q8_0's blocks of 32 do not divide becomes float16. Tensors are read and written one by one."""
    fields: dict[str, Any] = {"general.type": "model", "general.name": name, "general.file_type": FILE_TYPES[kind]}
    fields |= {"general.license": licence, "general.quantization_version": 2}
    fields |= {f"{gguf_arch(config)}.{key}": value for key, value in settings(arch, config).items()}
    fields |= vocabulary(tokenizer, arch.vocab)
    readers: dict[str, Callable[[], np.ndarray]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for theirs in tensors:
        ours = gguf_name(config, theirs)
        readers[ours] = lambda theirs=theirs: as_stored(config, theirs, finite(theirs, tensors[theirs], kind))  # type: ignore[misc]
        shapes[ours] = tensors.shapes[theirs]
    if arch.rope_scaling and arch.rope_scaling.kind == "llama3":
        divisors = rope_frequencies(arch.head_dim, arch.rope_base, None) / rope_frequencies(arch.head_dim, arch.rope_base, arch.rope_scaling)
        readers["rope_freqs.weight"], shapes["rope_freqs.weight"] = (lambda: divisors), divisors.shape
    write_file(path, gguf_arch(config), fields, LazyTensors(readers, shapes), kind)


def write_file(path: Path, arch: str, fields: Mapping[str, Any], tensors: LazyTensors, kind: str) -> None:
    """Header, fields, and the tensors one by one. Raises `StorageError` for a full disk."""
    import numpy as np
    from gguf import GGUFWriter
    from gguf.quants import quantize

    writer = GGUFWriter(path, arch)
    types = {name: _type(shape, kind) for name, shape in tensors.shapes.items()}
    try:
        for key, value in fields.items():
            _add(writer, key, value)
        for name, shape in tensors.shapes.items():
            writer.add_tensor_info(name, shape, np.dtype(np.float32), _bytes(shape, types[name]), types[name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name in tensors:
            writer.write_tensor_data(quantize(np.ascontiguousarray(tensors[name], np.float32), types[name]))
        writer.close()
    except OSError as error:
        raise StorageError(f"{path.name} could not be written", got=error, fix="free some space, then retry") from error


def _type(shape: tuple[int, ...], kind: str) -> Any:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if len(shape) < 2:
        return GGMLQuantizationType.F32
    wanted = GGMLQuantizationType[KINDS[kind]]
    return GGMLQuantizationType.F16 if shape[-1] % GGML_QUANT_SIZES[wanted][0] else wanted


def _bytes(shape: tuple[int, ...], type: Any) -> int:
    from gguf import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[type]
    return prod(shape) // block * size


def _add(writer: Any, key: str, value: Any) -> None:
    """One field, in the type that llama.cpp expects of a Python value of this kind."""
    if key == "general.architecture":
        return
    adders = {bool: "add_bool", int: "add_uint32", float: "add_float32", str: "add_string", list: "add_array"}
    getattr(writer, adders[type(value)])(key, value)
