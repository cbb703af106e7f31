"""A recipe: one short YAML file that says what is done to which model, with which data and constitution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from solon.core.config import Config, build, override, read_yaml
from solon.stages.answers import Answers
from solon.stages.dpo import Dpo
from solon.stages.evaluate import Evaluate
from solon.stages.feedback import Feedback
from solon.stages.fit import Fit
from solon.stages.gate import Gate
from solon.stages.pairs import Pairs
from solon.stages.release import Release
from solon.stages.revise import Revise
from solon.stages.screen import Screen
from solon.stages.skills import Lessons


class Data(Config):
    """Where each kind of data comes from: a set of Solon's own, a shared one, a file or a hub name; `a + b` is both."""

    demonstrations: str = "starter:demonstrations"
    red_team: str = "starter:red_team"
    benign: str = "starter:benign"
    helpful: str = "starter:helpful_prompts"
    labelled: str = "starter:labelled_pairs"
    transcripts: str = "starter:critiques"
    criticised: str = "starter:labelled_pairs"  # the pairs that the transcripts are about
    multiple_choice: str = "starter:multiple_choice"
    passages: str = "starter:passages"
    paraphrases: str = "starter:paraphrases"
    test_red_team: str = ""  # where the held-out side comes from another source
    test_benign: str = ""


class Sift(Config):
    """Rows of these sources whose harm by the safety classifier is above `bar` are not trained on (`stages/sift.py`); without a
    bar the classifier is not asked."""

    bar: float = Field(0.0, ge=0, lt=1)
    sources: tuple[Literal["demonstrations", "helpful", "benign"], ...] = Field(("demonstrations",), min_length=1)


class Harden(Config):
    """How many attacks are made on the helpful model with red-team prompts of the training side; those that work are trained on,
    too (`stages/harden.py`). `families` names attacks or groups, all when empty; prompts of more than `longest` tokens are left out."""

    attempts: int = Field(0, ge=0)
    families: tuple[str, ...] = ()
    longest: int = Field(256, ge=16)


class Wanted(Config):
    """What a run measures of its base and aligned model for the release, before its report (`stages/evidence.py`): `redteam`
    attempts on each; `suites` by name or bundle, each with a limit of items (null asks all); the safety classifier's opinion of
    the replies and of all that was trained on; the guard, with the aligned model. Nothing of it unless it is asked for."""

    redteam: int = Field(0, ge=0)
    suites: dict[str, Annotated[int, Field(ge=1)] | None] = {}
    classify: bool = False
    guard: bool = False


class Recipe(Config):
    """Everything that decides the outcome of `solon align`."""

    LATER: ClassVar[frozenset[str]] = frozenset({"sift", "harden", "evidence"})

    name: str
    description: str = ""
    model: str
    constitution: str = "core"
    seed: int = Field(1, ge=0)
    data: Data = Data()
    lessons: Lessons = Lessons()
    helpful: Fit = Fit()
    gate: Gate = Gate()
    revise: Revise = Revise()
    screen: Screen = Screen()
    answers: Answers = Answers()
    sl_from: Literal["base", "helpful"] = "base"
    sl: Fit = Fit()
    pairs: Pairs = Pairs()
    feedback: Feedback = Feedback()
    dpo: Dpo = Dpo()
    evaluate: Evaluate = Evaluate()
    release: Release = Release()
    sift: Sift = Sift()
    harden: Harden = Harden()
    evidence: Wanted = Wanted()


def load(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe; `overrides` are `section.key=value`."""
    path = Path(path)
    content: dict[str, Any] = override(read_yaml(path), list(overrides))
    content.setdefault("name", path.stem)
    return build(Recipe, content, path.name)
