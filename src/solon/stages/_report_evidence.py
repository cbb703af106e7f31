"""The report's sections on what lies beyond the run's own figures: readiness, gates and waivers, red team, abilities, bias,
calibration, failures.

Any key may be missing and any text hostile: nothing here computes a figure, and the template escapes everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from solon.stages import _report_pictures as pictures
from solon.stages import _report_words as say

Report = Mapping[str, Any]
ROLES = ("base", "aligned")
COLOURS = {"base": "m0", "aligned": "m3"}
SHOWN = 12  # families of attacks; the rest stand in the campaign's own page
SLICES = 6
GROUPS = 4


def waiver(one: Report) -> str:
    """`waived by N on D: why`, or nothing."""
    return f"waived by {one.get('name')} on {one.get('date')}: {one.get('reason')}" if one else ""


def gates(verdict: Report) -> Report | None:
    """Every stage with what it started from and whether its artifact is sound, and everything that was ever waived."""
    stages = [
        {
            "stage": say.words(row.get("role") or ""), "id": str(row.get("id") or ""), "fault": str(row.get("fault") or ""),
            "inputs": ", ".join(say.words(name).lower() for name in say.mapping(row.get("inputs"))),
            "ready": bool(row.get("ready")),
        }
        for row in say.rows(verdict.get("gates"))
    ]  # fmt: skip
    waivers = [
        {
            "condition": str(row.get("condition") or ""), "name": str(row.get("name") or ""), "reason": str(row.get("reason") or ""),
            "date": str(row.get("date") or ""), "what": "withdrawn" if row.get("withdrawn") else "waived",
            "measured": say.measured(row.get("measured") or "not measured"),
        }
        for row in say.rows(verdict.get("waivers"))
    ]  # fmt: skip
    return {"stages": stages, "waivers": waivers} if stages or waivers else None


def _missing(section: Report) -> Report | None:
    command = section.get("command")
    return {"command": str(command)} if command else None


def _lines(figures: Report, unit: str) -> list[Report]:
    """A model's dot and interval for each that was measured, on one axis."""
    known = {role: say.mapping(figures.get(role)) for role in ROLES if say.mapping(figures.get(role))}
    axis = pictures.scale(list(known.values()), unit)
    lines: list[Report] = []
    for role, one in known.items():
        told = say.measured({**one, "unit": unit})
        picture = pictures.whisker(one, axis, COLOURS[role], f"{say.model(role)}: {told}")
        lines.append({"model": say.model(role), "colour": COLOURS[role], "told": told, "picture": picture})
    return lines


def red_team(section: Any) -> Report | None:
    """Success rates of attacks as a whole and by family, the worst for the aligned model first."""
    section = say.mapping(section)
    if not section or "total" not in section:
        return _missing(section)
    families = [
        {"name": str(row.get("name") or ""), "lines": _lines(row, "share")} for row in say.rows(section.get("families"))
    ]
    return {
        "lines": _lines(say.mapping(section.get("total")), "share"), "families": [row for row in families if row["lines"]][:SHOWN],
        "more": max(0, len(families) - SHOWN), "pair": str(section.get("pair") or ""),
        "corrected": _lines(say.mapping(section.get("corrected")), "share"),
        "guarded": _lines(say.mapping(say.mapping(section.get("guarded")).get("total")), "share"),
    }  # fmt: skip


def suites(section: Any) -> Report | None:
    """Figures of benchmark suites, base beside aligned."""
    section = say.mapping(section)
    if not section or "rows" not in section:
        return _missing(section)
    shown = []
    for row in say.rows(section.get("rows")):
        models = say.mapping(row.get("models"))
        unit = next((str(say.mapping(one).get("unit") or "") for one in models.values()), "")
        best = say.number(row.get("best"))
        shown.append({
            "suite": str(row.get("title") or row.get("suite") or ""), "figure": str(row.get("figure") or ""), "what": str(row.get("what") or ""),
            "best": "" if best is None else f"best at {say.value(best, unit)}", "lines": _lines(models, unit), "plain": str(row.get("plain") or ""),
        })  # fmt: skip
    return {"rows": shown}


def calibration(section: Any) -> Report | None:
    """A reliability diagram of every suite and model that has one, and the figures beside them."""
    section = say.mapping(section)
    found = suites(section)
    drawn = []
    for one in say.rows(section.get("pictures")):
        picture = pictures.reliability(say.rows(one.get("reliability")))
        if picture:
            drawn.append({"title": f"{one.get('suite')}, {say.model(one.get('role') or '').lower()}", "picture": picture})
    return {**(found or {}), "pictures": drawn} if drawn or found else None


def readiness(section: Any) -> Report | None:
    """What each phase lacks, and the kinds of failure that matter next."""
    section = say.mapping(section)
    phases = [
        {
            "phase": str(row.get("phase") or ""), "ready": bool(row.get("ready")), "told": f"{say.count(row.get('met'))} of {say.count(row.get('declared'))} components met",
            "lacking": [{name: str(one.get(name) or "") for name in ("name", "status", "measured", "command")} for one in say.rows(row.get("lacking"))],
        }
        for row in say.rows(section.get("phases"))
    ]  # fmt: skip
    following = [
        {"title": str(row.get("title") or row.get("name") or ""), "told": say.measured(say.mapping(row.get("share"))), "command": str(row.get("command") or "")}
        for row in say.rows(section.get("next"))
    ]
    return {"phases": phases, "next": following} if phases or following else None


def failures(section: Any) -> Report | None:
    """Kinds of failure with what alignment mended and broke; slices, groups and examples of each."""
    section = say.mapping(section)
    kinds = [_kind(row) for row in say.rows(section.get("kinds")) if say.number(row.get("n"))]
    return {"kinds": kinds, "command": str(section.get("command") or "")} if kinds else None


def _kind(row: Report) -> Report:
    figures = {"base": row.get("base"), "aligned": row.get("share")}
    slices = [
        {"by": say.words(one.get("by") or "").lower(), "value": str(one.get("value") or ""), "told": say.measured({"value": one.get("share"), "ci": one.get("ci"), "n": one.get("n"), "unit": "share"}), "p": say.p_value(one.get("p_holm"))}
        for one in say.rows(row.get("slices"))[:SLICES]
    ]  # fmt: skip
    groups = [
        {"n": say.count(one.get("n")), "terms": ", ".join(str(term) for term in one.get("terms") or ()), "example": str(next((e.get("prompt") or "" for e in say.rows(one.get("examples"))), ""))}
        for one in say.rows(row.get("clusters"))[:GROUPS]
    ]  # fmt: skip
    broken = [
        {"id": str(one.get("id") or ""), "prompt": str(one.get("prompt") or ""), "base": str(one.get("base") or ""), "reply": str(one.get("reply") or "")}
        for one in say.rows(row.get("broken_examples"))[:3] if one.get("prompt")
    ]  # fmt: skip
    return {
        "title": str(row.get("title") or row.get("name") or ""), "how": str(row.get("how") or ""), "lines": _lines(figures, "share"),
        "fixed": say.count(row.get("fixed")), "broken": say.count(row.get("broken")), "still": say.count(row.get("still")),
        "p": say.p_value(row.get("p_holm")), "compared": row.get("fixed") is not None, "slices": slices, "groups": groups, "examples": broken,
    }  # fmt: skip
