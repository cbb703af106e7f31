"""Constitutions: reading them, checking them, comparing two, and drawing a principle by name.

A book is a YAML file. It holds principles and names a second file of few-shot transcripts; without one it uses those of
the book `core`. What is drawn depends on names and on the book, never on what was drawn before.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property, lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from solon.constitution.validation import Record, checked
from solon.core.errors import ConfigError, DataError, MissingError, nearest
from solon.core.keys import rng

BOOKS = Path(__file__).parent / "books"
Tag = Literal["all", "harmful", "academic", "legal", "medical", "coding"]
TAGS: tuple[Tag, ...] = get_args(Tag)
ALIKE = 0.85  # share of matching characters from which two principles count as the same

CUES = {
    "critique_request": (r"critique", "the word 'critique'"),
    "revision_request": (r"rewrite|revis", "the word 'rewrite' or 'revise'"),
    "comparison_request": (r"\(A\).*\(B\)", "'(A)' and '(B)'"),
}
"""What tells a small model which of the three is asked of it."""


class Example(Record):
    """A request with a reply that keeps a principle and one that breaks it."""

    prompt: str = Field(min_length=1)
    good: str = Field(min_length=1)
    bad: str = Field(min_length=1)


class Principle(Record):
    """One principle, and how a model is asked to criticise, to revise and to compare by it."""

    id: str = Field(pattern=r"^[a-z0-9_-]+\.[a-z0-9_-]+$")
    text: str = Field(min_length=1)
    critique_request: str = Field(min_length=1)
    revision_request: str = Field(min_length=1)
    comparison_request: str = Field(min_length=1)
    weight: float = Field(default=1.0, allow_inf_nan=False)
    severity: int = Field(default=3, ge=1, le=5)
    applies_to: tuple[Tag, ...] = Field(default=("all",), min_length=1)
    examples: tuple[Example, ...] = ()
    source: Literal["seed", "authored"] = "authored"

    @property
    def pillar(self) -> str:
        return self.id.partition(".")[0]


class Transcript(Record):
    """One worked critique and revision. The requests come from the principle unless they are written out."""

    principle: str
    request: str
    reply: str
    critique: str
    revision: str
    critique_request: str = ""
    revision_request: str = ""


class Comparison(Record):
    """One worked comparison and the principles under which the good reply is the better one."""

    principles: tuple[str, ...] = Field(min_length=1)
    prompt: str
    good: str
    bad: str
    requests: tuple[str, ...] = ()


class Book(Record):
    """A constitution with its few-shot material."""

    name: str
    version: str
    description: str
    licence: str
    pillars: Mapping[str, str] = {}
    principles: tuple[Principle, ...]
    transcripts: tuple[Transcript, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    @cached_property
    def hash(self) -> str:
        """12 hexadecimal digits over the whole content; comments and layout of the file do not count."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def principle(self, id: str) -> Principle:
        """The principle of this id. Raises `MissingError` with the nearest one."""
        for one in self.principles:
            if one.id == id:
                return one
        raise MissingError(
            f"the book {self.name!r} has no principle {id!r}", fix=nearest(id, [p.id for p in self.principles])
        )


class _Header(Record):
    """A book file as it is written: the principles unread, the transcripts in another file."""

    name: str
    version: str
    description: str
    licence: str
    pillars: dict[str, str] = {}
    principles: list[Any]
    transcripts: str = ""


class _FewShot(Record):
    """A transcripts file as it is written."""

    transcripts: list[Any] = []
    comparisons: list[Any] = []


@dataclass(frozen=True)
class Change:
    """One difference between two books; `principle` is empty where the book itself changed."""

    kind: Literal["added", "removed", "changed"]
    principle: str
    field: str = ""
    before: Any = None
    after: Any = None


def names() -> list[str]:
    """The books that come with Solon."""
    return sorted(
        path.stem for path in BOOKS.glob("*.yaml") if re.search(r"^principles:", path.read_text("utf-8"), re.M)
    )


