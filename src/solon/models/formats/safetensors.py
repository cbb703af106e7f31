"""A Hugging Face folder: config.json, one or several safetensors files, and the tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solon.core.errors import MissingError, ModelError, StorageError
from solon.models.formats import Checkpoint, LazyTensors
from solon.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np

INDEX = "model.safetensors.index.json"


def read(folder: str | Path) -> Checkpoint:
    """A folder as a `Checkpoint`. Raises `ModelError` for a damaged file, a missing shard, or pickled weights only."""
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingError(f"no folder at {folder}")
    config = _object(folder / "config.json")
    if config.get("quantization_config"):
        kind = config["quantization_config"].get("quant_method")
        raise ModelError(f"{folder.name} holds quantised weights", got=kind, expected="float32, float16 or bfloat16")
    files = _files(folder)
    readers: dict[str, Callable[[], np.ndarray]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        for name, shape in tensor_shapes(file).items():
            if name in readers:
                raise ModelError(f"two files of {folder.name} hold one tensor", got=name)
            readers[name] = lambda file=file, name=name: tensor(file, name)  # type: ignore[misc]
            shapes[name] = shape
    _check_index(folder, shapes)
    return Checkpoint(
        config, LazyTensors(readers, shapes), Tokenizer.from_folder(folder), _licence(folder), tuple(files)
    )


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor, from the header alone. Raises `ModelError` for a damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{file.name} is cut short or damaged", got=error, fix="fetch the file again") from error


def metadata(file: Path) -> dict[str, str]:
    """What the header says beside the tensors. Raises `ModelError` for a damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            return dict(opened.metadata() or {})
    except SafetensorError as error:
        raise ModelError(f"{file.name} is cut short or damaged", got=error, fix="fetch the file again") from error


def tensor(file: Path, name: str) -> np.ndarray:
    """One tensor as float32 (integers stay what they are)."""
    import ml_dtypes  # noqa: F401  (numpy knows bfloat16 only once this is imported)
    import numpy as np
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as opened:
        array = opened.get_tensor(name)
    whole = array.dtype.kind in "iub"
    return array if whole else array.astype(np.float32, copy=False)


def _files(folder: Path) -> list[Path]:
    if (folder / INDEX).exists():
        names = sorted(set(_object(folder / INDEX).get("weight_map", {}).values()))
        for name in names:
            # The index comes from somebody else: a shard lies beside it and nowhere else.
            if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+\.safetensors", name):
                raise ModelError(f"{INDEX} names a file outside its folder", got=name)
            if not (folder / name).is_file():
                raise ModelError(f"{folder.name} lacks a part of its weights", got=f"no {name}", fix="fetch it again")
    else:
        names = sorted(path.name for path in folder.glob("*.safetensors"))
        if "model.safetensors" in names:
            names = ["model.safetensors"]
    if not names:
        pickled = [path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern)]
        raise ModelError(
            f"no safetensors in {folder}",
            got=f"pickled weights, which can run code: {pickled[0]}" if pickled else None,
            expected="model.safetensors, or " + INDEX,
            fix="convert them where they are trusted" if pickled else "give the folder of a model",
        )
    return [folder / name for name in names]


def _check_index(folder: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    if (folder / INDEX).exists():
        missing = sorted(set(_object(folder / INDEX).get("weight_map", {})) - set(shapes))
        if missing:
            raise ModelError(f"{folder.name} lacks {len(missing)} tensors of its index", got=f"no {missing[0]}")


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(f"no {path.name} in {path.parent}", fix="give the folder of a whole Hugging Face model")
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{path.name} is not JSON", got=error, fix="fetch the file again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} does not hold a JSON object", got=type(value).__name__)
    return value


def _licence(folder: Path) -> str:
    """The `license:` of the model card's header; `unknown` if there is none."""
    card = folder / "README.md"
    if card.is_file():
        found = re.search(r"\A---\n(?:.*\n)*?license:[ \t]*([\w.+-]+)", card.read_text("utf-8", "replace"))
        if found:
            return found[1].lower()
    return "unknown"


DTYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
SHARD = 5_000_000_000
"""Bytes of weights after which a new file begins, as Hugging Face cuts them."""


