"""Fixtures: a request with a reply that keeps a principle and one that breaks it, written one by one for Solon.

They measure evaluators, judges and the router (`solon constitution test`). Both replies answer the same request and are
about equally long, so neither topic nor length gives the answer away. A file of your own has the same form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from solon.constitution.judging import Labelled
from solon.constitution.router import DOMAINS, Domain
from solon.constitution.store import BOOKS, Book, read_yaml
from solon.constitution.validation import Record, checked
from solon.core.errors import DataError, MissingError
from solon.core.records import user

SHIPPED = BOOKS / "fixtures"
HARMS = ("physical", "psychological", "social")


class Fixture(Record):
    """One request with both replies. `kind` is a finer label inside the pillar: the sort of harm, the group that is
    judged, `diagnosis` or `knowledge`. `domains` are those to which the request belongs."""

    id: str = Field(min_length=1)
    principle: str = Field(pattern=r"^[a-z0-9_-]+\.[a-z0-9_-]+$")
    prompt: str = Field(min_length=1)
    keeps: str = Field(min_length=1)
    breaks: str = Field(min_length=1)
    kind: str = ""
    domains: tuple[Domain, ...] = ()

    @property
    def pillar(self) -> str:
        return self.principle.partition(".")[0]

    def labelled(self, book: Book) -> Labelled:
        """The pair as a judge is asked about it; its kind is the pillar."""
        return Labelled(self.id, user(self.prompt), self.keeps, self.breaks, self.pillar, book.principle(self.principle))


class Request(Record):
    """A request that tests the router, and the domains to which it belongs."""

    round: int = Field(ge=1)
    prompt: str = Field(min_length=1)
    domains: tuple[Domain, ...] = ()


def requests() -> tuple[Request, ...]:
    """The last round of requests: those that were written after the router's rules and took no part in them."""
    path = BOOKS / "requests.yaml"
    rows = read_yaml(path)
    found = [checked(Request, row, f"{path.name}, request {place + 1}", DataError) for place, row in enumerate(rows)]
    return tuple(one for one in found if one.round == max(row.round for row in found))


def load(path: str | Path | None = None) -> tuple[Fixture, ...]:
    """The fixtures that Solon ships, or those of a YAML file: a list of `Fixture`s. Requests of a domain's own principle
    belong to that domain without saying so. Raises `MissingError` or `DataError`, which name file, fixture and field."""
    if path is not None and not Path(path).is_file():
        raise MissingError(f"there is no file of fixtures {str(path)!r}", fix="give the path of a YAML file")
    files = sorted(SHIPPED.glob("*.yaml")) if path is None else [Path(path)]
    found: dict[str, Fixture] = {}
    for file in files:
        rows = read_yaml(file)
        if not isinstance(rows, list) or not rows:
            raise DataError(f"{file.name}: not a list of fixtures", expected="- id: ..., principle: ..., prompt: ...")
        for place, values in enumerate(rows):
            one = _fixture(file.name, place, values)
            if one.id in found:
                raise DataError(f"{file.name}: two fixtures have the id {one.id!r}", fix="give one of them another id")
            found[one.id] = one
    return tuple(found.values())


def of_book(fixtures: Iterable[Fixture], book: Book) -> tuple[Fixture, ...]:
    """Those whose principle stands in the book. Raises `DataError` where none does."""
    known = {one.id for one in book.principles}
    kept = tuple(one for one in fixtures if one.principle in known)
    if not kept:
        raise DataError(
            f"no fixture is about a principle of the book {book.name!r}",
            fix="write fixtures that name its principles, and give their file with --fixtures",
        )
    return kept


def _fixture(file: str, place: int, values: Any) -> Fixture:
    known = values.get("id") if isinstance(values, Mapping) else None
    one = checked(Fixture, values, f"{file}, fixture {known!r}" if known else f"{file}, fixture {place + 1}", DataError)
    own = tuple(domain for domain in DOMAINS if domain == one.pillar)
    return one if one.domains or not own else one.model_copy(update={"domains": own})
