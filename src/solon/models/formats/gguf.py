"""GGUF, the single-file format of llama.cpp: header, metadata, and (usually quantised) tensors."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solon.core.errors import MissingError, ModelError
from solon.models.formats import Checkpoint, LazyTensors
from solon.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np

STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""GGUF value types and their `struct` letters."""


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies: `shape` is numpy's (slowest first), `start` and `size` are bytes of the file."""

    shape: tuple[int, ...]
    kind: int
    start: int
    size: int


@dataclass(frozen=True)
class File:
    """An opened GGUF: its metadata and its tensors by GGUF name."""

    path: Path
    fields: dict[str, Any]
    tensors: dict[str, Tensor]

    def array(self, name: str) -> np.ndarray:
        """One tensor, dequantised to float32. Raises `ModelError` for a quantisation that cannot be read."""
        import numpy as np
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        tensor = self.tensors[name]
        raw = np.memmap(self.path, dtype=np.uint8, mode="r", offset=tensor.start, shape=(tensor.size,))
        kind = GGMLQuantizationType(tensor.kind)
        try:
            values = dequantize(np.asarray(raw).reshape(-1, tensor.size // _rows(tensor.shape)), kind)
        except NotImplementedError as error:
            raise ModelError(f"tensor {name} has a quantisation that Solon cannot read", got=kind.name) from error
        return np.array(values, dtype=np.float32).reshape(tensor.shape)


def _rows(shape: tuple[int, ...]) -> int:
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows


class _Cursor:
    """Reads the header value by value and says clearly when the file ends too early."""

    def __init__(self, path: Path, data: mmap.mmap):
        self.path, self.data, self.place = path, data, 0

    def take(self, count: int) -> int:
        """Move on by `count` bytes and give the place before."""
        start, self.place = self.place, self.place + count
        if count < 0 or self.place > len(self.data):
            raise _truncated(self.path, f"{len(self.data)} bytes", f"at least {self.place}")
        return start

    def scalar(self, letter: str) -> Any:
        return struct.unpack_from("<" + letter, self.data, self.take(struct.calcsize("<" + letter)))[0]

    def text(self) -> str:
        size = self.scalar("Q")
        start = self.take(size)
        try:
            return self.data[start : start + size].decode("utf-8")
        except UnicodeDecodeError as error:
            raise ModelError(f"{self.path.name} is damaged: a name is not UTF-8", got=error) from error

    def value(self, type: int, depth: int = 0) -> Any:
        if type in SCALARS:
            return self.scalar(SCALARS[type])
        if type == STRING:
            return self.text()
        if type == ARRAY and depth < 4:
            return self._array(depth)
        raise ModelError(f"{self.path.name} is damaged", got=f"value type {type}", expected="0 to 12")

    def _array(self, depth: int) -> list[Any]:
        inner, count = self.scalar("I"), self.scalar("Q")
        if inner in SCALARS:
            letters = f"<{count}{SCALARS[inner]}"
            start = self.take(count * struct.calcsize("<" + SCALARS[inner]))
            return list(struct.unpack_from(letters, self.data, start))
        if count > len(self.data):
            raise _truncated(self.path, f"{len(self.data)} bytes", f"{count} array items")
        return [self.value(inner, depth + 1) for _ in range(count)]


def _truncated(path: Path, got: str, expected: str) -> ModelError:
    return ModelError(
        f"{path.name} is cut short or damaged", got=got, expected=expected, fix="fetch the file again, then retry"
    )


def open_file(path: str | Path) -> File:
    """Read the header. Every tensor is checked to lie inside the file, so a cut file fails here, not halfway."""
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"no file at {path}")
    if path.stat().st_size < 24:
        raise _truncated(path, f"{path.stat().st_size} bytes", "at least 24")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cursor = _Cursor(path, data)
        magic = data[cursor.take(4) : 4]
        if magic != b"GGUF":
            raise ModelError(f"{path.name} is not a GGUF file", got=magic, expected=b"GGUF")
        version = cursor.scalar("I")
        if version not in (2, 3):
            raise ModelError(f"{path.name} has a GGUF version that cannot be read", got=version, expected="2 or 3")
        tensor_count, field_count = cursor.scalar("Q"), cursor.scalar("Q")
        fields = {}
        for _ in range(field_count):
            key = cursor.text()
            fields[key] = cursor.value(cursor.scalar("I"))
        return File(path, fields, _tensor_table(cursor, tensor_count, int(fields.get("general.alignment", 32))))


def _tensor_table(cursor: _Cursor, count: int, alignment: int) -> dict[str, Tensor]:
    rows = []
    for _ in range(count):
        name, ranks = cursor.text(), cursor.scalar("I")
        if ranks > 8:
            raise ModelError(f"{cursor.path.name} is damaged", got=f"{ranks} dimensions", expected="at most 8")
        sizes = tuple(cursor.scalar("Q") for _ in range(ranks))
        rows.append((name, sizes[::-1], cursor.scalar("I"), cursor.scalar("Q")))
    base = -(-cursor.place // max(alignment, 1)) * max(alignment, 1)
    table = {name: Tensor(shape, kind, base + offset, _bytes(name, shape, kind)) for name, shape, kind, offset in rows}
    end = max((tensor.start + tensor.size for tensor in table.values()), default=0)
    if end > len(cursor.data):
        raise _truncated(cursor.path, f"{len(cursor.data)} bytes", f"{end}, as its header says")
    return table


def _bytes(name: str, shape: tuple[int, ...], kind: int) -> int:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError) as error:
        raise ModelError(f"tensor {name} has an unknown type", got=kind) from error
    if not shape or shape[-1] % block:
        raise ModelError(f"tensor {name} is damaged", got=f"shape {shape}", expected=f"rows in blocks of {block}")
    return _rows(shape) * (shape[-1] // block) * size


def read(path: str | Path) -> Checkpoint:
    """A GGUF file as a `Checkpoint`. Raises `ModelError` for damage or an architecture that is not known."""
    from solon.models.formats.gguf_names import hf_config, hf_tensors

    file = open_file(path)
    config = hf_config(file)
    readers: dict[str, Callable[[], np.ndarray]] = {}
    shapes = {}
    for name, (source, change) in hf_tensors(file, config).items():
        readers[name] = lambda source=source, change=change: change(file.array(source))  # type: ignore[misc]
        shapes[name] = file.tensors[source].shape
    tokenizer = Tokenizer.from_gguf(file.fields)
    for name in ("bos", "eos", "pad"):
        config[f"{name}_token_id"] = getattr(tokenizer, name)
    licence = str(file.fields.get("general.license", "gemma" if "gemma" in config["model_type"] else "unknown"))
    return Checkpoint(config, LazyTensors(readers, shapes), tokenizer, licence, (file.path,))
