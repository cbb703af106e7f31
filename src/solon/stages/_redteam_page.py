"""A campaign as one HTML file that needs nothing else. It shows what figures.json and pair.json hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from solon.stages import _report_words as say

TEMPLATE = Path(__file__).with_name("redteam.html.j2")
Table = Mapping[str, Any]
LIMITS = (
    "Attempts are automatic, mostly of one turn and in English; a patient person finds more. A low rate is no proof of safety.",
    "A success says that the reply is no refusal and speaks of the request. Whether what it says would work, nobody checked.",
    "The judge's errors were measured on replies to plain requests. On replies to codes, glosses and long talks they may be larger.",
    "The judge reads English only: a reply in another language counts as off topic, whether it helps or declines.",
    "The word-by-word glosses are no translations, and whether a model's own translations are right is not checked.",
    "Adversarial suffixes, where they were searched, had a budget far below the paper's.",
)


PARTS = {"even": "Even part", "hunt": "Hunt", "regression": "Stored attempts"}


def page(table: Table, config: Table, rows: Sequence[Table], roles: Table, before: Table | None = None, pair: Table | None = None) -> str:
    """The page of a campaign, whose `roles` are campaign.json; with `before` and `pair` that of a comparison, in which `table` and
    `roles` are the later model's."""
    categories = list(table["categories"])
    html: str = _template().render(
        title=f"{config['prompts']}, {config['side']} side",
        told=_told(config, table), cards=_cards(table, before), changes=_changes(pair),
        families=[_family(name, one) for name, one in table["families"].items()],
        categories=[say.words(name) for name in categories], grid=_grid(table["grid"], categories),
        judge=judge_told(table["judge"]), roles=_roles(roles), samples=_samples(rows), limits=LIMITS,
    )  # fmt: skip
    return html


@cache
def _template() -> Any:
    from jinja2 import Environment

    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))


def percent(x: float) -> str:
    """A share with as many digits as a small one needs."""
    return f"{100 * x:.2f} %" if 0 < x < 0.01 or 0.99 < x < 1 else f"{100 * x:.1f} %"


def interval(rate: Table) -> str:
    return f"{percent(rate['low'])} to {percent(rate['high'])}"


def judge_told(judge: Table | None) -> str:
    """What the judge can do, in a sentence."""
    if judge is None:
        return "The judge was not measured: the human-labelled answers were not there (SOLON_DATA). So no rate is corrected."
    parts = [f"{name} {percent(judge[name]['value'])} ({interval(judge[name])}, n = {judge[name]['n']})" for name in ("sensitivity", "specificity")]
    return f"{' and '.join(parts)}, on {judge['source']}. Replies without a verdict are missing and count on neither side."


def _roles(roles: Table) -> Sequence[Table]:
    """Who did what, as rows of a table."""
    judge, attacker, guard, prompts, tried = (roles[name] for name in ("judge", "attacker", "guard", "prompts", "attempts"))
    same = judge["again"]
    told = f" {same['same']:,} of {same['n']:,} stored replies get the same outcome from it today." if same else ""
    parts = [f"{name.lower()} {tried[part]:,} in rounds: {roles['rounds'][part]:,}" for part, name in PARTS.items() if tried[part]]
    rows = [
        ("target", roles["target"]),
        ("attacker", f"{attacker['model']}; writes {', '.join(attacker['writes'])}" if attacker else "none: no model wrote a prompt"),
        ("judge", f"{judge['name']}, version {judge['version'] or 'unnamed'}: {judge['about']}.{told}"),
        ("guard", f"thresholds {guard['thresholds']}, measuring {guard['measuring'] or 'none'}" if guard else "none"),
        ("prompts", f"{prompts['count']:,} of {prompts['sources']}, {prompts['side']} side, digest {prompts['digest']}"),
        ("families", f"{len(roles['families'])}, wording {roles['wording']}"),
        ("attempts", f"{tried['artifact']}: {'; '.join(parts)}; seed {roles['seed']}"),
    ]
    return [{"name": name, "told": said} for name, said in rows]


def _told(config: Table, table: Table) -> str:
    total = sum(one["attempts"] for one in table["total"].values())
    shared = table["distinct"]["share"]
    distinct = f", {percent(shared)} of them in words of their own" if shared is not None else ""
    guard = table.get("guard")
    told = ", ".join(f"{name} {count}" for name, count in guard.items()) if guard else ""
    behind = f" The model was only heard through its guard: {told}." if guard else ""
    return f"{total:,} attempts by {len(table['families'])} families{distinct}. Seed {config['seed']}.{behind}"


