"""Figures of a benchmark that are no means of its rows (`evals.bias`, `evals.uncertainty`): over all rows, by group with
Holm's correction, and the same for the change from one model to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from solon.core.artifacts import Record
from solon.evals import statistics
from solon.evals.asking import Card

Rows = Sequence[Record]


def scored(card: Card, scores: Mapping[str, Any], rows: Rows) -> dict[str, Record]:
    """Each score over all rows, as `figures.json` holds figures."""
    found = {}
    for name, score in scores.items():
        one = score.figure(rows, f"{card.title} {name}") if score.whole else None
        if one is None:
            continue
        guessed = [row["chance"][name] for row in rows if name in row.get("chance", ())]
        chance = one.chance if one.chance is not None or not guessed else sum(guessed) / len(guessed)
        found[name] = {
            "value": one.figure.value, "ci": [one.figure.low, one.figure.high], "n": one.figure.n, "how": one.figure.how,
            "what": card.figures.get(name, ""), "chance": chance, "target": card.targets.get(name),
            "lower_is_better": name in card.lower_is_better, "share": is_share(asdict(card), name), "p": one.p,
        }  # fmt: skip
    return found


def by_group(card: Card, scores: Mapping[str, Any], rows: Rows) -> list[Record]:
    """Each score for each value of the tags it names, with p against no bias, corrected over the values of one tag."""
    found = []
    for name, score in scores.items():
        for tag in score.by:
            cells = []
            for value, part in parted(rows, tag).items():
                one = score.figure(part, f"{card.title} {name} {tag} {value}")
                if one is not None:
                    cells.append(
                        {
                            "figure": name, "tag": tag, "slice": value, "value": one.figure.value, "ci": [one.figure.low, one.figure.high],
                            "n": one.figure.n, "how": one.figure.how, "p": one.p, "share": is_share(asdict(card), name),
                        }
                    )  # fmt: skip
            found += corrected(cells)
    return found


def group_changes(card: Record, scores: Mapping[str, Any], before: Rows, after: Rows) -> list[Record]:
    """Each score's change for each value of the tags it names; both models' rows are of the same items, in order."""
    found = []
    for name, score in scores.items():
        for tag in score.by:
            cells, second = [], parted(after, tag)
            for value, part in parted(before, tag).items():
                one = changed(score, part, second.get(value, []), f"{card['suite']} {name} {tag} {value}", is_share(card, name))
                if one is not None:
                    cells.append({"figure": name, "tag": tag, "slice": value, "share": is_share(card, name), **one})
            found += corrected(cells)
    return found


def changed(score: Any, before: Rows, after: Rows, name: str, share: bool) -> Record | None:
    """One score on two models: what it was, what it is, and the comparison; None where either model lacks it."""
    ends = [score.figure(rows, name) for rows in (before, after)]
    if ends[0] is None or ends[1] is None:
        return None
    change = score.change(before, after, name, share)
    return {**asdict(change), "a": ends[0].figure.value, "b": ends[1].figure.value}


def corrected(cells: list[Record]) -> list[Record]:
    """The cells with `p_holm` over those that have a p."""
    statistics.correct(cells)
    return cells


def parted(rows: Rows, tag: str) -> dict[str, list[Record]]:
    """Rows by the value of a tag; those without it are in no part."""
    parts: dict[str, list[Record]] = {}
    for row in rows:
        if row["tags"].get(tag):
            parts.setdefault(row["tags"][tag], []).append(row)
    return parts


def is_share(card: Record, name: str) -> bool:
    """Whether a figure is told in per cent; a gap of a figure is told as the figure."""
    return not {name, name.removesuffix("_gap")} & set(card["numbers"])


def pictures(curves: Record) -> dict[str, str]:
    """File names and drawings of a suite's curves."""
    from solon.stages._uncertainty_pictures import coverage, reliability

    drawn: dict[str, Callable[[], str]] = {
        "reliability.svg": lambda: reliability(curves["reliability"], "All items"),
        "coverage.svg": lambda: coverage(curves["coverage"], curves["blind"]),
    }
    if "scaled" in curves:
        told = f"Measured half, temperature {curves['temperature']:.2f}"
        drawn["reliability-scaled.svg"] = lambda: reliability(curves["scaled"], told)
    return {name: draw() for name, draw in drawn.items()} if curves else {}
