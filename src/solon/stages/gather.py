"""The data of a recipe: training sides for the stages, held-out sides for judges and evaluation, never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from solon.core.keys import seed_of
from solon.core.records import Demonstration, LabelledPair, Sample, WorkedCritique
from solon.curate import catalogue
from solon.curate.duplicates import leaks
from solon.curate.splits import Split, text_of
from solon.stages.evaluate import Held
from solon.stages.recipe import Data, Recipe

# Tasks that teach refusing: the helpful model is helpful only (cai-method 1.1), so it never sees them.
REFUSING = frozenset({"refusal_with_alternative"})


@dataclass(frozen=True)
class Gathered:
    """Everything a run reads, shuffled once by the recipe's seed; `digests` names it for the evidence. `unseen` are good
    replies of the training side that no model is taught."""

    demonstrations: Sequence[Demonstration]
    unseen: tuple[Demonstration, ...]
    red_team: Sequence[Sample]
    benign: Sequence[Sample]
    helpful: Sequence[Sample]
    labelled: Sequence[LabelledPair]
    certificate: Sequence[LabelledPair]
    worked: Sequence[tuple[LabelledPair, WorkedCritique]]
    held: Held
    digests: dict[str, str]
    licences: dict[str, str]

    def digest_of(self, names: str) -> str:
        """What the evidence records of a source, or of several joined by ` + `."""
        return "+".join(self.digests[name] for name in parts(names))


def parts(names: str) -> list[str]:
    """The sources that a recipe joins by ` + `."""
    return [one.strip() for one in names.split(" + ")]


def gather(recipe: Recipe) -> Gathered:
    """Read all sources. A training row that is near a held-out row of any kind is left out, so nothing leaks."""
    data, seed = recipe.data, recipe.seed
    read = _Reader(data, seed)
    test_red_team = read(data.test_red_team or data.red_team, "prompts", "heldout")
    test_benign = read(data.test_benign or data.benign, "prompts", "heldout")
    demonstrations = read(data.demonstrations, "demonstrations", "heldout")
    helpful_test = [one for one in demonstrations if len(one.messages) == 2 and one.tags.get("task") not in REFUSING]
    held = Held(
        test_red_team, test_benign, helpful_test, read(data.paraphrases, "paraphrases", "heldout"),
        read(data.multiple_choice, "multiple_choice", "heldout"), read(data.passages, "passages", "heldout"),
    )  # fmt: skip
    certificate = read(data.labelled, "labelled_pairs", "heldout")
    apart = [text_of(one) for one in (*test_red_team, *test_benign, *demonstrations, *certificate)]
    apart += [wording for many in held.paraphrases for wording in many.prompts]
    clean = lambda rows: _apart(rows, apart)  # noqa: E731
    labelled = clean(read(data.labelled, "labelled_pairs", "train"))
    criticised = {one.id: one for one in clean(read(data.criticised, "labelled_pairs", "train"))}
    critiques = read(data.transcripts, "worked_critiques", "train")
    worked = [(criticised[one.id], one) for one in critiques if one.id in criticised]
    helpful = [one for one in read(data.demonstrations, "demonstrations", "train") if one.tags.get("task") not in REFUSING]
    shown = clean(helpful)
    most = len(shown) - min(recipe.gate.rows, len(shown) // 5)
    return Gathered(
        shown[:most], tuple(shown[most:]), clean(read(data.red_team, "prompts", "train")), clean(read(data.benign, "prompts", "train")),
        clean(read(data.helpful, "prompts", "train")), labelled, certificate, worked, held, read.digests, read.licences,
    )  # fmt: skip


class _Reader:
    """Reads one side of a source and remembers where it came from."""

    def __init__(self, data: Data, seed: int):
        self.data, self.seed = data, seed
        self.digests: dict[str, str] = {}
        self.licences: dict[str, str] = {}

    def __call__(self, names: str, kind: str, split: Split) -> list[Any]:
        sources: list[list[Any]] = []
        for name in parts(names):
            found = catalogue.source(name, split, kind)
            self.digests[name] = found.digest
            self.licences[name] = found.licence
            sources.append(sorted(found.rows, key=lambda row: seed_of("shuffle", self.seed, row.id)))
        return evenly(sources)


def evenly(sources: Sequence[Sequence[Any]]) -> list[Any]:
    """A row of each source in turn, so that the first so many are not all of the largest."""
    return [row for turn in zip_longest(*sources, fillvalue=None) for row in turn if row is not None]


def _apart(rows: Sequence[Any], heldout: Sequence[str]) -> list[Any]:
    near = {leak.train for leak in leaks([text_of(one) for one in rows], heldout)}
    return [one for place, one in enumerate(rows) if place not in near]


def prompts(data: Gathered, red_team: int = 0, benign: int = 0, helpful: int = 0) -> list[Sample]:
    """The first prompts of each kind on the training side, marked with what they are for."""
    kinds = (("red_team", data.red_team, red_team), ("benign", data.benign, benign), ("helpful", data.helpful, helpful))
    return [replace(one, tags={**one.tags, "kind": kind}) for kind, many, count in kinds for one in many[:count]]
