"""From a text to features: MiniLM's layers, or a language model's own hidden states.

A long text is read in windows, each with features of its own, up to `WINDOWS` of them; what lies behind is not read, and
the reading says so. Every window is computed alone, so that no text's features depend on another's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from solon.core.bits import sliceable
from solon.core.errors import ConfigError, ModelError
from solon.core.taps import Taps
from solon.core.weights import Tree
from solon.models.architecture import Architecture
from solon.models.block import causal_attend, compute_dtype, run

if TYPE_CHECKING:
    from solon.models.encoders.minilm import Encoder
    from solon.models.load import Model

WINDOWS = 8
MODEL_WINDOW = 256
LENGTHS = (16, 32, 64, 128, MODEL_WINDOW)


@dataclass(frozen=True)
class Reading:
    """A text's features `[windows, width]` float32, and whether its end was not read."""

    features: NDArray[np.float32]
    truncated: bool


class Reader(Protocol):
    """Reads one text. `digest` names the weights, and with `settings` all that the features depend on."""

    name: str
    digest: str

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def read(self, text: str) -> Reading: ...


class SentenceReader:
    """The mean hidden states of some of MiniLM's layers."""

    def __init__(self, encoder: Encoder, layers: tuple[int, ...] = (2, 4, 6)):
        self.encoder, self.layers = encoder, tuple(layers)
        self.name, self.digest = encoder.name, encoder.digest
        if not self.layers or not all(0 <= layer <= encoder.arch.layers for layer in self.layers):
            raise ConfigError("these layers do not exist", got=self.layers, expected=f"some of 0 to {encoder.arch.layers}")

    @property
    def settings(self) -> dict[str, Any]:
        return {"layers": list(self.layers), "windows": WINDOWS}

    def read(self, text: str) -> Reading:
        cut = self.encoder.windows(text, WINDOWS)
        rows = [self.encoder.layers(ids)[list(self.layers)].reshape(-1) for ids in cut.ids]
        return Reading(np.stack(rows), cut.truncated)


class ModelReader:
    """The mean over tokens of a language model's residual stream after one layer (half-way up, unless told).

    The text is read as it is, without a chat template."""

    def __init__(self, model: Model, layer: int | None = None):
        self.model = model
        self.layer = model.arch.layers // 2 if layer is None else layer
        self.name, self.digest = model.name, model.fingerprint
        self.window = min(MODEL_WINDOW, model.arch.context)
        if not 0 <= self.layer < model.arch.layers:
            raise ConfigError("this layer does not exist", got=self.layer, expected=f"0 to {model.arch.layers - 1}")
        # The layers above are cut off: they would be computed for nothing.
        depth = self.layer + 1
        self._arch = replace(model.arch, layers=depth, local_layers=model.arch.local_layers[:depth])
        self._params = sliceable({**model.params, "blocks": jax.tree.map(lambda w: w[:depth], model.params["blocks"])})

    @property
    def settings(self) -> dict[str, Any]:
        return {"layer": self.layer, "windows": WINDOWS}

    def read(self, text: str) -> Reading:
        ids = self.model.tokenizer.encode(text)
        if not ids:  # an empty text, and no mark at its beginning
            ids = [next(i for i in (self.model.tokenizer.bos, self.model.tokenizer.eos, 0) if i is not None)]
        cut = [ids[start : start + self.window] for start in range(0, len(ids), self.window)]
        return Reading(np.stack([self.tokens(part).mean(0) for part in cut[:WINDOWS]]), len(cut) > WINDOWS)

    def tokens(self, ids: list[int]) -> NDArray[np.float32]:
        """The hidden state at each token of one window, `[tokens, d]` float32."""
        if not 0 < len(ids) <= self.window:
            raise ModelError("a window has the wrong length", got=len(ids), expected=f"1 to {self.window} tokens")
        length = next((n for n in LENGTHS if len(ids) <= n <= self.window), self.window)
        padded = np.zeros((1, length), np.int32)
        padded[0, : len(ids)] = ids  # attention looks back only, so what stands behind changes nothing
        return np.asarray(_hidden(self._arch, self._params, jnp.asarray(padded)))[: len(ids)]


@partial(jax.jit, static_argnums=0)
def _hidden(arch: Architecture, params: Tree, tokens_bt: jax.Array) -> jax.Array:
    positions = jnp.arange(tokens_bt.shape[1])[None]
    attend = causal_attend(arch, None, compute_dtype(params))
    seen = run(arch, params, tokens_bt, positions, attend, taps=Taps(keep=frozenset({"resid_post"})))[2]
    return seen["resid_post"][-1, 0]
