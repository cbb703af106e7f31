"""Adversarial suffixes by greedy coordinate gradient (Zou et al. 2023, arXiv 2307.15043), with a small budget.

A suffix is a row of words that is put after any request; it is changed, word by word, so that the model becomes more likely
to begin its reply with agreement. The gradient of that loss by the token embeddings says which words to try, and the true
loss of each try decides. One suffix serves several requests at once, as in the paper's universal setting.

The paper spends 500 steps of 512 tries; the default here is 12 steps of 24. A failure to find a suffix with this budget
says little about what a larger one would find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.dense import rows as rows_of
from solon.core.errors import ModelError
from solon.core.keys import rng
from solon.core.records import user
from solon.core.taps import Taps
from solon.core.weights import Tree
from solon.models.architecture import Architecture
from solon.models.block import causal_attend, compute_dtype, run
from solon.models.load import Model
from solon.models.logprobs import token_logprobs
from solon.text.template import encode_chat
from solon.text.tokenizer import Tokenizer

AGREEMENT = "Sure, here is"
"""What the reply is to begin with."""


@dataclass(frozen=True)
class Budget:
    """`length` words in the suffix; `steps` rounds of `tries` changed words each; `top` words a place are considered."""

    length: int = 12
    steps: int = 12
    tries: int = 24
    top: int = 64


@dataclass(frozen=True)
class Found:
    """A suffix and the loss after each step (mean nats a token of the agreement, over the requests), the first before any."""

    text: str
    losses: tuple[float, ...]


@dataclass(frozen=True)
class _Rows:
    """The requests with a suffix, as one padded batch: `tokens [r t]`, where the suffix stands `[r l]`, and the places
    before the tokens of the agreement `[r a]` with those tokens `[a]`."""

    tokens: np.ndarray
    places: np.ndarray
    before: np.ndarray
    target: np.ndarray


def search(
    model: Model, requests: Sequence[str], budget: Budget, name: Sequence[object], tell: Callable[[int], None] | None = None
) -> Found:
    """One suffix for these requests. `name` seeds the search; `tell` is called after every step."""
    tokenizer, draw = model.tokenizer, rng("suffix", *name)
    allowed = words(tokenizer)
    ids = [int(x) for x in draw.choice(allowed, budget.length)]
    rows = _laid_out(tokenizer, requests, ids)
    if rows is None:
        fix = "leave the suffix family out for this model"
        raise ModelError("the tokens of a suffix cannot be found again in the rendered chat", got=model.name, fix=fix)
    best = float(_losses(model.arch, model.params, *_arrays(rows))[0])
    losses = [best]
    for _ in range(budget.steps):
        tried = _tries(model, rows, ids, allowed, budget, draw)
        laid = [(one, made) for one in tried if (made := _laid_out(tokenizer, requests, one)) is not None]
        if laid:
            found = _many(model, [made for _, made in laid], budget.tries)
            least = int(np.argmin(found))
            if found[least] < best:
                ids, rows, best = laid[least][0], laid[least][1], float(found[least])
        losses.append(best)
        if tell:
            tell(1)
    return Found(_text(tokenizer, ids), tuple(losses))


@cache
def words(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokens that are a space and ASCII letters: such a row of tokens is read back as the same tokens, and by people."""
    found = []
    for id in range(tokenizer.vocab_size):
        raw = tokenizer.token_bytes(id)
        if raw[:1] == b" " and raw[1:].isalpha() and raw.isascii() and id not in tokenizer.stop_ids:
            found.append(id)
    if not found:
        raise ModelError("this vocabulary has no word tokens to build a suffix from", got=repr(tokenizer))
    return tuple(found)


def _text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    return " " + tokenizer.decode(list(ids)).strip()


