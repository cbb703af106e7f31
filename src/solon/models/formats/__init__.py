"""File formats of weights, all read into one `Checkpoint` with Hugging Face's names and layouts; never pickles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solon.core.errors import MissingError

if TYPE_CHECKING:
    import numpy as np

    from solon.text.tokenizer import Tokenizer


class LazyTensors(Mapping[str, "np.ndarray"]):
    """Tensors by name, each read from the file when it is asked for, and not kept."""

    def __init__(self, readers: Mapping[str, Callable[[], np.ndarray]], shapes: Mapping[str, tuple[int, ...]]):
        self._readers = dict(readers)
        self.shapes = dict(shapes)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._readers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    def __contains__(self, name: object) -> bool:
        return name in self._readers


@dataclass(frozen=True)
class Checkpoint:
    """A model as its file has it. `config` has the keys of Hugging Face's config.json; tensors come as float32."""

    config: dict[str, Any]
    tensors: Mapping[str, np.ndarray]
    tokenizer: Tokenizer
    licence: str
    files: tuple[Path, ...] = field(default=(), repr=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weight file; of several, SHA-256 over the lines `sha256  name`."""
        sums = [(sha256(path), path.name) for path in sorted(self.files)]
        if len(sums) == 1:
            return sums[0][0]
        return hashlib.sha256("".join(f"{sum}  {name}\n" for sum, name in sums).encode()).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: str | Path) -> Checkpoint:
    """Read a `.gguf` file or a folder of safetensors. Raises `MissingError` or `ModelError`."""
    path = Path(path)
    if not path.exists():
        raise MissingError(f"no model at {path}", fix="give a .gguf file, a folder, or a name that `hub.locate` knows")
    if path.is_file():
        from solon.models.formats import gguf

        return gguf.read(path)
    from solon.models.formats import safetensors

    return safetensors.read(path)
