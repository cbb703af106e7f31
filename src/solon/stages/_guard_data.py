"""The labelled texts that the guard is measured on, and which of them its thresholds are chosen on.

What the classifier was fitted on is used for neither. `choose` is the side on which its own thresholds were found, the half
of the guard's requests, and of CyberSecEval's harmless ones; `report` is the rest, with XSTest whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from solon.core.errors import MissingError
from solon.core.keys import seed_of, share
from solon.curate import catalogue, rows, shared, starter
from solon.curate.splits import normalised
from solon.stages import _safety_texts

Side = Literal["choose", "report"]
SIDES: dict[str, Side] = {"validation": "choose", "test": "report"}
MOST = {"mitre_frr": 60, "xstest_answers": 250}
"""Of a large set at most so many on a side, the first by hash: reading them all would take most of the time."""
OWN = "code_requests"
CYBER = "cyberseceval_prompt_injection"
FITTING: dict[str, frozenset[str]] = {
    "weapons": frozenset({"weapons"}), "cyber_intrusion": frozenset({"unauthorised_access", "security_bypass"}),
    "malware": frozenset({"malware"}), "fraud": frozenset({"crime", "deception", "illegal_code"}), "privacy_stalking": frozenset({"privacy"}),
    "harassment": frozenset({"harassment"}), "hate": frozenset({"hate"}), "self_harm": frozenset({"self_harm"}),
    "violence": frozenset({"violence"}), "child_safety": frozenset({"child_safety"}), "drugs": frozenset({"drugs"}),
    "theft_illegal_trade": frozenset({"crime"}), "disinformation": frozenset({"deception"}), "medical_danger": frozenset({"dangerous_advice"}),
    "extremism": frozenset({"violence", "hate"}), "financial_crime": frozenset({"crime"}),
    "academic_or_professional_cheating": frozenset({"deception"}),
}  # fmt: skip
"""For each category of the starter's requests, the refusals whose alternative fits it."""


@dataclass(frozen=True)
class Labelled:
    """A text, or a reply to one (`prompt` is then not empty), with its label. `fitting` are the refusal categories whose
    alternative would fit; `kind` is that of a request for code."""

    id: str
    set: str
    text: str
    harmful: bool
    side: Side
    prompt: str = ""
    fitting: frozenset[str] = frozenset()
    kind: str = ""


def requests() -> list[Labelled]:
    """Requests of all sets that are there; without SOLON_DATA those that come with Solon."""
    out = [*_own(), *_starter()]
    if shared_there():
        out += [*_public("harmbench", True), *_public("xstest", None), *_frr()]
    return _fewer(out)


def _fewer(rows: list[Labelled]) -> list[Labelled]:
    """The rows without those that are too many of their set."""
    kept: set[str] = set()
    for key in dict.fromkeys((row.set, row.side) for row in rows):
        inside = sorted((row for row in rows if (row.set, row.side) == key), key=lambda row: seed_of("most", row.prompt, row.text))
        kept |= {row.id for row in inside[: MOST.get(key[0], len(inside))]}
    return [row for row in rows if row.id in kept]


def shared_there() -> bool:
    """Whether the public sets can be read."""
    try:
        return all(bool(shared.folder(name)) for name in ("harmbench", "advbench", "xstest", "xstest_answers", CYBER))
    except MissingError:
        return False


@cache
def _own() -> tuple[Labelled, ...]:
    lines = (files("solon") / "safety" / "guard" / "requests.jsonl").read_text("utf-8").splitlines()
    out = []
    for row in map(json.loads, lines):
        fitting = frozenset({row["category"]}) if row["harmful"] else frozenset()
        out.append(Labelled(row["id"], OWN, row["prompt"], row["harmful"], half(row["prompt"]), "", fitting, row["category"]))
    return tuple(out)


def half(text: str) -> Side:
    """Which half a text falls on, by its words alone."""
    return "choose" if share(normalised(text)) < 0.5 else "report"


def _starter() -> list[Labelled]:
    """Each request's label is its category, which for harmless ones is empty."""
    return [one for source in _safety_texts.STARTER for one in _public(source, source == "red_team")]


