"""Trainings by reward that differ in nothing but the seed, and what they come to together."""

from __future__ import annotations

from collections.abc import Sequence

from solon.core.artifacts import Store, digest
from solon.core.errors import ConfigError, DataError
from solon.evals.seeds import Seeds, over_seeds

STAGE = "grpo"


def rewards(store: Store, ids: Sequence[str]) -> Seeds:
    """The figures of some artifacts of `grpo`, by seed. Raises `MissingError` for one that is not there, `ConfigError` for one of
    another stage, and `DataError` where they differ in more than the seed or two have the same."""
    curves: dict[str, list[float]] = {}
    made_of: dict[str, str] = {}
    for id in ids:
        one = store.get(id)
        if one.stage != STAGE:
            raise ConfigError(f"{id} is no training by reward", got=one.stage, expected=f"artifacts of {STAGE}")
        config = dict(one.evidence["config"])
        seed = str(config.pop("seed"))
        if seed in curves:
            raise DataError(f"two trainings have the seed {seed}", got=id, fix="give each artifact once, and each its own seed")
        curves[seed] = [row["reward"] for row in one.read("rounds.json")]
        made_of[id] = digest([config, one.evidence["inputs"]])
    if len(set(made_of.values())) > 1:
        odd = next(id for id in ids if made_of[id] != made_of[ids[0]])
        raise DataError("the trainings differ in more than the seed", got=f"{ids[0]} and {odd}", fix="compare one recipe with itself")
    return over_seeds(curves)
