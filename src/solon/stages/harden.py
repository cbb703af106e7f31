"""What a red team finds becomes what a model learns from: attacks on the helpful model that worked, on the training side.

Attacks that succeed join the red-team prompts, so that replies to them are criticised, revised and compared like all others.
Harmless requests in the same dress, as far as the helpful model answered them, can join the benign ones. Held-out requests are
never attacked here (docs/design/021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from solon.core.artifacts import Artifact, Store
from solon.core.keys import seed_of
from solon.core.records import Sample
from solon.curate.forms import as_prompts
from solon.models.load import Model
from solon.safety.redteam import attacks
from solon.safety.redteam.attacker import WRITERS
from solon.stages._redteam_goals import INJECTION
from solon.stages.gather import Gathered, evenly
from solon.stages.recipe import Harden, Recipe
from solon.stages.redteam import SUFFIX, RedTeam, families, redteam
from solon.text.template import encode_chat

LEFT_OUT = ("plain", SUFFIX, INJECTION)
"""Families that are no dress: the bare request, what is searched for one model, what has its own requests."""


def harden(store: Store, plan: Recipe, base: Model, helpful: Artifact, data: Gathered) -> tuple[Gathered, dict[str, Artifact]]:
    """The data with what worked, and the attempts that it is from by name; the data as they are where none are asked for.

    `base` only lends its tokenizer, to leave out what is longer than `longest` tokens."""
    made: dict[str, Artifact] = {}
    more: dict[str, Any] = {}
    for kind, attempts in (("red_team", plan.harden.red_team), ("benign", plan.harden.benign)):
        if not attempts:
            continue
        known: Sequence[Sample] = getattr(data, kind)
        made[f"attacks_{kind}"], hits = _campaign(store, plan, helpful, kind, attempts)
        short = [one for one in hits if _tokens(base, one) <= plan.harden.longest]
        more[kind] = list(evenly([known, _by_family(_fitting(short, known), plan.seed)]))
    return replace(data, **more), made


def dresses(chosen: Sequence[str]) -> list[str]:
    """The families to attack with, by their names or groups; all when none are named. Raises `MissingError` for an unknown one."""
    known = {row["name"]: row["group"] for row in families()}
    return [name for name in (attacks.named(tuple(chosen), known) if chosen else known) if name not in LEFT_OUT]


def _campaign(store: Store, plan: Recipe, helpful: Artifact, kind: str, attempts: int) -> tuple[Artifact, list[Sample]]:
    """The attempts of one kind, and those that got an answer. A model that writes attacks would make harmless requests harmful."""
    names = [name for name in dresses(plan.harden.families) if kind == "red_team" or name not in WRITERS]
    config = RedTeam(attempts=attempts, prompts=getattr(plan.data, kind), side="train", families=tuple(names), even=1.0, seed=plan.seed)
    found = redteam(store, config, helpful.id)
    rows = [(f"{found.id}, row {place}", row) for place, row in enumerate(found.rows("successes"))]
    tried = replace(store.get(found.evidence["inputs"]["attempts"]), reused=found.reused)
    return tried, as_prompts(rows, source=f"attacks_{kind}")


def _fitting(hits: Sequence[Sample], known: Sequence[Sample]) -> list[Sample]:
    """Hits on requests that gathering kept: what is near a held-out row it left out. A source of stored attacks may hold the same
    hits already."""
    ids = {one.id for one in known}
    asked = {text for one in known for text in (one.prompt[-1].content, one.reference)}
    return [one for one in hits if one.reference in asked and one.id not in ids]


def _by_family(hits: Sequence[Sample], seed: int) -> list[Sample]:
    """A hit of each family in turn, so that the easiest way in is not all that is learned from."""
    mixed = sorted(hits, key=lambda one: seed_of("hits", seed, one.id))
    return list(evenly([[one for one in mixed if one.tags["family"] == name] for name in sorted({one.tags["family"] for one in mixed})]))


def _tokens(model: Model, one: Sample) -> int:
    return len(encode_chat(model.tokenizer, one.prompt, add_generation_prompt=True))


def told(config: Harden) -> list[str]:
    """What a recipe asks for in words, for `--plan`. Raises as `dresses`."""
    names = dresses(config.families)
    if not config.red_team and not config.benign:
        return []
    return [f"harden: {config.red_team} attacks on red-team and {config.benign} on benign prompts, {len(names)} families; what works is trained on"]