def _laid_out(tokenizer: Tokenizer, requests: Sequence[str], ids: Sequence[int]) -> _Rows | None:
    """The batch of a suffix, or None where its tokens do not survive being written out and read again."""
    target = tokenizer.encode(AGREEMENT, special=False, continued=True)
    text, lines, places = _text(tokenizer, ids), [], []
    for request in requests:
        line = encode_chat(tokenizer, user(request + text), add_generation_prompt=True)
        starts = [i for i in range(len(line) - len(ids), -1, -1) if line[i : i + len(ids)] == list(ids)]
        if not starts:
            return None
        places.append(range(starts[0], starts[0] + len(ids)))
        lines.append([*line, *target])
    width = -(-max(map(len, lines)) // 32) * 32
    tokens = np.zeros((len(lines), width), np.int32)
    for row, line in enumerate(lines):
        tokens[row, : len(line)] = line
    before = np.array([[len(line) - len(target) - 1 + i for i in range(len(target))] for line in lines])
    return _Rows(tokens, np.array(places), before, np.array(target, np.int32))


def _arrays(rows: _Rows) -> tuple[jax.Array, jax.Array, jax.Array]:
    """With a first axis of one try."""
    return jnp.asarray(rows.tokens)[None], jnp.asarray(rows.before)[None], jnp.asarray(rows.target)


def _tries(
    model: Model, rows: _Rows, ids: Sequence[int], allowed: Sequence[int], budget: Budget, draw: np.random.Generator
) -> list[list[int]]:
    """Suffixes that differ from this one in one word, among the words that the gradient favours at that place."""
    tokens, before, target = _arrays(rows)
    slope = _slopes(model.arch, model.params, tokens[0], before[0], target, jnp.asarray(rows.places))
    vectors = rows_of(model.params["embed"], jnp.asarray(allowed)).astype(jnp.float32) * model.arch.embed_scale
    gain = -np.asarray(slope @ vectors.T)
    top = np.argsort(-gain, axis=1, kind="stable")[:, : budget.top]
    made: dict[tuple[int, ...], None] = {}
    for _ in range(budget.tries):
        place = int(draw.integers(len(ids)))
        other = allowed[int(top[place, int(draw.integers(top.shape[1]))])]
        made[(*ids[:place], other, *ids[place + 1 :])] = None
    made.pop(tuple(ids), None)
    return [list(one) for one in made]


def _many(model: Model, laid: Sequence[_Rows], size: int) -> np.ndarray:
    """The loss of every try. Filled up to a fixed number, so that one program serves all steps; tries of another length
    than most are left out (their tokens were joined with a neighbour's)."""
    widths = [one.tokens.shape[1] for one in laid]
    width = max(set(widths), key=widths.count)
    kept = [i for i, one in enumerate(laid) if one.tokens.shape[1] == width]
    filled = [laid[i] for i in kept] + [laid[kept[0]]] * (size - len(kept))
    tokens = jnp.asarray(np.stack([one.tokens for one in filled]))
    before = jnp.asarray(np.stack([one.before for one in filled]))
    found = np.asarray(_losses(model.arch, model.params, tokens, before, jnp.asarray(laid[0].target)))
    out = np.full(len(laid), np.inf)
    out[kept] = found[: len(kept)]
    return out


def _loss(arch: Architecture, params: Tree, tokens: jax.Array, before: jax.Array, target: jax.Array, taps: Taps) -> jax.Array:
    """Mean negative log-likelihood of the agreement, `[r]`, of rows `[r t]`."""
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    h = run(arch, params, tokens, positions, causal_attend(arch, None, compute_dtype(params)), taps=taps)[0]
    picked = jnp.take_along_axis(h, before[:, :, None], 1)
    wanted = jnp.broadcast_to(target, before.shape)
    return -token_logprobs(arch, params, picked.reshape(-1, h.shape[-1]), wanted.reshape(-1)).reshape(before.shape).mean(1)


@partial(jax.jit, static_argnums=0)
def _losses(arch: Architecture, params: Tree, tokens: jax.Array, before: jax.Array, target: jax.Array) -> jax.Array:
    """The mean loss over the requests for each try, `[w]`, of `tokens [w r t]`."""
    w, r, t = tokens.shape
    flat = _loss(arch, params, tokens.reshape(w * r, t), before.reshape(w * r, -1), target, Taps())
    return flat.reshape(w, r).mean(1)


@partial(jax.jit, static_argnums=0)
def _slopes(
    arch: Architecture, params: Tree, tokens: jax.Array, before: jax.Array, target: jax.Array, places: jax.Array
) -> jax.Array:
    """The gradient of the mean loss by the embeddings of the suffix, summed over the requests, `[l d]`."""

    def at(nudge: jax.Array) -> jax.Array:
        edit = {"embed": lambda _, x: x + nudge}
        return _loss(arch, params, tokens, before, target, Taps(edit=edit)).mean()

    slope = jax.grad(at)(jnp.zeros((*tokens.shape, arch.embed), jnp.float32))
    return jnp.take_along_axis(slope, places[:, :, None], 1).sum(0)
