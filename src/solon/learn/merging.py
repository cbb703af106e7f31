"""Adapters over a quantised base: what it costs to merge and round again, or to leave that base for another one, is measured
before it is accepted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.dense import dense, merge
from solon.core.errors import ModelError
from solon.core.quantise import BLOCKS, KINDS, forms, quantise
from solon.core.weights import Tree
from solon.learn.objectives.distill import divergence
from solon.models.architecture import Architecture, spec
from solon.models.block import hidden, unembedding

LIMIT = 0.01
"""Nats a token: 300 sampled tokens then tell the two models apart with odds of 20 to 1 (exp(300 * 0.01))."""


@dataclass(frozen=True)
class Cost:
    """KL(before || after) in nats a token over `n` tokens, with a 95 % interval over rows, and the share of places at which
    the most likely token is still the same."""

    kl: float
    low: float
    high: float
    same: float
    n: int

    def __str__(self) -> str:
        return f"{self.kl:.2g} nats a token [{self.low:.2g}, {self.high:.2g}], n={self.n} tokens"


@partial(jax.jit, static_argnums=0)
def _compared(arch: Architecture, before: Tree, after: Tree, tokens_bt: jax.Array) -> tuple[jax.Array, jax.Array]:
    """KL and equal argmax at every place, `[b t]`."""
    states = [hidden(arch, params, tokens_bt).reshape(-1, arch.embed) for params in (before, after)]
    tables = [unembedding(arch, params) for params in (before, after)]
    kl = divergence(arch, tables[1], states[1], arch, tables[0], states[0])
    best = [jnp.argmax(dense(h, table), -1) for h, table in zip(states, tables, strict=True)]
    return kl.reshape(tokens_bt.shape), (best[0] == best[1]).reshape(tokens_bt.shape)


def cost(arch: Architecture, before: Tree, after: Tree, tokens_bt: np.ndarray) -> Cost:
    """What changes between two forms of a model, measured on unpadded rows of tokens `[b t]`, one row at a time.

    The interval is the normal one over the rows' means; a single row gives none, and then it is infinitely wide.
    """
    rows = [_compared(arch, before, after, jnp.asarray(row[None])) for row in tokens_bt]
    kl = np.array([np.asarray(row[0], np.float64).mean() for row in rows])
    half = 1.96 * kl.std(ddof=1) / len(kl) ** 0.5 if len(kl) > 1 else np.inf
    same = float(np.mean([np.asarray(row[1]).mean() for row in rows]))
    return Cost(float(kl.mean()), float(max(kl.mean() - half, 0.0)), float(kl.mean() + half), same, int(np.size(tokens_bt)))


def merge_quantised(
    arch: Architecture, params: Tree, tokens_bt: np.ndarray, *, kind: str | None = None, limit: float | None = LIMIT,
    where: str = BLOCKS,
) -> tuple[Tree, Cost]:  # fmt: skip
    """Merge all adapters and quantise the result as `kind`, or as the base is.

    Raises `ModelError` where it costs more than `limit` nats a token on `tokens_bt`; None accepts any cost.
    """
    kind = kind or base_form(params)
    if kind is None:
        raise ModelError("the base is not quantised", expected=" or ".join(KINDS), fix="say the kind, or merge without quantising")
    after = quantise(spec(arch), merge(params), kind, where)
    paid = cost(arch, params, after, tokens_bt)
    fix = "keep the adapter beside the base, merge into a wider type, or accept the cost with a higher limit"
    return after, within(paid, limit, f"merging and rounding to {kind} changes the model too much", fix)


def within(paid: Cost, limit: float | None, what: str, fix: str) -> Cost:
    """The cost itself. Raises `ModelError` (`what`, `fix`) above `limit` nats a token; None accepts any, but not a NaN."""
    if not paid.kl <= (np.inf if limit is None else limit):
        expected = "a number" if limit is None else f"at most {limit:g} nats a token"
        raise ModelError(what, got=paid, expected=expected, fix=fix)
    return paid


def base_form(params: Tree) -> str | None:
    """How the base below a model's adapters is quantised: `int8`, `int4`, or None for plain weights. Raises `ModelError` if
    not in one way."""
    found = forms(params)
    if len(found) > 1:
        raise ModelError("the base is not quantised in one way", got=" and ".join(found), expected="one of them", fix="quantise it in one way")
    return found[0] if found else None
