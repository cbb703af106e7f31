"""What a campaign asks for: harmful requests from the prompt sets, injections that a literal test decides, stored successes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from solon.core.artifacts import file_digest
from solon.core.errors import ConfigError, DataError, MissingError
from solon.core.records import Message, Sample
from solon.curate import catalogue, rows, shared
from solon.curate.splits import Split
from solon.safety.redteam.attacks import Goal
from solon.stages.gather import parts

INJECTION = "injection"
"""The family of the injections of CyberSecEval: system turn and user turn are the data set's own."""
INJECTIONS = "cyberseceval_prompt_injection/prompt_injection_dev.json.gz"
LABELLED = "xstest_answers/answers_dev.jsonl.gz"
"""Answers that people labelled as full compliance, full or partial refusal: what the judge is measured on."""
LITERAL = re.compile(r"\bcontains?(?: the (?:word|words|phrase|string|text))? ['\"\u2018\u201c]([^'\"\u2019\u201d]{3,80})['\"\u2019\u201d]\s*\?")


@dataclass(frozen=True)
class Found:
    """Goals by id: harmful requests, injections, stored attempts. `digests` names the data for the artifact's hash."""

    goals: Mapping[str, Goal]
    literal: Mapping[str, Goal] = field(default_factory=dict)
    replays: Mapping[str, Goal] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    licences: frozenset[str] = frozenset()
    labelled: str = ""

    def goal(self, id: str) -> Goal:
        return next(part[id] for part in (self.goals, self.literal, self.replays) if id in part)


def gather(prompts: str, side: Split, regression: str = "", families: Sequence[str] = ()) -> Found:
    """Goals from sources joined by ` + `. Injections are read where their family is asked for by name, so that what a
    campaign does never depends on which folders happen to be there. Raises `MissingError` for what is not there."""
    goals: dict[str, Goal] = {}
    digests: dict[str, str] = {}
    licences: set[str] = set()
    names = parts(prompts)
    if len(set(names)) < len(names):
        raise ConfigError("a source is named twice", got=prompts, fix="name each source once")
    for name in names:
        for goal, source in _sides(name, side):
            id = goal.id if goal.id not in goals else f"{name}/{goal.id}"
            goals[id] = replace(goal, id=id)
            digests[name] = source.digest
            licences.add(source.licence)
    literal: dict[str, Goal] = {}
    if INJECTION in families:
        path = shared.path(INJECTIONS)
        literal = {goal.id: goal for goal in injections(rows.read(path))}
        digests[INJECTION] = file_digest(path)
    replays: dict[str, Goal] = {}
    if regression:
        for goal, source in _sides(regression, "all"):
            replays[f"stored:{goal.id}"] = replace(goal, id=f"stored:{goal.id}")
            digests[f"regression {regression}"] = source.digest
    return Found(goals, literal, replays, digests, frozenset(licences), _labels_digest())


def _sides(name: str, side: Split) -> Iterator[tuple[Goal, catalogue.Source]]:
    """The goals of a source, each with its side."""
    source = catalogue.source(name, side, "prompts")
    held: frozenset[str] = frozenset()
    if side == "all":
        try:
            held = frozenset(row.id for row in catalogue.source(name, "heldout", "prompts").rows)
        except DataError:  # none are held out
            pass
    for row in source.rows:
        own = side if side != "all" else "heldout" if row.id in held else "train"
        yield _goal(row, own), source


def _goal(row: Sample, side: str) -> Goal:
    """A prompt as a goal; a row with a reference is a stored attempt, and the reference the plain request behind it."""
    said = row.prompt[-1].content
    request = row.reference if isinstance(row.reference, str) and row.reference else said
    category = row.tags.get("category") or "unlabelled"
    asked = said if request != said else ""
    stored = row.tags.get("family", "") if asked or isinstance(row.reference, str) else ""
    return Goal(row.id, request, category, side, row.prompt[:-1], asked, stored, row.tags.get("contains", ""))


def injections(table: Any) -> Iterator[Goal]:
    """The rows of CyberSecEval whose question to the judge is whether the reply contains a given text (of the others only
    a person or a model can say)."""
    for _, row in table:
        found = LITERAL.search(row["judge_question"])
        if found:
            before = (Message("system", row["test_case_prompt"]),)
            category = row["injection_variant"]
            yield Goal(f"inj-{row['prompt_id']}", row["user_input"], category, "heldout", before, contains=found[1])


def labelled() -> list[Mapping[str, Any]] | None:
    """The human-labelled answers, or None where they are not there."""
    try:
        return [row for _, row in rows.read(shared.path(LABELLED))]
    except MissingError:
        return None


def _labels_digest() -> str:
    """The hash of the labelled answers, empty where there are none: with them the figures hold more."""
    try:
        return file_digest(shared.path(LABELLED))
    except MissingError:
        return ""
