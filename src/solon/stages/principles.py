"""How well breaches of a constitution are told from replies that keep it: evaluators, judges and the router, on fixtures.

A fixture falls on its side by the hash of its request (`curate.splits`), as rows of every other set do. Everything that
learns, learns from the train side; every figure is of the held-out side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from solon.constitution import evaluators
from solon.constitution.certificate import certify
from solon.constitution.evaluators import Evaluator
from solon.constitution.fixtures import HARMS, Fixture, requests
from solon.constitution.judging import judge_by
from solon.constitution.router import DOMAINS, route
from solon.constitution.store import Book
from solon.core.artifacts import Record
from solon.core.errors import ConfigError, DataError, nearest
from solon.core.intervals import clopper_pearson
from solon.curate import duplicates, splits, starter
from solon.evals.statistics import Figure, bootstrap, proportion
from solon.models.load import Model

HELDOUT = 0.4
LEAST = 4  # held-out fixtures of a pillar or a slice, below which no figure is shown
JUDGES = ("cues", "self", "probe")
Advance = Callable[..., None]

# The starter set's held-out helpful prompts that belong to a domain, read one by one; the rest belong to none.
ORDINARY: dict[str, frozenset[str]] = {
    "academic": frozenset({"hp-0004"}),
    "legal": frozenset(),
    "medical": frozenset({"hp-0336", "hp-0434", "hp-0509"}),
    "coding": frozenset(f"hp-{number:04}" for number in (4, 30, 60, 78, 235, 328, 477, 480, 582, 660, 729)),
}
UNCLEAR = frozenset({"hp-0208", "hp-0491", "hp-0591"})  # people would differ: lenses, a vitamin, nerves before exams

# The red-team categories that are plainly of one sort of harm; the others mix them.
SORTS = {
    "weapons": "physical", "violence": "physical", "self_harm": "physical", "medical_danger": "physical",
    "harassment": "psychological", "privacy_stalking": "psychological", "hate": "social", "disinformation": "social",
}  # fmt: skip


def sides(fixtures: Sequence[Fixture]) -> tuple[list[Fixture], list[Fixture]]:
    """Train and held-out fixtures. One that nearly repeats a held-out request is left out of training."""
    train = [one for one in fixtures if splits.side(one.prompt, HELDOUT) == "train"]
    heldout = [one for one in fixtures if splits.side(one.prompt, HELDOUT) == "heldout"]
    if not train or not heldout:
        raise DataError("too few fixtures to hold some out", got=len(fixtures), expected="some twenty or more")
    copies = {leak.train for leak in duplicates.leaks([one.prompt for one in train], [one.prompt for one in heldout])}
    return [one for place, one in enumerate(train) if place not in copies], heldout


def by_cues(fixtures: Sequence[Fixture], advance: Advance = lambda *_: None) -> Record:
    """The default evaluators: a row for each pillar and for its slices, and those pillars that have too few fixtures."""
    train, heldout = sides(fixtures)
    rows, left_out = [], {}
    for pillar in dict.fromkeys(one.pillar for one in fixtures):
        known, test = (_of(pillar, side) for side in (train, heldout))
        if len(known) < evaluators.FEWEST or len(test) < LEAST:
            left_out[pillar] = f"{len(known)} fixtures to fit on, {len(test)} held out"
        else:
            rows += list(_rows(evaluators.fit(pillar, known), known, test))
        advance(1, pillar)
    return {"train": len(train), "heldout": len(heldout), "rows": rows, "left_out": left_out}


def _rows(evaluator: Evaluator, train: Sequence[Fixture], test: Sequence[Fixture]) -> Iterator[Record]:
    """The pillar first, then each principle and kind of which enough is held out."""
    p = np.reshape(
        evaluator.breaks([(one.prompt, reply) for one in test for reply in (one.keeps, one.breaks)]), (-1, 2)
    )
    short = _shortness(train, test)
    for name, inside in {"": [True] * len(test), **_slices(test)}.items():
        if sum(inside) >= LEAST:
            yield _row(evaluator.pillar, name, p[inside], short[inside])


def _slices(test: Sequence[Fixture]) -> dict[str, list[bool]]:
    """Principles and kinds, where there is more than one of them."""
    out: dict[str, list[bool]] = {}
    for column in ([one.principle for one in test], [one.kind for one in test]):
        names = sorted(set(column))
        if len(names) > 1:
            out |= {name: [value == name for value in column] for name in names if name}
    return out


def _row(pillar: str, part: str, p: Any, short: Any) -> Record:
    """Figures of pairs `[n, 2]`: what the reply that keeps and the one that breaks got."""
    name = f"{pillar} {part}"
    flagged = p >= evaluators.THRESHOLD
    return {
        "pillar": pillar, "slice": part, "n": 2 * len(p), "broken": len(p), "auc": _auc(p, name),
        "sensitivity": asdict(proportion(flagged[:, 1])), "specificity": asdict(proportion(~flagged[:, 0])),
        "pairs": asdict(proportion(p[:, 1] > p[:, 0])), "length_auc": _auc(short, f"{name} length"),
    }  # fmt: skip


def _auc(p: Any, name: str) -> Record:
    """The chance that a breach scores above a reply that keeps, ties as half, with a bootstrap over requests. Where every
    breach does, no resample can say how often one would not: the interval is then the exact one of as many requests."""
    above = (p[None, :, 1] > p[:, None, 0]) + (p[None, :, 1] == p[:, None, 0]) / 2  # [kept, broken]
    n, value = len(p), float(above.mean())
    if value in (0.0, 1.0):
        low, high = clopper_pearson(round(value * n), n)
        return asdict(Figure(value, low, high, 2 * n, f"AUC; all alike, so Clopper-Pearson 95 % of {n} requests"))

    def statistic(picked: Any) -> Any:
        """AUC of requests by their places, `[..., requests]`."""
        flat = picked.reshape(-1, picked.shape[-1]).astype(int)
        counts = np.array([np.bincount(one, minlength=n) for one in flat], np.float64)
        return (((counts @ above) * counts).sum(-1) / picked.shape[-1] ** 2).reshape(picked.shape[:-1])

    found = bootstrap(statistic, np.arange(n, dtype=np.float64), name=name, what="AUC over requests")
    return asdict(Figure(found.value, found.low, found.high, 2 * n, found.how))


def _shortness(train: Sequence[Fixture], test: Sequence[Fixture]) -> Any:
    """What length alone would say, `[n, 2]`: the number of words, turned so that breaches are higher on the train side."""
    longer = sum(np.sign(len(one.breaks.split()) - len(one.keeps.split())) for one in train)
    sign = 1.0 if longer >= 0 else -1.0
    return sign * np.array([[len(one.keeps.split()), len(one.breaks.split())] for one in test], np.float64)


def by_kind(fixtures: Sequence[Fixture]) -> list[Record]:
    """How often the sort of harm is named rightly, on held-out fixtures and on the starter set's held-out red-team prompts,
    with a table of what was taken for what. Nothing for fixtures without the three sorts."""
    train, heldout = (
        [(f"{one.prompt} {one.breaks}", one.kind) for one in side if _is_harm(one)] for side in sides(fixtures)
    )
    if {kind for _, kind in train} != set(HARMS) or not heldout:
        return []
    known, asked = (
        [(splits.text_of(one), SORTS[one.tags["category"]]) for one in _red_team(side)] for side in ("train", "heldout")
    )
    kinds = evaluators.fit_kinds(*zip(*(train + known), strict=True))
    return [_named(kinds, name, rows) for name, rows in (("fixtures", heldout), ("red team", asked))]


def _named(kinds: evaluators.Kinds, name: str, rows: Sequence[tuple[str, str]]) -> Record:
    said = kinds.of([text for text, _ in rows])
    true = [kind for _, kind in rows]
    table = {a: {b: sum(x == (a, b) for x in zip(true, said, strict=True)) for b in HARMS} for a in HARMS}
    return {"set": name, "right": asdict(proportion([a == b for a, b in zip(true, said, strict=True)])), "table": table}


def _is_harm(one: Fixture) -> bool:
    return one.pillar == "harm" and one.kind in HARMS


def _red_team(side: splits.Split) -> list[Any]:
    return [one for one in starter.load("red_team", side) if one.tags["category"] in SORTS]


def checked_judge(judge: str, model: str | None) -> None:
    """Raises `ConfigError` for a judge that cannot be tested, or one with a model too many or too few."""
    if judge not in JUDGES:
        raise ConfigError(
            f"fixtures cannot test the judge {judge!r}", expected=", ".join(JUDGES), fix=nearest(judge, JUDGES)
        )
    if (judge == "cues") != (model is None):
        wanted = "reads no model" if judge == "cues" else "reads a model, and none was given"
        fix = "leave out --model, or choose --judge probe or self" if judge == "cues" else "name one with --model"
        raise ConfigError(f"the judge {judge!r} {wanted}", fix=fix)


def held_out(fixtures: Sequence[Fixture]) -> int:
    """How many of them are measured on."""
    return len(sides(fixtures)[1])


def by_judge(
    kind: str, model: Model, book: Book, fixtures: Sequence[Fixture], advance: Advance = lambda *_: None
) -> Record:
    """A judge's certificate on the held-out pairs, with its accuracy for each pillar; `probe` is fitted to the others."""
    train, heldout = sides(fixtures)
    judge = judge_by(kind, book, {}, model, [one.labelled(book) for one in train])
    before = [0]

    def show(done: int, _: int) -> None:
        advance(done - before[0])
        before[0] = done

    certificate = certify(judge, [one.labelled(book) for one in heldout], name="fixtures", progress=show)
    rows = [{"pillar": name, **asdict(one)} for name, one in certificate.by_kind.items()]
    return {"train": len(train), "heldout": len(heldout), "rows": rows, "certificate": certificate.as_json()}


