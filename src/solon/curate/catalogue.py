"""Sources by name, for recipes: `starter:red_team` (comes with Solon), `shared:dolly` (in the folder that `SOLON_DATA`
names), a file, or a hub data set `org/name[:split]`.

Every source says under which licence it is, its hash, and how it was split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.core.artifacts import digest, file_digest
from solon.core.errors import ConfigError, DataError, MissingError, nearest
from solon.core.records import (
    Demonstration,
    LabelledPair,
    MultipleChoice,
    Paraphrase,
    Passage,
    Preference,
    Sample,
    WorkedCritique,
)
from solon.curate import forms, rows, shared, starter
from solon.curate.splits import Split, checked, side, text_of

UNKNOWN = "unknown: the user's own file"
HELDOUT = 0.2
"""Of a user's own rows, unless they carry a `split` field."""
READERS: dict[str, Callable[..., list[Any]]] = {
    "prompts": forms.as_prompts,
    "demonstrations": forms.as_demonstrations,
    "preferences": forms.as_preferences,
    "labelled_pairs": forms.as_labelled_pairs,
    "multiple_choice": forms.as_questions,
    "passages": forms.as_passages,
    "paraphrases": forms.as_paraphrases,
    "worked_critiques": forms.as_worked_critiques,
}
KINDS = {
    Sample: "prompts",
    Demonstration: "demonstrations",
    Preference: "preferences",
    LabelledPair: "labelled_pairs",
    MultipleChoice: "multiple_choice",
    Passage: "passages",
    Paraphrase: "paraphrases",
    WorkedCritique: "worked_critiques",
}


@dataclass(frozen=True)
class Source:
    """The rows of one side of a source. `digest` is of the whole source, not of the side; `parted` says how the sides
    were told apart."""

    name: str
    kind: str
    split: Split
    licence: str
    digest: str
    parted: str
    rows: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.rows)


def names() -> list[str]:
    """Every name that needs no path."""
    return [*(f"starter:{name}" for name in starter.SETS), *(f"shared:{name}" for name in shared.SOURCES)]


def kind_of(name: str) -> str | None:
    """What a named source holds, without reading a shared one; None for a file, which holds what it is read as."""
    family, colon, rest = str(name).partition(":")
    if colon and family == "starter":
        return KINDS[type(starter.load(rest)[0])]
    return _shared(rest).kind if colon and family == "shared" else None


def source(name: str, split: Split = "all", kind: str | None = None, root: Path | str | None = None) -> Source:
    """One side of a source. `kind` is needed for files and hub names (see `READERS`); `root` stands for `SOLON_DATA`.

    Raises `MissingError` for an unknown name or absent data, `DataError` for bad rows or an empty side, `ConfigError`
    where the source holds another kind than asked for."""
    checked(split)
    family, colon, rest = str(name).partition(":")
    if colon and family == "starter":
        found = _of_starter(rest, split)
    elif colon and family == "shared":
        found = _of_shared(rest, split, root)
    else:
        found = _of_file(str(name), split, kind)
    if kind is not None and found.kind != kind:
        fitting = [known for known in names() if kind_of(known) == kind]
        fix = ("use " + ", ".join(fitting)) if fitting else "give a file"
        raise ConfigError(f"the source {name!r} holds {found.kind}, not {kind}", got=found.kind, expected=kind, fix=fix)
    if not found.rows:
        fix = f"use another source for this; {found.name} is parted by: {found.parted}"
        raise DataError(
            f"the source {name!r} has no rows on the side {split!r}", got="0 rows", expected="at least one", fix=fix
        )
    return found


def prompts(name: str, split: Split = "all", root: Path | str | None = None) -> list[Sample]:
    """What a user asks. Errors as in `source`, here and below."""
    return list(source(name, split, "prompts", root).rows)


def demonstrations(name: str, split: Split = "all", root: Path | str | None = None) -> list[Demonstration]:
    """Conversations to learn from."""
    return list(source(name, split, "demonstrations", root).rows)


