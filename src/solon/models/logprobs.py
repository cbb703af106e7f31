"""Log-probabilities of given tokens without ever holding `[tokens, vocabulary]`.

The derivative of log p(target) by the hidden state is `table[target] - softmax . table`, one vector per token, so the
forward pass keeps just that and any loss built on log-probabilities is exact. The table's own gradient (full
fine-tuning) is recomputed chunk by chunk in the backward pass and costs nothing when nobody asks for it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from solon.core.dense import merged
from solon.core.weights import Tree
from solon.models.architecture import Architecture
from solon.models.block import hidden
from solon.text.batches import Batch

CHUNK = 512


def token_logprobs(arch: Architecture, params: Tree, hidden_nd: jax.Array, targets_n: jax.Array) -> jax.Array:
    """log p(targets) in nats, `[n]` float32, from final hidden states `[n d]`."""
    count = hidden_nd.shape[0]
    size = min(CHUNK, count)
    spare = -count % size
    h = jnp.pad(hidden_nd, ((0, spare), (0, 0)))
    targets = jnp.pad(targets_n, (0, spare))
    table = merged(params["embed"]) if arch.tied else merged(params["unembed"]).T
    return _logprobs(arch.final_softcap, size, h, table, targets)[:count]


def scored(arch: Architecture, params: Tree, batch: Batch, remat: bool = False) -> jax.Array:
    """Log-probabilities (nats) of the scored tokens of a packed batch, `[n]` float32; filling has some number."""
    return token_logprobs(arch, params, states(arch, params, batch, remat), jnp.asarray(batch.target_n))


def states(arch: Architecture, params: Tree, batch: Batch, remat: bool = False) -> jax.Array:
    """Final hidden states at the scored places of a packed batch, `[n d]`."""
    h = hidden(
        arch, params, jnp.asarray(batch.tokens_bt), positions_bt=jnp.asarray(batch.positions_bt),
        segments_bt=jnp.asarray(batch.segments_bt), remat=remat, parts=4,
    )  # fmt: skip
    return h.reshape(-1, h.shape[-1])[batch.place_n]


def _product(x: jax.Array, y: jax.Array, over: tuple[int, int]) -> jax.Array:
    dims = (((over[0],), (over[1],)), ((), ()))
    return jax.lax.dot_general(x.astype(y.dtype), y, dims, preferred_element_type=jnp.float32)


def _scores(softcap: float, h: jax.Array, table: jax.Array) -> tuple[jax.Array, jax.Array | float]:
    """Logits of a chunk and the slope of the cap at each of them."""
    raw = _product(h, table, (1, 1))
    if not softcap:
        return raw, 1.0
    bent = jnp.tanh(raw / softcap)
    return bent * softcap, 1 - bent * bent


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _logprobs(softcap: float, size: int, h: jax.Array, table: jax.Array, targets: jax.Array) -> jax.Array:
    return _forward(softcap, size, h, table, targets)[0]


def _forward(softcap: float, size: int, h: jax.Array, table: jax.Array, targets: jax.Array) -> tuple[jax.Array, Any]:
    def chunk(_: None, xs: tuple[jax.Array, jax.Array]) -> tuple[None, tuple[jax.Array, jax.Array]]:
        hc, tc = xs
        scores, slope = _scores(softcap, hc, table)
        top = scores.max(-1, keepdims=True)
        raised = jnp.exp(scores - top)
        total = raised.sum(-1, keepdims=True)
        picked = jnp.take_along_axis(scores, tc[:, None], -1)
        logp = (picked - top - jnp.log(total))[:, 0]
        if softcap:
            hot = jax.nn.one_hot(tc, table.shape[0]) * slope
            return None, (logp, _product(hot - raised / total * slope, table, (1, 0)))
        toward = table[tc].astype(jnp.float32)
        return None, (logp, toward - _product(raised, table, (1, 0)) / total)

    _, (logp, toward) = jax.lax.scan(chunk, None, (h.reshape(-1, size, h.shape[1]), targets.reshape(-1, size)))
    return logp.reshape(-1), (toward.reshape(h.shape), h, table, targets)


def _backward(softcap: float, size: int, saved: Any, g: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    toward, h, table, targets = saved

    def chunk(total: jax.Array, xs: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        hc, tc, gc = xs
        scores, slope = _scores(softcap, hc, table)
        away = (jax.nn.one_hot(tc, table.shape[0]) - jax.nn.softmax(scores)) * slope * gc[:, None]
        return total + _product(away.T, hc, (1, 0)), None

    parts = (h.reshape(-1, size, h.shape[1]), targets.reshape(-1, size), g.reshape(-1, size))
    dtable, _ = jax.lax.scan(chunk, jnp.zeros(table.shape, jnp.float32), parts)
    return toward * g[:, None], dtable.astype(table.dtype), None


_logprobs.defvjp(_forward, _backward)