def load(name_or_path: str | Path) -> Book:
    """A book by name, or from a YAML file. Raises `MissingError` or `DataError`, which name file, principle and field."""
    text = str(name_or_path)
    if Path(text).suffix in (".yaml", ".yml") or "/" in text or "\\" in text:
        path = Path(text)
        if not path.is_file():
            raise MissingError(
                f"there is no constitution file {text!r}",
                fix="give the path of a YAML file, or one of: " + ", ".join(names()),
            )
    else:
        path = BOOKS / f"{text}.yaml"
        if text not in names():
            raise MissingError(
                f"no constitution is called {text!r}", fix=nearest(text, names()) + "; or give the path of a YAML file"
            )
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _load(path: Path, changed: int) -> Book:
    """Read once per state of the file, since every stage asks for its book again."""
    header = checked(_Header, read_yaml(path), path.name, DataError)
    principles = tuple(_principle(path.name, i, values) for i, values in enumerate(header.principles))
    if not principles:
        raise DataError(f"{path.name}: a constitution needs at least one principle", got="an empty list of principles")
    seen: set[str] = set()
    for one in principles:
        if one.id in seen:
            raise DataError(f"{path.name}: two principles have the id {one.id!r}", fix="give one of them another id")
        seen.add(one.id)
        if header.pillars and one.pillar not in header.pillars:
            fix = nearest(one.pillar, header.pillars)
            raise DataError(f"{path.name}, principle {one.id!r}: the field 'id' begins with an unknown pillar", fix=fix)
    if header.transcripts:
        transcripts, comparisons = _few_shot(_beside(path, header.transcripts), {p.id: p for p in principles})
    else:
        core = load("core")
        transcripts, comparisons = core.transcripts, core.comparisons
    fields = header.model_dump(exclude={"principles", "transcripts"})
    return Book(**fields, principles=principles, transcripts=transcripts, comparisons=comparisons)


def _principle(file: str, place: int, values: Any) -> Principle:
    known = values.get("id") if isinstance(values, Mapping) else None
    return checked(
        Principle, values, f"{file}, principle {known!r}" if known else f"{file}, principle {place + 1}", DataError
    )


def _beside(path: Path, name: str) -> Path:
    """A file in the book's own folder: a book that somebody else wrote reads nothing else."""
    if Path(name).name != name or not (path.parent / name).is_file():
        raise DataError(
            f"{path.name}: the field 'transcripts' does not name a file",
            got=name,
            expected="a file in the same folder as the book",
        )
    return path.parent / name


def _few_shot(path: Path, principles: Mapping[str, Principle]) -> tuple[tuple[Transcript, ...], tuple[Comparison, ...]]:
    """The few-shot material, with the requests of the principles that it names filled in."""
    file = checked(_FewShot, read_yaml(path), path.name, DataError)

    def named(id: str, where: str) -> Principle:
        if id not in principles:
            raise DataError(f"{where}: the book has no principle {id!r}", fix=nearest(id, principles))
        return principles[id]

    transcripts, comparisons = [], []
    for place, values in enumerate(file.transcripts):
        where = f"{path.name}, transcript {place + 1}"
        one = checked(Transcript, values, where, DataError)
        if not (one.critique_request and one.revision_request):
            by = named(one.principle, where)
            one = one.model_copy(
                update={"critique_request": by.critique_request, "revision_request": by.revision_request}
            )
        transcripts.append(one)
    for place, values in enumerate(file.comparisons):
        where = f"{path.name}, comparison {place + 1}"
        pair = checked(Comparison, values, where, DataError)
        if not pair.requests:
            requests = tuple(named(id, where).comparison_request for id in pair.principles)
            pair = pair.model_copy(update={"requests": requests})
        comparisons.append(pair)
    return tuple(transcripts), tuple(comparisons)


def read_yaml(path: Path) -> Any:
    """What a YAML file of any shape holds. Raises `DataError` for one that cannot be read."""
    import yaml

    # The C loader is ten times faster and just as safe; not every build of PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(path.read_text("utf-8"), Loader=loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} is not valid YAML", got=" ".join(str(error).split())[:200]) from error


