"""Taps: named points of the one real forward at which activations can be kept or edited.

Points: embed, resid_pre, attn_q, attn_k, attn_v, pattern, attn_out, resid_mid, mlp_hidden, mlp_out, resid_post, logits.
With nothing kept and nothing edited the compiled program is the same as without taps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from solon.core.errors import MissingError, nearest

BLOCK_POINTS = (
    "resid_pre", "attn_q", "attn_k", "attn_v", "pattern", "attn_out", "resid_mid", "mlp_hidden", "mlp_out", "resid_post",
)  # fmt: skip
POINTS = ("embed", *BLOCK_POINTS, "logits")

Edit = Callable[[Any, jax.Array], jax.Array]


@dataclass
class Taps:
    """`Taps(keep={"resid_post"})` or `Taps(edit={"resid_post": lambda layer, x: ...})`.

    Block points are kept stacked `[layers, ...]`; an edit gets `(layer, x)` with the layer as a traced integer.
    """

    keep: frozenset[str] = frozenset()
    edit: Mapping[str, Edit] = field(default_factory=dict)
    layer: Any = None
    seen: dict[str, jax.Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keep = frozenset(self.keep)
        for point in (*self.keep, *self.edit):
            if point not in POINTS:
                raise MissingError(f"no tap point is called {point!r}", fix=nearest(point, POINTS))

    @property
    def pattern_wanted(self) -> bool:
        return "pattern" in self.keep or "pattern" in self.edit

    def at(self, layer: Any) -> Taps:
        return replace(self, layer=layer, seen={})

    def __call__(self, name: str, x: jax.Array) -> jax.Array:
        if name in self.edit:
            x = self.edit[name](self.layer, x)
        if name in self.keep:
            self.seen[name] = x
        return x


NO_TAPS = Taps()
