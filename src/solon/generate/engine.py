"""The batched sampler: a cache, continuous batching over mixed lengths, and a prefix that is computed only once.

The engine keeps a fixed number of slots. A finished row gives its slot to the next request at the following pause (every
few tokens). What all prompts begin with (few-shot transcripts, a system turn) is computed once and attended to by all.
"""

from __future__ import annotations

import os.path
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.adapters import Choice, mixed
from solon.core.bits import as_bits, sliceable
from solon.core.dense import is_leaf, merge
from solon.core.errors import ConfigError, DataError
from solon.core.kernels import beside, by_row, in_panels, reads_rows
from solon.core.keys import seed_of
from solon.core.quantise import dequantise, size
from solon.core.records import Reply
from solon.core.weights import Tree, Weight, unstack
from solon.generate.cache import Blocks, Pages, Prefix, attend_cached, cache_for, prefix_of, room
from solon.generate.sample import Enabled, Settings, choose
from solon.models.architecture import Architecture, spec
from solon.models.block import compute_dtype, logits, run, unembedding
from solon.models.load import Model

CACHE_BYTES = 768 << 20  # of all slots together: long prompts get fewer slots, so that memory stays bounded
UNPACKED = 1 << 30  # bytes: up to here, weights of 8 and 4 bits are unpacked once and not again for every token
PAUSE = 8  # tokens between two looks at which rows have finished
SHORTEST_PREFIX = 16
PREFILL_ROWS = (16, 4)  # prompts read at once; fewer are filled up, so that few programs are compiled
PREFILL_TOKENS = 1024  # more at once are no faster a token and take new memory (docs/log.md)
ENOUGH = 4  # free slots that are worth an interruption


@dataclass(frozen=True)
class Request:
    """One reply to draw. `key` names its randomness: the same key and prompt always give the same reply. `adapter` chooses
    among those that the engine holds."""

    prompt: Sequence[int]
    key: tuple[Any, ...] = ()
    max_tokens: int = 128
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    adapter: Choice = None


class Slots(NamedTuple):
    """What the device knows of every slot: `[S]` each, caches one per layer."""

    caches: list[Pages] | list[Blocks]
    token: jax.Array
    position: jax.Array
    alive: jax.Array
    left: jax.Array
    keys: jax.Array
    settings: Settings