def _public(source: str, harmful: bool | None) -> list[Labelled]:
    """Both sides of a source; `harmful` None stands for a source whose label says it."""
    out = []
    for part, side in SIDES.items():
        for i, one in enumerate(_safety_texts.texts(source, part)):  # type: ignore[arg-type]
            bad = one.label == "unsafe" if harmful is None else harmful
            out.append(Labelled(f"{source}-{part}-{i:04d}", source, one.text, bad, side, "", FITTING.get(one.label, frozenset())))
    return out


def _frr() -> list[Labelled]:
    """Harmless requests about security (CyberSecEval's test of false refusals)."""
    texts = [row["mutated_prompt"] for _, row in rows.read(shared.path(f"{CYBER}/mitre_frr_dev.json.gz"))]
    return [Labelled(f"mitre_frr-{i:04d}", "mitre_frr", text, False, half(text)) for i, text in enumerate(texts)]


def replies() -> list[Labelled]:
    """Replies whose harm is known: the starter's pairs, and people's labels of five models' answers to XSTest."""
    out = []
    for part, side in SIDES.items():
        found = [row for row in _safety_texts.replies(part, ordered=False) if row.harmful is not None]  # type: ignore[arg-type]
        out += [Labelled(f"{row.source}-{part}-{i:04d}", row.source, row.text, bool(row.harmful), side, row.prompt) for i, row in enumerate(found)]
    if shared_there():
        for i, row in enumerate(_safety_texts.xstest_replies()):
            out.append(Labelled(f"xstest_answers-{i:04d}", "xstest_answers", row.text, bool(row.harmful), "report", row.prompt))
    return _fewer(out)


def injections() -> list[Labelled]:
    """Texts with an instruction hidden in them (the indirect ones of CyberSecEval) and texts without: encyclopedia, prose,
    requests about security, everyday requests. The rules were written with a look at the `choose` side only: every fourth
    of the injections, every other one of the rest."""
    out = []
    if shared_there():
        for i, (_, row) in enumerate(rows.read(shared.path(f"{CYBER}/prompt_injection_dev.json.gz"))):
            if row["injection_type"] == "indirect":
                out.append(Labelled(f"indirect-{i:04d}", "indirect", row["user_input"], True, "report" if i % 4 else "choose"))
        lines = [line for one in catalogue.source("shared:wikitext2", "all").rows for line in one.text.split("\n") if len(line) > 200]
        out += _alternating("wikitext2", lines[:800])
        out += _alternating("mitre_frr", [one.text for one in _frr()])
    out += _alternating("passages", [one.text for one in starter.load("passages")])
    return out + _alternating("helpful_prompts", [one.prompt[-1].content for one in starter.load("helpful_prompts")])


def _alternating(name: str, texts: Sequence[str]) -> list[Labelled]:
    return [Labelled(f"{name}-{i:04d}", name, text, False, "report" if i % 2 else "choose") for i, text in enumerate(texts)]


def fitting_texts() -> list[Labelled]:
    """What the probe is fitted on: the training side of requests and replies, as plain texts."""
    names = (*_safety_texts.STARTER, *(("harmbench",) if shared_there() else ()))
    found = [
        Labelled(f"{one}-train-{i:04d}", one, row.text, one in ("red_team", "harmbench"), "choose", "", frozenset(), row.family)
        for one in names
        for i, row in enumerate(_safety_texts.texts(one, "train"))
    ]
    told = [row for row in _safety_texts.replies("train", ordered=False) if row.harmful is not None]
    return found + [
        Labelled(f"{row.source}-train-{i:04d}", row.source, row.text, bool(row.harmful), "choose", row.prompt, frozenset(), row.family)
        for i, row in enumerate(told)
    ]


def licences(rows: Sequence[Labelled]) -> set[str]:
    """The licences of the sets that these rows come from."""
    sets = {row.set for row in rows}
    named = {_safety_texts.licence(one) for one in sets & {*_safety_texts.STARTER, "harmbench", "xstest"}}
    folders = {"mitre_frr": CYBER, "indirect": CYBER, "xstest_answers": "xstest_answers", "wikitext2": "wikitext2"}
    public = {shared.licence(shared.Shared("prompts", (f"{folders[one]}/",), list, 0.0)) for one in sets & set(folders)}
    return named | public | ({starter.LICENCE} if OWN in sets else set())