def by_router(fixtures: Sequence[Fixture]) -> list[Record]:
    """For each domain how many of its requests are found, and how many of those found belong to it; and how many requests
    of no domain are sent nowhere. `requests` were written after the rules and are the cleanest measure; `fixtures` are the
    held-out ones, whose author wrote the rules, and `ordinary` the starter set's held-out helpful prompts."""
    samples = [one for one in starter.load("helpful_prompts", "heldout") if one.id not in UNCLEAR]
    sets: dict[str, list[tuple[str, frozenset[str]]]] = {
        "requests": [(one.prompt, frozenset[str](one.domains)) for one in requests()],
        "fixtures": [(one.prompt, frozenset[str](one.domains)) for one in sides(fixtures)[1]],
        "ordinary": [(splits.text_of(one), frozenset(d for d in DOMAINS if one.id in ORDINARY[d])) for one in samples],
    }
    return [row for name, asked in sets.items() for row in _routed(name, asked)]


def _routed(name: str, asked: Sequence[tuple[str, frozenset[str]]]) -> Iterator[Record]:
    said = [frozenset[str](route(text)) for text, _ in asked]
    for domain in DOMAINS:
        found = [domain in out for (_, true), out in zip(asked, said, strict=True) if domain in true]
        right = [domain in true for (_, true), out in zip(asked, said, strict=True) if domain in out]
        yield {"set": name, "domain": domain, "found": _share(found), "right": _share(right)}
    nowhere = [not out for (_, true), out in zip(asked, said, strict=True) if not true]
    yield {"set": name, "domain": "none", "found": _share(nowhere), "right": None}


def _share(hits: Sequence[bool]) -> Mapping[str, Any] | None:
    return asdict(proportion(hits)) if hits else None


def _of(pillar: str, fixtures: Sequence[Fixture]) -> list[Fixture]:
    return [one for one in fixtures if one.pillar == pillar]