@dataclass
class _Row:
    request: Request
    index: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class Engine:
    """A model made ready for sampling: adapters merged, small models unpacked, layers unrolled for decoding.

    `sample(requests)` returns replies in the order of the requests; `stream(request)` yields text as it comes.

    A model whose leaves hold several adapters (`learn/shelf.py`) needs the `mixture` of its shelf, which says how much of each
    a row gets. Every request then chooses for itself, and no choice compiles anything anew. What prompts begin with is read
    for each of them, since keys and values depend on the adapter.
    """

    def __init__(self, model: Model, slots: int = 64, mixture: Callable[[Sequence[Choice]], np.ndarray] | None = None):
        self.arch, self.tokenizer, self.slots, self.mixture = model.arch, model.tokenizer, slots, mixture
        params = model.params
        if mixture:
            params = mixed(params, jnp.asarray(mixture([None] * 2)))  # one mixture for all rows would be merged for good
        self.packed = jax.tree.map(jnp.asarray, merge(params, beside))
        self.stacked = unpacked(self.packed)
        self.looped = sliceable(self.stacked)  # the same memory, for programs that loop over layers
        self.stop_ids = jnp.array(sorted(self.tokenizer.stop_ids) or [-1], jnp.int32)

    @cached_property
    def unrolled(self) -> Tree:
        """The weights that decode several rows at once."""
        made, known = self._layers(), spec(self.arch)
        if self._in_panels:
            made["blocks"] = [in_panels(known["blocks"], block) for block in made["blocks"]]
            if "unembed" in made:
                made["unembed"] = in_panels(Weight("embed -> vocab"), made["unembed"])
        return made

    @cached_property
    def alone(self) -> Tree:
        """The weights that decode one row: it waits for memory, so packed ones are the faster if a kernel reads them."""
        swift = by_row(self.packed)
        if swift is not self.packed:
            return self._unrolled(swift)
        return self._layers() if self._in_panels else self.unrolled

    @property
    def _in_panels(self) -> bool:
        return reads_rows(compute_dtype(self.stacked))

    def _layers(self) -> dict[str, Tree]:
        """One by one, as XLA multiplies them."""
        made = self._unrolled(self.stacked)
        table = unembedding(self.arch, self.stacked)
        if not is_leaf(table) and table.dtype == jnp.bfloat16:
            # The product with a transposed bf16 table takes ten times as long on a CPU as with one that lies so in memory.
            made["unembed"] = jnp.asarray(np.ascontiguousarray(table))
            made["embed"] = as_bits(made["embed"])  # only rows of it are read now
        return made

    def _unrolled(self, params: Tree) -> dict[str, Tree]:
        return {**params, "blocks": unstack(params["blocks"], self.arch.layers)}

    def sample(
        self, requests: Sequence[Request], progress: Callable[[int], None] | None = None, seed: int = 0,
        others: Sequence[Request] = (),
    ) -> list[Reply]:  # fmt: skip
        """Draw one reply per request. `progress` is told the number of new tokens after each pause. `others` are not drawn:
        shapes are made to fit them too, so that calls which share them share the compiled program that decodes."""
        replies: list[Reply | None] = [None] * len(requests)
        for index, reply, _ in self._run(requests, seed, progress, others=others):
            if reply is not None:
                replies[index] = reply
        return [reply for reply in replies if reply is not None]

    def stream(self, request: Request, seed: int = 0) -> Iterator[list[int]]:
        """The tokens of one reply, in the pieces in which they are made."""
        for _, _, fresh in self._run([request], seed, None, pause=1):
            yield fresh

    def _run(
        self, requests: Sequence[Request], seed: int, progress: Callable[[int], None] | None, pause: int = PAUSE,
        others: Sequence[Request] = (),
    ) -> Iterator[tuple[int, Reply | None, list[int]]]:  # fmt: skip
        if not requests:
            return
        self._check(requests)
        plan = self._plan([*requests, *others], pause)
        if plan.slots < min(self.slots, len(requests)) and not others:
            for places in by_room(requests):
                part = [requests[place] for place in places]
                for i, reply, new in self._drawn(part, seed, progress, self._plan(part, pause)):
                    yield places[i], reply, new
        else:
            yield from self._drawn(requests, seed, progress, plan)

    def _plan(self, requests: Sequence[Request], pause: int) -> _Plan:
        return _Plan.of(self.arch, compute_dtype(self.stacked), requests, self.slots, pause, share=not self.mixture)

    def _drawn(
        self, requests: Sequence[Request], seed: int, progress: Callable[[int], None] | None, plan: _Plan
    ) -> Iterator[tuple[int, Reply | None, list[int]]]:
        prefix = prefix_of(self.arch, self.looped, requests[0].prompt[: plan.prefix])
        slots = _vacant(self.arch, plan, compute_dtype(self.stacked))
        waiting = deque(sorted(range(len(requests)), key=lambda i: (plan.bucket(requests[i]), i)))
        rows: list[_Row | None] = [None] * plan.slots
        while waiting or any(rows):
            slots = self._fill(plan, prefix, slots, requests, waiting, rows, seed)
            params = self._chosen(self.unrolled if plan.slots > 1 else self.alone, [row.request if row else None for row in rows])
            slots, tokens, logprobs, counts = _decode(self.arch, plan.pause, plan.enabled, params, prefix, self.stop_ids, slots)
            alive = np.asarray(slots.alive)
            tokens, logprobs, counts = (np.asarray(x) for x in (tokens, logprobs, counts))
            fresh = 0
            for place, row in enumerate(rows):
                if row is None:
                    continue
                new = tokens[place, : counts[place]].tolist()
                row.tokens += new
                row.logprobs += logprobs[place, : counts[place]].tolist()
                fresh += len(new)
                reply = self._finished(row, bool(alive[place]))
                if reply:
                    rows[place] = None
                    slots = slots._replace(alive=slots.alive.at[place].set(False))
                yield row.index, reply, new
            if progress:
                progress(fresh)

    def _fill(
        self, plan: _Plan, prefix: Prefix, slots: Slots, requests: Sequence[Request], waiting: deque[int],
        rows: list[_Row | None], seed: int,
    ) -> Slots:  # fmt: skip
        """Give every free slot the next request, prompts of one length bucket together."""
        free = [place for place, row in enumerate(rows) if row is None]
        if len(free) < min(ENOUGH, len(waiting), len(rows)):
            return slots
        while free and waiting:
            wanted = min(len(free), len(waiting))
            widths = [plan.bucket(requests[i]) for i in islice(waiting, wanted)]
            size = together(widths)
            taken = [waiting.popleft() for _ in range(min(size, wanted))]
            places, free = free[: len(taken)], free[len(taken) :]
            width = max(widths[: len(taken)])
            tokens = np.zeros((size, width), np.int32)
            lengths = np.ones(size, np.int32)
            for line, i in enumerate(taken):
                own = requests[i].prompt[plan.prefix :]
                tokens[line, : len(own)], lengths[line] = own, len(own)
                rows[places[line]] = _Row(requests[i], i)
            spare = size - len(taken)
            given = [requests[i] for i in taken] + [requests[taken[0]]] * spare
            places += [len(rows)] * spare  # no such slot, so what is written there is dropped
            keys = jax.random.key_data(jax.vmap(jax.random.key)(jnp.array([seed_of(seed, *r.key) for r in given], jnp.uint32)))
            settings = Settings(*(jnp.array([getattr(r, name) for r in given]) for name in Settings._fields))
            left = jnp.array([r.max_tokens for r in given], jnp.int32)
            pages = _read(self.arch, self._chosen(self.looped, given), prefix, tokens)
            last = tokens[np.arange(size), lengths - 1]
            at = jnp.array(places)
            caches = [_write(cache, pages, layer, at) for layer, cache in enumerate(slots.caches)]
            slots = _seat(prefix, slots._replace(caches=[]), last, lengths, at, keys, settings, left)
            slots = slots._replace(caches=caches)
        return slots

    def _check(self, requests: Sequence[Request]) -> None:
        """Raise before anything is drawn where a request chooses what is not there."""
        wanted = [request.adapter for request in requests]
        if self.mixture:
            self.mixture(wanted)
        elif any(one is not None for one in wanted):
            got, fix = next(one for one in wanted if one is not None), "make it from a shelf of adapters, with its mixture"
            raise ConfigError("a request chooses an adapter, and this engine holds none to choose from", got=got, fix=fix)

    def _chosen(self, params: Tree, rows: Sequence[Request | None]) -> Tree:
        """The weights for these rows, each with the adapter that its request chose."""
        if not self.mixture:
            return params
        return mixed(params, jnp.asarray(self.mixture([row.adapter if row else None for row in rows])))

    def _finished(self, row: _Row, alive: bool) -> Reply | None:
        """The reply if the row is over: a stop token, a stop string, or no tokens left."""
        request, stopped = row.request, bool(row.tokens) and row.tokens[-1] in self.tokenizer.stop_ids
        if request.stop:
            text = self.tokenizer.decode(row.tokens, skip_special=True)
            cut = min((at for at in (text.find(s) for s in request.stop) if at >= 0), default=-1)
            if cut >= 0:
                keep = self._tokens_up_to(row.tokens, text[:cut])
                return Reply(text[:cut], tuple(row.tokens[:keep]), tuple(row.logprobs[:keep]), "stop")
        if alive:
            return None
        text = self.tokenizer.decode(row.tokens, skip_special=True)
        return Reply(text, tuple(row.tokens), tuple(row.logprobs), "stop" if stopped else "length")

    def _tokens_up_to(self, tokens: list[int], text: str) -> int:
        """How many tokens it takes to write this text; half of a character's bytes do not count as the character."""
        for count in range(len(tokens) + 1):
            if self.tokenizer.decode(tokens[:count], skip_special=True).startswith(text):
                return count
        return len(tokens)


