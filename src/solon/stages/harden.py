"""What a red team finds becomes what a model learns from: attacks on the helpful model that worked, on the training side.

They join the red-team prompts, so that replies to them are criticised, revised and compared like all others. Held-out requests
are never attacked here (docs/design/021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from solon.core.artifacts import Artifact, Store
from solon.core.keys import seed_of
from solon.core.records import Sample
from solon.curate.forms import as_prompts
from solon.models.load import Model
from solon.safety.redteam import attacks
from solon.stages._redteam_figures import regression
from solon.stages._redteam_goals import INJECTION
from solon.stages.gather import Gathered, evenly
from solon.stages.recipe import Harden, Recipe
from solon.stages.redteam import SUFFIX, RedTeam, attacked, families
from solon.text.template import encode_chat

LEFT_OUT = ("plain", SUFFIX, INJECTION)
"""Families that do not word a request anew: the bare request, what is searched for one model, what has its own requests."""


def harden(store: Store, plan: Recipe, base: Model, helpful: Artifact, data: Gathered) -> tuple[Gathered, dict[str, Artifact]]:
    """The data with attacks that worked after each other red-team prompt, and `{"attacks": the attempts}`; the data as they are
    where a recipe asks for none. `base` only lends its tokenizer, to leave out what is longer than `longest` tokens.

    Raises as `attacking`, and as `redteam.attacked`."""
    config = plan.harden
    if not config.attempts:
        return data, {}
    campaign = RedTeam(attempts=config.attempts, prompts=plan.data.red_team, side="train", families=attacking(config), even=1.0, seed=plan.seed)
    tried = attacked(store, campaign, helpful.id).attempts
    rows = [(f"{tried.id}, hit {place}", row) for place, row in enumerate(regression(list(tried.rows("attempts"))))]
    short = [one for one in as_prompts(rows, source="attacks") if _tokens(base, one) <= config.longest]
    return replace(data, red_team=evenly([data.red_team, _by_family(_fitting(short, data.red_team), plan.seed)])), {"attacks": tried}


def attacking(config: Harden) -> tuple[str, ...]:
    """The families to attack with: those that `config` names or whose group it names, else all. Raises `MissingError` for an unknown one."""
    known = {row["name"]: row["group"] for row in families()}
    return tuple(name for name in (attacks.named(config.families, known) if config.families else known) if name not in LEFT_OUT)


def _fitting(hits: Sequence[Sample], known: Sequence[Sample]) -> list[Sample]:
    """Hits on requests that gathering kept: what is near a held-out row it left out. A source of stored attacks may hold the same
    hits already."""
    ids = {one.id for one in known}
    asked = {text for one in known for text in (one.prompt[-1].content, one.reference)}
    return [one for one in hits if one.reference in asked and one.id not in ids]


def _by_family(hits: Sequence[Sample], seed: int) -> list[Sample]:
    """A hit of each family in turn, so that the easiest way in is not all that is learned from."""
    mixed = sorted(hits, key=lambda one: seed_of("hits", seed, one.id))
    return evenly([[one for one in mixed if one.tags["family"] == name] for name in sorted({one.tags["family"] for one in mixed})])


def _tokens(model: Model, one: Sample) -> int:
    return len(encode_chat(model.tokenizer, one.prompt, add_generation_prompt=True))
