"""Who asks what: an even part that fair figures rest on, and a hunt that goes where attempts succeed.

The even part gives every family the same number of attempts, spread over all goals; it does not look at results, so it is
the same for every model and its shares mean what they say. The hunt draws families by Thompson sampling (Thompson 1933):
it finds more, and its share is the share of a search, not of a population.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from solon.core.errors import ConfigError
from solon.core.keys import rng, seed_of

SPREAD = 0.15
"""This part of every round of the hunt goes to all families in turn, so that none is given up for good."""


class Place(NamedTuple):
    """One attempt by its names: which goal, which family, and the how manyeth of the two together."""

    goal: str
    family: str
    k: int


class Score(NamedTuple):
    """What a family's judged attempts came to."""

    hits: int
    misses: int


Pool = Mapping[str, Sequence[str]]
"""The goals that each family may ask for, by id."""


def even(pool: Pool, count: int, seed: int) -> list[Place]:
    """The first `count` attempts when all families take turns. A longer plan begins with the shorter one."""
    families = _checked(pool)
    walks = {family: _walk(pool, family, -(-count // len(families)), seed) for family in families}
    return [walks[families[i % len(families)]][i // len(families)] for i in range(count)]


def hunt(
    pool: Pool, scores: Mapping[str, Score], used: Mapping[str, int], count: int, seed: int, number: int
) -> list[Place]:
    """One round of `count` attempts. Each draws from every family's Beta posterior and takes the family that drew highest;
    a fixed part of the round goes round all families. `used` says how many attempts each has had."""
    families = _checked(pool)
    draw = rng("hunt", seed, number)
    known = [scores.get(family, Score(0, 0)) for family in families]
    hits, misses = np.array([one.hits for one in known]), np.array([one.misses for one in known])
    spread = round(SPREAD * count)
    chosen = [families[(number * spread + i) % len(families)] for i in range(spread)]
    drawn = draw.beta(1 + hits, 1 + misses, size=(count - spread, len(families)))
    chosen += [families[int(i)] for i in drawn.argmax(1)]
    wanted = {family: chosen.count(family) for family in set(chosen)}
    walks = {family: iter(_walk(pool, family, n, seed, used.get(family, 0))) for family, n in wanted.items()}
    return [next(walks[family]) for family in chosen]


def _walk(pool: Pool, family: str, count: int, seed: int, begin: int = 0) -> list[Place]:
    """The attempts that a family makes when its turn has come for the `begin`th time (from 0) and after.

    Every family walks through the same shuffled goals from a start of its own, so that after any number of turns all goals
    have been asked for about equally often."""
    goals, families = pool[family], list(pool)
    order = sorted(goals, key=lambda goal: (seed_of("goals", seed, goal), goal))
    start = families.index(family) * len(order) // len(families)
    return [
        Place(order[(start + number) % len(order)], family, number // len(order)) for number in range(begin, begin + count)
    ]


def _checked(pool: Pool) -> list[str]:
    empty = [family for family, goals in pool.items() if not goals]
    if not pool or empty:
        raise ConfigError("there is nothing to attempt", got=f"no goals for {', '.join(empty) or 'any family'}")
    return list(pool)