def unpacked(params: Tree, most: int = UNPACKED) -> Tree:
    """The weights with quantised matrices as plain arrays and no adapter beside them, where all together take at most `most`
    bytes.

    XLA's loop over packed weights takes 2 (8 bits, one row) to 14 times as long as its product with float32 ones
    (docs/design/018), so a model is only sampled packed where its memory is what matters.
    """
    plain = lambda params: merge(dequantise(params))  # noqa: E731
    return plain(params) if size(jax.eval_shape(plain, params)) <= most else params


def together(widths: Sequence[int]) -> int:
    """How many of the prompts that wait, by their widths in tokens, are read at once."""
    fits = lambda n: max(widths[:n]) * n <= PREFILL_TOKENS  # noqa: E731
    return next((n for n in PREFILL_ROWS if n <= len(widths) and fits(n)), PREFILL_ROWS[-1] if fits(PREFILL_ROWS[-1]) else 1)


def by_room(requests: Sequence[Request]) -> list[list[int]]:
    """Places of requests that need about as much room as each other: a few long ones would leave slots for few of the short ones."""
    groups: dict[int, list[int]] = {}
    for place, request in enumerate(requests):
        groups.setdefault(max(128, _power(len(request.prompt) + request.max_tokens)), []).append(place)
    return [groups[length] for length in sorted(groups)]


