"""Watching a text while it is being written: a linear probe on the model's hidden state at each token.

The token scores are smoothed by an exponential moving average. The head was fitted on means over whole texts; because it
is linear, the mean of the token logits is the text's logit, and the moving average is that mean with a short memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from solon.core.errors import ConfigError, DataError, ModelError
from solon.core.taps import Taps
from solon.core.weights import unstack
from solon.generate.cache import Pages, attend_cached, cache_dtype, empty
from solon.models.architecture import Architecture
from solon.models.block import compute_dtype, run
from solon.safety.head import HARM, Head

if TYPE_CHECKING:
    from solon.models.load import Model

ROOM = 64  # tokens by which the cache grows
HALF_LIFE = 12.0
"""Tokens after which a token's say in the average has halved."""


@dataclass
class Smoothed:
    """The moving average of a head's logits over the tokens seen so far, without a bias towards the start."""

    head: Head
    half_life: float = HALF_LIFE

    def __post_init__(self) -> None:
        if not self.half_life > 0:
            raise ConfigError("a half-life is a number of tokens above 0", got=self.half_life)
        self._keep = 0.5 ** (1 / self.half_life)
        self._sum = np.zeros(len(self.head.bias))
        self._weight = 0.0

    def update(self, hidden_d: NDArray[Any]) -> NDArray[np.float64]:
        """Take in the next token's hidden state `[d]`; gives the probability of each output, `[outputs]`."""
        logits = self.head.logits(np.asarray(hidden_d)[None])[0]
        self._sum = self._keep * self._sum + (1 - self._keep) * logits
        self._weight = self._keep * self._weight + (1 - self._keep)
        return self.head.probabilities((self._sum / self._weight)[None])[0]


class Watcher:
    """Reads tokens one by one with a cache, as a decoder draws them, and scores the text so far.

    `feed(ids)` gives the probability of harm after the last of them. It runs the model up to the probed layer only."""

    def __init__(self, model: Model, head: Head, half_life: float = HALF_LIFE):
        if head.facts.get("digest") != model.fingerprint:
            made_for = f"{head.facts.get('reader')} {str(head.facts.get('digest'))[:12]}"
            raise ModelError("the head was fitted on another model", got=f"{model.name} {model.fingerprint[:12]}", expected=made_for)
        self.model, self.layer = model, int(head.facts["settings"]["layer"])
        self.smoothed = Smoothed(head, half_life)
        # The layers above the probed one are not computed.
        self._params = {**model.params, "blocks": unstack(model.params["blocks"], self.layer + 1)}
        self._kind = cache_dtype(compute_dtype(self._params))
        self._pages = empty(model.arch, 1, ROOM, self._kind)[: self.layer + 1]
        self._place = 0

    def feed(self, ids: Sequence[int]) -> float:
        """The probability of harm once these tokens are read too; raises `DataError` beyond the model's context."""
        if not len(ids):
            raise DataError("nothing to read", expected="at least one token")
        for id in ids:
            p = self.smoothed.update(self._read(int(id)))
        return float(p[HARM])

    def _read(self, id: int) -> NDArray[np.float32]:
        arch = self.model.arch
        if self._place >= arch.context:
            raise DataError("the text is longer than the model's context", got=self._place + 1, expected=arch.context)
        if self._place >= self._pages[0].length:
            self._pages = [page.doubled() for page in self._pages]  # few programs, few copies
        hidden, self._pages = _step(arch, self._params, self._pages, jnp.int32(id), jnp.int32(self._place))
        self._place += 1
        return np.asarray(hidden)


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def _step(arch: Architecture, params: Any, pages: list[Pages], id: jax.Array, place: jax.Array) -> tuple[jax.Array, list[Pages]]:
    position = place[None, None]
    attend = attend_cached(arch, compute_dtype(params), position, jnp.int32(0), decoding=True)
    states = [(None, page) for page in pages]
    _, new, seen = run(arch, params, id[None, None], position, attend, states=states, taps=Taps(keep=frozenset({"resid_post"})))
    return seen["resid_post"][-1, 0, 0], new