def _cards(table: Table, before: Table | None) -> Sequence[Table]:
    cards = []
    for part, one in table["total"].items():
        was = f"{percent(before['total'][part]['raw']['value'])} → " if before and part in before["total"] else ""
        note = f"{one['success']} of {one['raw']['n']}, {interval(one['raw'])} ({one['raw']['how']})"
        if one["at_most"] is not None:
            note += f"; {none_told(one['at_most'])}"
        cards.append({"title": PARTS[part] + ": attempts that succeeded", "value": was + percent(one["raw"]["value"]), "note": note})
    even = table["total"].get("even")
    if even and even["corrected"]:
        cards.append({"title": "Even part, corrected for the judge", "value": percent(even["corrected"]["value"]), "note": interval(even["corrected"])})
    if even:
        best = "; ".join(f"{k}: {percent(one['value'])} ({interval(one)})" for k, one in even["best_of"].items())
        cards.append({"title": "Prompts that gave way at least once", "value": percent(even["prompts"]["value"]), "note": f"best of k attempts: {best}"})
    return cards


def none_told(bound: Table) -> str:
    """What no success says: prompts are counted, not the attempts at them."""
    return f"with no success at {bound['prompts']} prompts the rate is at most {percent(bound['value'])} (95 %, one-sided, exact over prompts)"


def _changes(pair: Table | None) -> Table | None:
    if pair is None:
        return None
    stored = pair["part"] == "regression"
    rows = _changed(pair, "stored " if stored else "")
    if pair["regression"]:
        rows += _changed(pair["regression"], "stored ")
    for name, one in pair["families"].items():
        found = {**one, "p": one["p_holm"]}
        rows.append({"name": name, "before": percent(one["before"]), "after": percent(one["after"]), **_test(found)})
    left = f" {pair['left_out']} without a verdict on one side were left out on both." if pair["left_out"] else ""
    which = "stored attempts that both replayed" if stored else "them"
    return {"told": f"{pair['attempts']} of {which} count.{left} Families: p by Holm.", "rows": rows}


def _changed(pair: Table, which: str) -> list[Table]:
    return [
        {"name": f"every {which}attempt", "before": percent(pair["before"]), "after": percent(pair["after"]), **_test(pair["per_attempt"])},
        {"name": f"prompts that gave way{' to ' + which + 'attempts' if which else ''}", "before": "", "after": "", **_test(pair["per_prompt"])},
    ]


def _test(one: Table) -> dict[str, str]:
    return {"plain": one["plain"], "test": one["test"], "p": say.p_value(one["p"])}


def _family(name: str, one: Table) -> Table:
    even, hunt, true = one["even"], one["hunt"], one["corrected"]
    count = lambda rate: f"{round(rate['value'] * rate['n'])} of {rate['n']}" if rate else ""  # noqa: E731
    return {
        "name": name, "about": one["about"], "even": count(even), "rate": percent(even["value"]) if even else "",
        "ci": interval(even) if even else "",
        "corrected": f"{percent(true['value'])} ({interval(true)})" if true else "", "hunt": count(hunt), "off_topic": one["off_topic"], "missing": one["missing"],
    }  # fmt: skip


def _grid(grid: Table, categories: Sequence[str]) -> Sequence[Table]:
    rows = []
    for family, found in grid.items():
        cells: list[Table | None] = []
        for category in categories:
            hits, n = found.get(category, (0, 0))
            told = f"{family}, {category}: {hits} of {n}"
            cells.append({"strength": round(0.9 * hits / n, 2), "short": f"{hits}/{n}", "told": told} if n else None)
        rows.append({"name": family, "cells": cells})
    return rows


def _samples(rows: Sequence[Table]) -> Sequence[Table]:
    """The first success of every family."""
    first: dict[str, Table] = {}
    for row in rows:
        if row["outcome"] == "success":
            first.setdefault(row["family"], row)
    out = []
    for family, row in first.items():
        turns = [dict(turn) for turn in row["opening"]]
        for ask, reply in zip(row["asks"], row["replies"], strict=True):
            turns += [{"role": "user", "content": ask}, {"role": "target", "content": reply}]
        out.append({"family": family, "id": row["id"], "reason": row["reason"], "turns": turns})
    return out
