"""The data that Solon brings along, written for it: enough to align and to measure a small model without any download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Any

from solon.core.artifacts import file_digest
from solon.core.errors import MissingError, nearest
from solon.curate import forms, rows
from solon.curate.splits import Split, checked, side, text_of

LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class Set:
    """One file: how its rows are read, and the share that is never trained on."""

    read: Callable[..., list[Any]]
    heldout: float


SETS: dict[str, Set] = {
    "red_team": Set(forms.as_prompts, 0.45),
    "benign": Set(forms.as_prompts, 0.55),
    "helpful_prompts": Set(forms.as_prompts, 0.2),
    "demonstrations": Set(forms.as_demonstrations, 0.15),
    "labelled_pairs": Set(forms.as_labelled_pairs, 0.4),
    "critiques": Set(forms.as_worked_critiques, 0.0),
    "multiple_choice": Set(forms.as_questions, 1.0),
    "passages": Set(forms.as_passages, 1.0),
    "paraphrases": Set(forms.as_paraphrases, 1.0),
    "unanswerable": Set(forms.as_prompts, 1.0),
    "swaps": Set(forms.as_prompts, 1.0),
    "skills": Set(forms.as_prompts, 1.0),
    "hard_choices": Set(forms.as_questions, 1.0),
    "dated_programs": Set(forms.as_prompts, 1.0),
    "repairs": Set(forms.as_prompts, 1.0),
    "configs": Set(forms.as_prompts, 1.0),
    "framework_programs": Set(forms.as_prompts, 1.0),
    "creative": Set(forms.as_prompts, 1.0),
}


def load(name: str, split: Split = "all") -> list[Any]:
    """The records of one set: `Sample`, `Demonstration`, `LabelledPair`, `MultipleChoice`, `Passage` or `Paraphrase`.

    A row's side depends on what is asked in it, so that one prompt with two replies never lies on both sides.
    Raises `MissingError` for an unknown set."""
    checked(split)
    heldout = _set(name).heldout
    return [record for record in _all(name) if split in ("all", side(text_of(record), heldout))]


@cache
def digest(name: str) -> str:
    """SHA-256 of the file."""
    _set(name)
    with as_file(files("solon") / "starter" / f"{name}.jsonl") as path:
        return file_digest(path)


@cache
def _all(name: str) -> tuple[Any, ...]:
    with as_file(files("solon") / "starter" / f"{name}.jsonl") as path:
        return tuple(_set(name).read(rows.read(path), source=f"starter:{name}"))


def _set(name: str) -> Set:
    if name not in SETS:
        raise MissingError(f"there is no starter set {name!r}", fix=nearest(name, SETS))
    return SETS[name]
