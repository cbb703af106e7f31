"""Reading instead of writing: log-probabilities of given texts, of options after a prompt, and hidden states of replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.bits import sliceable
from solon.core.dense import merge
from solon.core.errors import DataError
from solon.core.taps import Taps
from solon.core.weights import Tree
from solon.generate.cache import Prefix, attend_cached, prefix_of
from solon.generate.engine import shared_prefix
from solon.models.architecture import Architecture
from solon.models.block import causal_attend, compute_dtype, run
from solon.models.load import Model
from solon.models.logprobs import scored, token_logprobs
from solon.text.batches import Batch, Shape, batch, in_groups
from solon.text.template import Tokens

TOKENS = 2048  # read at once
LENGTH = 256
Progress = Callable[[int], None]


def batches(rows: Sequence[Tokens], context: int) -> list[tuple[list[int], Batch]]:
    """Rows packed to be read: the numbers of those in each batch, and the batch. Raises `DataError` for a row longer than
    `context`."""
    longest = max((len(row.ids) for row in rows), default=0)
    if longest > context:
        raise DataError("a text is longer than the model's context", got=longest, expected=f"at most {context} tokens")
    length = max(LENGTH, -(-longest // 128) * 128)
    lines = max(TOKENS // length, 1)
    groups = in_groups([[row] for row in rows], length, lines)
    if not groups:
        return []
    wanted = max(sum(sum(map(bool, rows[i].learn[1:])) for i in group) for group in groups)
    shape = Shape(lines, length, -(-max(wanted, 1) // 128) * 128, -(-max(map(len, groups)) // 16) * 16)
    return [(group, batch([rows[i] for i in group], shape)) for group in groups]


@partial(jax.jit, static_argnums=0)
def token_scores(arch: Architecture, params: Tree, packed: Batch) -> jax.Array:
    """Log-probability (nats) of the token at each scored place of a packed batch, `[n]`; filling has some number."""
    return scored(arch, params, packed)


def row_logprobs(model: Model, rows: Sequence[Tokens], progress: Progress | None = None) -> list[np.ndarray]:
    """Log-probability (nats) of each learned token of each row, in order."""
    out: list[np.ndarray] = [np.zeros(0, np.float32)] * len(rows)
    params = sliceable(model.params)
    for group, packed in batches(rows, model.arch.context):
        logp = np.asarray(token_scores(model.arch, params, packed))
        present = packed.weight_n > 0
        for number, i in enumerate(group):
            out[i] = logp[present & (packed.sequence_n == number)]
        if progress:
            progress(sum(len(rows[i].ids) for i in group))
    return out


@partial(jax.jit, static_argnums=(0, 1))
def _states(arch: Architecture, layers: tuple[int, ...], params: Tree, packed: Batch, owner_bt: jax.Array) -> jax.Array:
    positions, segments = jnp.asarray(packed.positions_bt), jnp.asarray(packed.segments_bt)
    attend = causal_attend(arch, segments, compute_dtype(params))
    seen = run(arch, params, jnp.asarray(packed.tokens_bt), positions, attend, taps=Taps(keep=frozenset({"resid_post"})))[2]
    kept = seen["resid_post"][jnp.array(layers)]
    count = packed.last_s.shape[0]
    flat = kept.reshape(len(layers), -1, arch.embed)
    owner = owner_bt.reshape(-1)
    total = jax.vmap(lambda x: jax.ops.segment_sum(x, owner, count + 1)[:count])(flat)
    size = jax.ops.segment_sum(jnp.ones_like(owner, jnp.float32), owner, count + 1)[:count]
    mean = total / jnp.maximum(size, 1)[None, :, None]
    return jnp.concatenate([mean, flat[:, packed.last_s]], 0).transpose(1, 0, 2).reshape(count, -1)


def reply_features(
    model: Model, rows: Sequence[Tokens], layers: Sequence[int] | None = None, progress: Progress | None = None
) -> np.ndarray:
    """Hidden states of replies in their context, `[n, 2 * layers * d]` float32: for each layer (default: at one half and
    at three quarters of the depth) the mean over the learned tokens, then for each layer the last token."""
    depth = model.arch.layers
    chosen = tuple(layers if layers is not None else (depth // 2, 3 * depth // 4))
    out, params = np.zeros((len(rows), 2 * len(chosen) * model.arch.embed), np.float32), sliceable(model.params)
    for group, packed in batches(rows, model.arch.context):
        owner = np.full(packed.tokens_bt.shape, len(packed.last_s), np.int32)
        flat = owner.reshape(-1)
        flat[packed.place_n[packed.weight_n > 0] + 1] = packed.sequence_n[packed.weight_n > 0]
        out[group] = np.asarray(_states(model.arch, chosen, params, packed, jnp.asarray(owner)))[: len(group)]
        if progress:
            progress(sum(len(rows[i].ids) for i in group))
    return out


@partial(jax.jit, static_argnums=0)
def _last_hidden(
    arch: Architecture, params: Tree, prefix: Prefix, tokens_bt: jax.Array, places_bt: jax.Array
) -> jax.Array:
    positions = jnp.broadcast_to(prefix.length + jnp.arange(tokens_bt.shape[1]), tokens_bt.shape)
    attend = attend_cached(arch, compute_dtype(params), positions, prefix.length, decoding=False)
    h = run(arch, params, tokens_bt, positions, attend, states=(prefix.pages, None))[0]
    return jnp.take_along_axis(h, places_bt[..., None], 1)


@partial(jax.jit, static_argnums=0)
def _scores(arch: Architecture, params: Tree, hidden_nd: jax.Array, targets_n: jax.Array) -> jax.Array:
    return token_logprobs(arch, params, hidden_nd, targets_n)


def option_logprobs(
    model: Model, prompts: Sequence[Sequence[int]], options: Sequence[Sequence[int]], progress: Progress | None = None
) -> np.ndarray:
    """Sum of log-probabilities (nats) of each option's tokens after each prompt, `[prompts, options]`.

    What all prompts share at their beginning is read once. Options that differ in one last token only (such as "(A)"
    and "(B)" cut before the closing bracket) need a single reading of the prompt.
    """
    if not prompts or not options:
        return np.zeros((len(prompts), len(options)))
    arch, params = model.arch, sliceable(merge(model.params))
    rows = [(i, j, [*prompt, *option]) for i, prompt in enumerate(prompts) for j, option in enumerate(options)]
    if not all(map(len, prompts)):
        raise DataError("a prompt is empty", fix="give at least one token; models with a BOS token always have one")
    longest = max(len(row) for _, _, row in rows)
    if longest > arch.context:
        raise DataError("a prompt and option are longer than the model's context", got=longest, expected=f"{arch.context} tokens")
    shared = shared_prefix([row for _, _, row in rows], spare=1 + max(len(option) for option in options))
    prefix = prefix_of(arch, params, rows[0][2][:shared])
    same_body = len({(len(option), *option[:-1]) for option in options}) == 1
    todo = [row for row in rows if row[1] == 0] if same_body else rows
    widths = [-(-(len(row) - shared) // 64) * 64 for _, _, row in todo]
    out = np.zeros((len(prompts), len(options)))
    span = max(len(option) for option in options)
    for width in sorted(set(widths)):
        picked = [row for row, w in zip(todo, widths, strict=True) if w == width]
        size = max(TOKENS // width, 1)
        for start in range(0, len(picked), size):
            part = picked[start : start + size]
            tokens, places = np.zeros((size, width), np.int32), np.zeros((size, span), np.int32)
            for line, (_, j, row) in enumerate(part):
                own = row[shared:]
                tokens[line, : len(own)] = own
                begin = len(own) - len(options[j]) - 1
                places[line, : len(options[j])] = np.arange(begin, begin + len(options[j]))
            h = _last_hidden(arch, params, prefix, jnp.asarray(tokens), jnp.asarray(places))
            _collect(arch, params, h, part, options, same_body, out)
            if progress:
                progress(sum(len(row) - shared for _, _, row in part))
    return out


def _collect(
    arch: Architecture, params: Tree, h: jax.Array, part: Sequence[tuple[int, int, list[int]]],
    options: Sequence[Sequence[int]], same_body: bool, out: np.ndarray,
) -> None:  # fmt: skip
    """Add up the options' token log-probabilities from the hidden states `[lines, span, d]` before each token."""
    size, span, width = h.shape
    flat = h.reshape(-1, width)
    for j, option in enumerate(options):
        targets = np.zeros((size, span), np.int32)
        targets[:, : len(option)] = option
        logp = np.asarray(_scores(arch, params, flat, jnp.asarray(targets.reshape(-1)))).reshape(size, span)
        for line, (i, own, _) in enumerate(part):
            if same_body or own == j:
                out[i, j] = float(logp[line, : len(option)].sum())