@dataclass(frozen=True)
class _Plan:
    """The shapes of one run, from the requests alone."""

    prefix: int
    length: int
    slots: int
    pause: int
    enabled: Enabled

    @classmethod
    def of(cls, arch: Architecture, low: Any, requests: Sequence[Request], slots: int, pause: int, share: bool = True) -> _Plan:
        for request in requests:
            total = len(request.prompt) + request.max_tokens
            if not len(request.prompt):
                raise DataError("a prompt is empty", fix="give at least one token; models with a BOS token always have one")
            if total > arch.context:
                got = f"{len(request.prompt)} tokens of prompt and {request.max_tokens} to make"
                fix = "shorten the prompt or ask for fewer tokens"
                raise DataError("a prompt does not fit the model's context", got=got, expected=f"{arch.context} in all", fix=fix)
        shared = shared_prefix([r.prompt for r in requests]) if share else 0
        longest = max(_bucket(len(r.prompt) - shared) + r.max_tokens for r in requests)
        enabled = Enabled(
            max(r.top_k for r in requests), any(r.top_p < 1 for r in requests), any(r.min_p > 0 for r in requests),
            any(r.temperature > 0 for r in requests),
        )  # fmt: skip
        length = room(arch, longest, low)
        a_slot = size(jax.eval_shape(lambda: cache_for(arch, 1, length, low)))
        most = max(CACHE_BYTES // a_slot, 1)
        return cls(shared, length, min(slots, _power(len(requests)), most), pause, enabled)

    def bucket(self, request: Request) -> int:
        return _bucket(len(request.prompt) - self.prefix)


def _bucket(n: int) -> int:
    """Lengths are rounded up to few different ones, so that few programs are compiled."""
    return max(32, _power(n)) if n <= 64 else _rounded(n, 64)


def _rounded(n: int, to: int) -> int:
    return -(-n // to) * to


def _power(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def shared_prefix(prompts: Sequence[Sequence[int]], spare: int = 1) -> int:
    """Length of the common beginning of all prompts, leaving each at least `spare` tokens of its own; 0 if not worth it."""
    if len(prompts) < 2:
        return 0
    common = len(os.path.commonprefix([list(prompt) for prompt in prompts]))
    common = min(common, min(map(len, prompts)) - spare)
    return common if common >= SHORTEST_PREFIX else 0


def _vacant(arch: Architecture, plan: _Plan, low: Any) -> Slots:
    n = plan.slots
    # One buffer each: they are donated to the programs, and a buffer can be given away only once.
    settings = Settings(jnp.zeros(n), jnp.zeros(n, jnp.int32), jnp.ones(n), jnp.zeros(n))
    keys = jnp.zeros((n, *jax.random.key_data(jax.random.key(0)).shape), jnp.uint32)
    caches = cache_for(arch, n, plan.length, low)
    token, position, left = jnp.zeros(n, jnp.int32), jnp.full(n, plan.prefix, jnp.int32), jnp.zeros(n, jnp.int32)
    return Slots(caches, token, position, jnp.zeros(n, bool), left, keys, settings)


@partial(jax.jit, static_argnums=0)
def _read(arch: Architecture, params: Tree, prefix: Prefix, tokens: jax.Array) -> Pages:
    """Keys and values of new prompts behind the prefix, stacked over layers."""
    positions = jnp.broadcast_to(prefix.length + jnp.arange(tokens.shape[1]), tokens.shape)
    attend = attend_cached(arch, compute_dtype(params), positions, prefix.length, decoding=False)
    return run(arch, params, tokens, positions, attend, states=(prefix.pages, None))[1]


@partial(jax.jit, donate_argnums=0)
def _write(cache: Pages | Blocks, pages: Pages, layer: int, places: jax.Array) -> Pages | Blocks:
    """Put one layer's part of prompts that were read into their slots. A program for one layer compiles in no time."""
    width = pages.length
    if isinstance(cache, Blocks):
        new = Blocks.of(Pages(pages.k[layer], pages.v[layer]))
        return Blocks(*(old.at[places, :, : x.shape[2]].set(x, mode="drop") for old, x in zip(cache, new, strict=True)))
    k = cache.k.at[places, :, :, :width].set(pages.k[layer].astype(cache.k.dtype), mode="drop")
    return Pages(k, cache.v.at[places, :, :width].set(pages.v[layer].astype(cache.v.dtype), mode="drop"))


@partial(jax.jit, donate_argnums=1)
def _seat(
    prefix: Prefix, slots: Slots, last: jax.Array, lengths: jax.Array, places: jax.Array, keys: jax.Array,
    settings: Settings, left: jax.Array,
) -> Slots:  # fmt: skip
    """What else is known of the new rows; their last prompt token is left for decoding."""
    put = lambda old, new: old.at[places].set(new.astype(old.dtype), mode="drop")  # noqa: E731
    return Slots(
        slots.caches, put(slots.token, last), put(slots.position, prefix.length + lengths - 1),
        put(slots.alive, left > 0), put(slots.left, left), put(slots.keys, keys),
        jax.tree.map(put, slots.settings, settings),
    )  # fmt: skip


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=6)
def _decode(
    arch: Architecture, pause: int, enabled: Enabled, params: Tree, prefix: Prefix, stop_ids: jax.Array, slots: Slots
) -> tuple[Slots, jax.Array, jax.Array, jax.Array]:
    """Up to `pause` more tokens for every living slot: tokens and log-probabilities `[S pause]`, and how many `[S]`."""
    count = slots.token.shape[0]
    shared = [prefix.blocks(arch, i) if isinstance(slots.caches[i], Blocks) else prefix.layer(i) for i in range(arch.layers)]

    def step(state: Any) -> Any:
        i, s, out, logprobs = state
        positions = s.position[:, None]
        attend = attend_cached(arch, compute_dtype(params), positions, prefix.length, decoding=True)
        h, caches, _ = run(arch, params, s.token[:, None], positions, attend, states=list(zip(shared, s.caches, strict=True)))
        scores = logits(arch, params, h[:, 0])
        keys = jax.random.wrap_key_data(s.keys)
        token, logprob = choose(scores, s.settings, enabled, keys, s.position)
        token = jnp.where(s.alive, token, s.token)
        out, logprobs = out.at[:, i].set(token), logprobs.at[:, i].set(logprob)
        left = s.left - s.alive
        position = s.position + s.alive
        alive = s.alive & (left > 0) & ~jnp.isin(token, stop_ids)
        return i + 1, s._replace(caches=caches, token=token, position=position, alive=alive, left=left), out, logprobs

    start = (0, slots, jnp.zeros((count, pause), jnp.int32), jnp.zeros((count, pause)))
    before = slots.position
    _, slots, out, logprobs = jax.lax.while_loop(lambda s: (s[0] < pause) & jnp.any(s[1].alive), step, start)
    return slots, out, logprobs, slots.position - before
