"""A Hugging Face folder: config.json, one or several safetensors files, and the tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solon.core.errors import MissingError, ModelError
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
