"""What is measured of a compressed model: how far its next-token distributions are from the original's, and how fast it writes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.artifacts import Record
from solon.core.records import Passage
from solon.core.weights import Tree
from solon.generate.engine import Engine, Request
from solon.learn.objectives.distill import divergence, states
from solon.models.architecture import Architecture
from solon.models.block import unembedding
from solon.models.load import Model
from solon.models.logprobs import token_logprobs
from solon.stages.evaluate import plain
from solon.text.batches import Batch, Shape, batch, in_groups

LINES, LENGTH = 8, 256
PROMPT = 16  # tokens that are read before decoding is timed
TOGETHER = (1, 8)  # replies that are written at once


def cut(passage: Passage, most: int) -> Passage:
    """The beginning of a passage, at most so many characters, ending with a whole word."""
    return passage if len(passage.text) <= most else replace(passage, text=passage.text[:most].rpartition(" ")[0])


@dataclass(frozen=True)
class Original:
    """The model in float32, and passages on which others are compared with it: `{kind: passages}`."""

    model: Model
    passages: dict[str, Sequence[Passage]]

    @cached_property
    def texts(self) -> list[tuple[str, Passage]]:
        return [(kind, one) for kind, many in self.passages.items() for one in many]

    @cached_property
    def packed(self) -> list[tuple[list[int], Batch]]:
        """Numbers of texts, and their tokens in one batch."""
        tokens = [plain(self.model, "", one.text) for _, one in self.texts]
        length = max(LENGTH, -(-max(len(row.ids) for row in tokens) // 128) * 128)
        groups = in_groups([[row] for row in tokens], length, LINES)
        shape = Shape(LINES, length, LINES * length, -(-max(map(len, groups)) // 16) * 16)
        return [(group, batch([tokens[i] for i in group], shape)) for group in groups]

    @cached_property
    def states(self) -> list[np.ndarray]:
        """Its final hidden states at the scored places of each batch, `[n d]`."""
        return [np.asarray(_states(self.model.arch, self.model.params, one)) for _, one in self.packed]

    @cached_property
    def engine(self) -> Engine:
        return endless(self.model)

    def read(self, model: Model, advance: Any) -> list[Record]:
        """A row for each passage: -log p and KL(original || model) in nats, both summed over its `tokens`."""
        rows: list[Record] = []
        table = unembedding(self.model.arch, self.model.params)
        for (group, packed), theirs in zip(self.packed, self.states, strict=True):
            logp, kl = (np.asarray(x) for x in _read(model.arch, model.params, packed, theirs, self.model.arch, table))
            for number, i in enumerate(group):
                own = (packed.weight_n > 0) & (packed.sequence_n == number)
                kind, passage = self.texts[i]
                sums = {"nats": float(-logp[own].sum()), "kl": float(kl[own].sum()), "tokens": int(own.sum())}
                rows.append({"kind": kind, "id": passage.id, **sums})
            advance(len(group))
        return rows


@partial(jax.jit, static_argnums=0)
def _states(arch: Architecture, params: Tree, packed: Batch) -> jax.Array:
    return states(arch, params, packed)


@partial(jax.jit, static_argnums=(0, 4))
def _read(
    arch: Architecture, params: Tree, packed: Batch, theirs_nd: jax.Array, of: Architecture, of_table: Any
) -> tuple[jax.Array, jax.Array]:
    """log p of each scored token, and the divergence there."""
    h = states(arch, params, packed)
    table = unembedding(arch, params)
    logp = token_logprobs(arch, params, h, jnp.asarray(packed.target_n))
    kl = divergence(arch, table, h, of, of_table, theirs_nd)
    return logp, kl


def endless(model: Model) -> Engine:
    """An engine that no stop token ends, so that every form writes the same number of tokens."""
    engine = Engine(model)
    engine.stop_ids = jnp.array([-1], jnp.int32)
    return engine


def raced(original: Engine, other: Engine, prompts: Sequence[Sequence[int]], tokens: int, rounds: int, advance: Any) -> list[Record]:
    """Tokens a second of both, batch by batch. They run in turn, the order changing from round to round, so that whatever
    else the machine does befalls both; `ratio` is the median of the rounds' own ratios."""
    rows = []
    for together in TOGETHER:
        asked = [Request(prompts[i % len(prompts)][:PROMPT], max_tokens=tokens, temperature=0.0) for i in range(together)]
        rates: dict[str, list[float]] = {"original": [], "form": []}
        for turn in range(rounds + 1):
            pair = [("original", original), ("form", other)]
            for name, engine in pair if turn % 2 else pair[::-1]:
                begin = time.monotonic()
                made = sum(len(reply.tokens) for reply in engine.sample(asked))
                if turn:  # the first turn compiles
                    rates[name].append(made / (time.monotonic() - begin))
            advance(1)
        ratios = [a / b for a, b in zip(rates["form"], rates["original"], strict=True)]
        rows.append({
            "batch": together, "tokens_per_second": statistics.median(rates["form"]), "rounds": rounds,
            "original": statistics.median(rates["original"]), "ratio": statistics.median(ratios), "ratios": ratios,
            "load": os.getloadavg()[0], "tokens": tokens,
        })  # fmt: skip
    return rows