def purpose(book: Book) -> Principle:
    """The principle by which replies are compared where none is given: serving what was asked, or the book's first."""
    return next((one for one in book.principles if one.id == "help.purpose"), book.principles[0])


def applicable(book: Book, tags: Collection[str]) -> list[Principle]:
    """The principles for a request with these tags: those meant for all, and those that share a tag with it."""
    for tag in tags:
        if tag not in TAGS:
            raise ConfigError(f"no principle can apply to the tag {tag!r}", fix=nearest(tag, TAGS))
    wanted = {"all", *tags}
    return [one for one in book.principles if wanted & set(one.applies_to)]


def outside(book: Book, pillars: Collection[str]) -> list[str]:
    """Ids of the principles of all other pillars, to be excluded from a draw; none where no pillar is named."""
    return [one.id for one in book.principles if pillars and one.pillar not in pillars]


def draw(book: Book, *names: Any, exclude: Collection[str] = (), tags: Collection[str] | None = None) -> Principle:
    """A principle drawn by weight, with replacement: the same names always give the same one.

    With equal weights this is the paper's uniform draw (arXiv 2212.08073, section 3.1): name the prompt and the round.
    `exclude` holds ids; `tags` keeps to the principles that apply.
    """
    pool = list(book.principles) if tags is None else applicable(book, tags)
    pool = [one for one in pool if one.id not in exclude and one.weight > 0]
    if not pool:
        raise ConfigError(
            f"no principle of the book {book.name!r} is left to draw",
            got=f"tags {sorted(tags or ())}, {len(exclude)} excluded",
            expected="at least one principle with a weight above 0",
        )
    weights = [one.weight for one in pool]
    total = sum(weights)
    return pool[int(rng("principle", *names).choice(len(pool), p=[weight / total for weight in weights]))]


def check(book: Book) -> list[str]:
    """What an author should look at again; nothing here keeps a book from being used."""
    warnings = []
    for one in book.principles:
        if not one.examples:
            warnings.append(f"{one.id}: no examples of a good and a bad reply")
        if one.weight <= 0:
            warnings.append(f"{one.id}: the weight is {one.weight:g}, so it is never drawn")
        for field, (pattern, cue) in CUES.items():
            if not re.search(pattern, getattr(one, field), re.IGNORECASE | re.DOTALL):
                warnings.append(f"{one.id}: the {field} lacks {cue}, and a small model may do the wrong thing")
    for a, b in combinations(book.principles, 2):
        likeness = SequenceMatcher(None, a.text.lower(), b.text.lower(), autojunk=False)
        if likeness.real_quick_ratio() >= ALIKE and likeness.quick_ratio() >= ALIKE and likeness.ratio() >= ALIKE:
            warnings.append(f"{a.id} and {b.id} say nearly the same")
    used = {one.pillar for one in book.principles}
    warnings += [f"the pillar {pillar!r} has no principle" for pillar in book.pillars if pillar not in used]
    if not book.transcripts:
        warnings.append("no transcripts: a small model confuses critique and revision without them")
    return warnings


def diff(a: Book, b: Book) -> list[Change]:
    """What changed from a to b: the book's own fields first, then principles in b's order, then those removed."""
    changes = []
    for field in ("name", "version", "description", "licence", "pillars", "transcripts", "comparisons"):
        before, after = getattr(a, field), getattr(b, field)
        if before != after:
            changes.append(Change("changed", "", field, _plain(before), _plain(after)))
    old, new = ({one.id: one for one in book.principles} for book in (a, b))
    for id, one in new.items():
        if id not in old:
            changes.append(Change("added", id, after=one.text))
            continue
        for field in Principle.model_fields:
            before, after = getattr(old[id], field), getattr(one, field)
            if before != after:
                changes.append(Change("changed", id, field, _plain(before), _plain(after)))
    return changes + [Change("removed", id, before=one.text) for id, one in old.items() if id not in new]


def _plain(value: Any) -> Any:
    """The JSON form of a field."""
    if isinstance(value, Record):
        return value.model_dump(mode="json")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value