def preferences(name: str, split: Split = "all", root: Path | str | None = None) -> list[Preference]:
    """Pairs to train on; labelled pairs count as preferences of probability 1, their kind as the principle."""
    if kind_of(name) == "labelled_pairs":
        pairs = labelled_pairs(name, split, root)
        return [Preference(pair.id, pair.prompt, pair.chosen, pair.rejected, 1.0, pair.kind, name) for pair in pairs]
    return list(source(name, split, "preferences", root).rows)


def labelled_pairs(name: str, split: Split = "all", root: Path | str | None = None) -> list[LabelledPair]:
    """Pairs to test a judge on."""
    return list(source(name, split, "labelled_pairs", root).rows)


def multiple_choice(name: str, split: Split = "all", root: Path | str | None = None) -> list[MultipleChoice]:
    """Questions with one right choice."""
    return list(source(name, split, "multiple_choice", root).rows)


def passages(name: str, split: Split = "all", root: Path | str | None = None) -> list[Passage]:
    """Plain text for perplexity."""
    return list(source(name, split, "passages", root).rows)


def paraphrases(name: str, split: Split = "all", root: Path | str | None = None) -> list[Paraphrase]:
    """Wordings of one request."""
    return list(source(name, split, "paraphrases", root).rows)


def _of_starter(name: str, split: Split) -> Source:
    found = tuple(starter.load(name, split))
    parted = _by_hash(starter.SETS[name].heldout)
    return Source(
        f"starter:{name}", kind_of(f"starter:{name}") or "", split, starter.LICENCE, starter.digest(name), parted, found
    )


def _of_shared(name: str, split: Split, root: Path | str | None) -> Source:
    known = _shared(name)
    kept: list[Any] = []
    for file, records in shared.read(known, root):
        for record in records:
            if isinstance(known.heldout, str):
                fallen: Split = "heldout" if file == known.heldout else "train"
            else:
                fallen = side(text_of(record), known.heldout)
            if split in ("all", fallen):
                kept.append(record)
    parted = f"its authors; held out: {known.heldout}" if isinstance(known.heldout, str) else _by_hash(known.heldout)
    licence, sha = shared.licence(known, root), shared.files_digest(known, root)
    return Source(f"shared:{name}", known.kind, split, licence, sha, parted, tuple(kept))


def _of_file(name: str, split: Split, kind: str | None) -> Source:
    if kind not in READERS:
        fix = "name the kind" if kind is None else nearest(kind, READERS)
        raise ConfigError(f"what does {name} hold?", got=kind, expected=", ".join(READERS), fix=fix)
    _refuse_slip(name)
    table = list(rows.read(name))
    records = READERS[kind](table, source=name)
    given = [_given_side(place, row) for place, row in table]
    sides = [own or side(text_of(record), HELDOUT) for own, record in zip(given, records, strict=True)]
    kept = tuple(record for record, fallen in zip(records, sides, strict=True) if split in ("all", fallen))
    hashes = [file_digest(path) for path in rows.files(name)]
    sha = hashes[0] if len(hashes) == 1 else digest(hashes, 64)
    parted = "the rows' own field split" if all(given) else _by_hash(HELDOUT)
    return Source(name, kind, split, UNKNOWN, sha, parted, kept)


def _refuse_slip(name: str) -> None:
    """`helpful_prompts` alone is most likely a starter or shared set without its family."""
    close = [known for known in names() if known.endswith(f":{name}")]
    if close and not Path(name).exists():
        raise MissingError(f"there is no file {name!r}", fix=f"did you mean {close[0]!r}?")


def _given_side(place: str, row: Any) -> Split | None:
    """`train` and `training` are for training; `test`, `validation`, `valid`, `dev`, `eval` and `heldout` are not."""
    value = row.get("split")
    if value is None or value == "":
        return None
    if value in ("train", "training"):
        return "train"
    if value in ("test", "validation", "valid", "dev", "eval", "heldout"):
        return "heldout"
    raise DataError(
        f"{place}: the field 'split' names no split", got=value, expected="train, test, validation or heldout"
    )


def _by_hash(heldout: float) -> str:
    return "all held out" if heldout == 1 else f"the hash of the text, {heldout:.0%} held out"


def _shared(name: str) -> shared.Shared:
    if name not in shared.SOURCES:
        raise MissingError(f"there is no shared source {name!r}", fix=nearest(name, shared.SOURCES))
    return shared.SOURCES[name]