def write(
    folder: Path, config: Mapping[str, Any], tensors: LazyTensors, tokenizer: Tokenizer, kind: str = "f32", shard: int = SHARD,
) -> None:  # fmt: skip
    """Write the folder that `read` reads and transformers loads: config, weights in files of at most `shard` bytes,
    tokenizer with its chat template, and which tokens end a reply."""
    ends = sorted(tokenizer.stop_ids, key=lambda id: (id != tokenizer.eos, id))
    ids = {"bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.eos, "pad_token_id": tokenizer.pad}
    _write_object(folder / "config.json", {**config, **ids, "dtype": DTYPES[kind]})
    _write_object(folder / "generation_config.json", {**ids, "eos_token_id": ends[0] if len(ends) == 1 else ends or None})
    write_weights(folder, tensors, kind, shard)
    write_tokenizer(folder, tokenizer)


def write_weights(folder: Path, tensors: LazyTensors, kind: str, shard: int) -> None:
    """One `model.safetensors`, or several and their index."""
    width = 4 if kind == "f32" else 2
    bytes_of = {name: width * prod(shape) for name, shape in tensors.shapes.items()}
    shards: list[list[str]] = [[]]
    for name in tensors:
        if shards[-1] and sum(bytes_of[one] for one in shards[-1]) + bytes_of[name] > shard:
            shards.append([])
        shards[-1].append(name)
    if len(shards) == 1:
        save(folder / "model.safetensors", {name: tensors[name] for name in tensors}, kind)
        return
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        save(folder / file, {name: tensors[name] for name in names}, kind)
        weight_map |= dict.fromkeys(names, file)
    _write_object(folder / INDEX, {"metadata": {"total_size": sum(bytes_of.values())}, "weight_map": weight_map})


def save(path: Path, arrays: Mapping[str, np.ndarray], kind: str = "f32", metadata: Mapping[str, str] | None = None) -> None:
    """Write one file. Raises `ModelError` for numbers that the type cannot hold, `StorageError` for a full disk."""
    import ml_dtypes
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    dtype = ml_dtypes.bfloat16 if kind == "bf16" else np.dtype(DTYPES[kind])
    stored = {name: np.ascontiguousarray(finite(name, array, kind), dtype) for name, array in arrays.items()}
    try:
        save_file(stored, path, metadata={"format": "pt", **(metadata or {})})
    except (SafetensorError, OSError) as error:
        raise StorageError(f"{path.name} could not be written", got=error, fix="free some space, then retry") from error


def finite(name: str, array: np.ndarray, kind: str) -> np.ndarray:
    """The array, after a look whether every number is one and none is beyond float16."""
    import numpy as np

    largest = float(np.abs(array).max(initial=0.0))
    if not np.isfinite(largest):
        raise ModelError(f"the tensor {name!r} holds a number that is not finite", fix="the model is damaged; nothing was written")
    if kind in ("f16", "q8_0") and largest > 65504:
        raise ModelError(f"the tensor {name!r} is beyond the range of float16", got=largest, expected=65504, fix="use --type f32")
    return array


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """The tokenizer's three files. Most programs look for the chat template in `tokenizer_config.json`, newer ones in a
    file of its own, so it stands in both; and where texts begin with BOS, `tokenizer.json` says so."""
    tokenizer.save(folder)
    settings = _object(folder / "tokenizer_config.json")
    if tokenizer.template is not None:
        _write_object(folder / "tokenizer_config.json", {**settings, "chat_template": tokenizer.template})
    layout = _object(folder / "tokenizer.json")
    if tokenizer.add_bos and tokenizer.bos is not None and layout.get("post_processor") in (None, {"type": "ByteLevel"}):
        token = tokenizer.token(tokenizer.bos)
        first, second = ({"Sequence": {"id": name, "type_id": type}} for type, name in enumerate("AB"))
        mark = {"SpecialToken": {"id": token, "type_id": 0}}
        layout["post_processor"] = {
            "type": "TemplateProcessing", "single": [mark, first], "pair": [mark, first, second],
            "special_tokens": {token: {"id": token, "ids": [tokenizer.bos], "tokens": [token]}},
        }  # fmt: skip
        (folder / "tokenizer.json").write_text(json.dumps(layout, ensure_ascii=False), "utf-8")


def _write_object(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
