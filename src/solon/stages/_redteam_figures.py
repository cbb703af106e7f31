"""What a campaign's attempts amount to: rates with intervals, by family, category and prompt, and what the judge can do.

Rates of the even part are rates over a stated set of attempts; those of the hunt are the yield of a search. They are never
added up.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from solon.core.artifacts import Artifact, Draft, Record, digest, write_rows, write_text
from solon.core.errors import SolonError
from solon.core.intervals import at_most
from solon.curate.duplicates import distinct
from solon.curate.splits import normalised
from solon.safety.redteam.attacker import WRITERS
from solon.safety.redteam.rates import Judge, Rate, best_of, clustered, corrected, share
from solon.stages import _redteam_goals as goals_of
from solon.stages._redteam_goals import Found
from solon.stages._redteam_judges import MISSING, OUTCOMES, Judging, measured
from solon.stages._redteam_page import page

PARTS = ("even", "hunt", "regression")
KS = (1, 2, 4, 8, 16, 32)
FEWEST_ATTEMPTS, FEWEST_PROMPTS = 50, 20
"""Of a family, below which its rate is not corrected: the judge's errors alone would fill the interval."""
Outcomes = dict[str, list[bool]]


def write(draft: Draft, tried: Artifact, settings: Record, found: Found, judging: Judging) -> None:
    """All files of a campaign, made of the attempts in `tried` alone, and its figures in the evidence. Its attempts are linked to:
    they are not on the disk twice."""
    rows, families = list(tried.rows("attempts")), settings["families"]
    for name in ("attempts.jsonl", "suffixes.jsonl"):
        if (tried.path / name).exists():
            _link(tried.path / name, draft.path / name)
    table = figures(rows, families, measured(judging, settings["draw"]["max_tokens"])) | ({"guard": stops(rows)} if settings.get("guard") else {})
    roles = campaign(tried, rows, settings, found, judging)
    write_rows(draft.path / "successes.jsonl", regression(rows))
    write_rows(draft.path / "prompts.jsonl", by_prompt(rows))
    draft.write("figures.json", table)
    draft.write("campaign.json", roles)
    write_text(draft.path / "page.html", page(table, settings, rows, roles=roles))
    draft.count(rows)
    draft.licences |= found.licences
    for part, one in table["total"].items():
        rate = one["raw"]
        draft.metric(f"asr {part}", rate["value"], n=rate["n"], ci=[rate["low"], rate["high"]], unit="share", how=rate["how"])
    draft.facts = {"families": len(families), "goals": len(found.goals), "judge": table["judge"], "distinct": table["distinct"]}


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the disk knows no links."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def campaign(tried: Artifact, rows: Sequence[Record], settings: Record, found: Found, judging: Judging) -> Record:
    """Who did what: the parts that a campaign was made of, by their names and hashes."""
    inputs = tried.evidence["inputs"]
    writes = [name for name in settings["families"] if name in WRITERS]
    said = {goal.id: goal.request for goal in (*found.goals.values(), *found.literal.values())}
    return {
        "target": inputs["model"],
        "attacker": {"model": inputs["attacker"], "writes": writes} if writes else None,
        "judge": {"name": judging.name, "version": judging.version, "about": judging.about, "again": again(rows, judging)},
        "guard": {"thresholds": settings["guard"], "measuring": inputs.get("guard", "")} if settings.get("guard") else None,
        "attempts": {"artifact": tried.id, "tokens": sum(row["tokens"] for row in rows), **{part: sum(row["part"] == part for row in rows) for part in PARTS}},
        "rounds": {part: len({row["round"] for row in rows if row["part"] == part}) for part in PARTS},
        "families": settings["families"], "wording": settings["wording"], "seed": settings["seed"], "draw": settings["draw"],
        "prompts": {
            "sources": settings["prompts"], "side": settings["side"], "regression": settings["regression"], "count": len(said),
            "digest": digest(said), "data": settings["data"],
        },
    }  # fmt: skip


def again(rows: Sequence[Record], judging: Judging) -> Record | None:
    """Of the stored replies that were judged whole, how many get the same outcome from the judge as it is now: the judge whose
    errors are measured. None for a judge that is slow."""
    if not judging.quick:
        return None
    own = [row for row in judged(rows) if row["replies"] and not row.get("guard")]
    return {"n": len(own), "same": sum(judging.grade(row, row["replies"][-1]).label == row["outcome"] for row in own)}


def stops(rows: Sequence[Record]) -> Record:
    """Of a guarded campaign's judged attempts, those whose last turn was stopped as a request or as a reply, and those that went through."""
    told = [row["guard"] for row in judged(rows)]
    return {"request stopped": told.count("input"), "reply stopped": told.count("output"), "not stopped": told.count("")}


def judged(rows: Sequence[Record]) -> list[Record]:
    """The attempts with a verdict."""
    return [row for row in rows if row["outcome"] != MISSING]


def outcomes(rows: Sequence[Record]) -> Outcomes:
    """Success or not of every judged attempt, by prompt."""
    out: Outcomes = {}
    for row in judged(rows):
        out.setdefault(prompt_of(row), []).append(row["outcome"] == "success")
    return out


def prompt_of(row: Record) -> str:
    """What attempts that succeed together share: the goal, of stored attempts the plain request behind them."""
    return row["request"] if row["part"] == "regression" else row["goal"]


def figures(rows: Sequence[Record], families: Sequence[str], judge: Judge | None) -> Record:
    """Everything that the table, the page and `compare` show."""
    parts = {part: [row for row in rows if row["part"] == part] for part in PARTS}
    parts = {part: own for part, own in parts.items() if own}
    return {
        "total": {part: _total(own, judge, part) for part, own in parts.items() if judged(own)},
        "families": {name: _family(name, rows, judge) for name in families if any(row["family"] == name for row in rows)},
        "categories": {name: _rate([r for r in parts.get("even", []) if r["category"] == name]) for name in _categories(rows)},
        "grid": _grid(rows),
        "rounds": _rounds(rows),
        "missing": _missing(rows),
        "distinct": _distinct(rows),
        "judge": _judge(judge),
    }  # fmt: skip


def _total(rows: Sequence[Record], judge: Judge | None, part: str) -> Record:
    found = outcomes(rows)
    counts = {name: sum(row["outcome"] == name for row in rows) for name in (*OUTCOMES, MISSING)}
    hits, n = counts["success"], sum(counts.values()) - counts[MISSING]
    best = {str(k): asdict(chance) for k in KS if (chance := best_of(found, k, f"redteam {part}"))}
    broken = sum(any(one) for one in found.values())
    return {
        "attempts": len(rows), **counts, "raw": asdict(clustered(found)),
        "exact": asdict(share(hits, n)) | {"how": "Clopper-Pearson 95 %, as if each attempt had a prompt of its own"},
        "corrected": asdict(corrected(found, judge, f"redteam {part}")) if judge and _sharp(judge) else None,
        "at_most": {"value": at_most(0, len(found)), "prompts": len(found)} if hits == 0 else None,
        "prompts": asdict(share(broken, len(found))), "best_of": best,
    }  # fmt: skip


def _sharp(judge: Judge) -> bool:
    return judge.sensitivity + judge.specificity > 1


def _rate(rows: Sequence[Record]) -> Record | None:
    """The share of successes with its interval, and at how many prompts; None where no attempt was judged."""
    found = outcomes(rows)
    return asdict(clustered(found)) | {"prompts": len(found)} if found else None


def _family(name: str, rows: Sequence[Record], judge: Judge | None) -> Record:
    own = [row for row in rows if row["family"] == name]
    even = outcomes([row for row in own if row["part"] == "even"])
    many = len(even) >= FEWEST_PROMPTS and sum(map(len, even.values())) >= FEWEST_ATTEMPTS
    return {
        "group": group(name), "about": about(name),
        **{part: _rate([row for row in own if row["part"] == part]) for part in ("even", "hunt")},
        "corrected": asdict(corrected(even, judge, f"redteam even {name}")) if judge and _sharp(judge) and many else None,
        **{outcome: sum(row["outcome"] == outcome for row in own) for outcome in ("off_topic", MISSING)}, "attempts": len(own),
    }  # fmt: skip


def about(name: str) -> str:
    """One line on a family."""
    from solon.safety.redteam import attacks

    if name in attacks.every():
        return attacks.every()[name].about
    own = {"suffix": "a row of words found on the target's own gradients", goals_of.INJECTION: "CyberSecEval's injections, tested literally"}
    return WRITERS[name].about if name in WRITERS else own[name]


def group(name: str) -> str:
    """What a family belongs to."""
    from solon.safety.redteam import attacks

    return attacks.every()[name].group if name in attacks.every() else "model" if name in WRITERS else "other"


def _categories(rows: Sequence[Record]) -> list[str]:
    return sorted({row["category"] for row in rows if row["part"] != "regression"})


def _grid(rows: Sequence[Record]) -> dict[str, dict[str, list[int]]]:
    """Hits and judged attempts by family and category, even part and hunt together: where to look, not a rate to quote."""
    out: dict[str, dict[str, list[int]]] = {}
    for row in judged(rows):
        if row["part"] != "regression":
            cell = out.setdefault(row["family"], {}).setdefault(row["category"], [0, 0])
            cell[0] += row["outcome"] == "success"
            cell[1] += 1
    return out


def _rounds(rows: Sequence[Record]) -> list[Record]:
    """The hunt's log: how each round was spent and what it found."""
    hunted = [row for row in rows if row["part"] == "hunt"]
    out = []
    for number in sorted({row["round"] for row in hunted}):
        own = [row for row in hunted if row["round"] == number]
        spent: dict[str, int] = {}
        for row in own:
            spent[row["family"]] = spent.get(row["family"], 0) + 1
        top = sorted(spent.items(), key=lambda item: (-item[1], item[0]))[:5]
        out.append({"round": number, "attempts": len(own), "hits": sum(r["outcome"] == "success" for r in own), "most": top})
    return out


def _missing(rows: Sequence[Record]) -> dict[str, int]:
    out: dict[str, int] = {}
    for row in rows:
        if row["outcome"] == MISSING:
            out[row["reason"]] = out.get(row["reason"], 0) + 1
    return out


def said(row: Record) -> str:
    """All that an attempt says."""
    return "\n".join([*(turn["content"] for turn in row["opening"]), *row["asks"]])


def _distinct(rows: Sequence[Record]) -> Record:
    """The share of attempts whose words no earlier one had (but for case and punctuation); of the texts that the attacker
    wrote, also the share that is not nearly another's."""
    made = [row for row in rows if row["asks"] and row["part"] != "regression"]
    written = [row["asks"][-1] for row in made if row["family"] == "written"]
    texts = {normalised(said(row)) or said(row) for row in made}
    successes = [row for row in made if row["outcome"] == "success"]
    return {
        "attempts": len(made), "share": len(texts) / len(made) if made else None,
        "written": len(written), "written_not_near": len(distinct(written)) / len(written) if written else None,
        "goals_broken": len({row["goal"] for row in successes}), "families_that_broke": len({row["family"] for row in successes}),
    }  # fmt: skip


def by_prompt(rows: Sequence[Record]) -> list[Record]:
    """Every goal: how often it was tried and gave way (mean), whether it ever did (best of all), and by which families."""
    out = []
    for goal, found in outcomes([row for row in rows if row["part"] != "regression"]).items():
        own = [row for row in rows if row["goal"] == goal]
        won = sorted({row["family"] for row in own if row["outcome"] == "success"})
        out.append(
            {"id": goal, "category": own[0]["category"], "side": own[0]["side"], "attempts": len(found), "hits": sum(found),
             "mean": sum(found) / len(found), "best": any(found), "families": won}
        )  # fmt: skip
    return sorted(out, key=lambda row: (-row["mean"], row["id"]))


def regression(rows: Sequence[Record]) -> list[Record]:
    """The attempts that succeeded as prompts that `curate` reads: the conversation up to the last reply, the plain request
    as reference, and the side of the split that the request is from, so that no held-out request is ever trained on."""
    out, seen = [], set()
    for row in rows:
        if row["outcome"] != "success":
            continue
        turns = _asked(row)
        words = "\n".join(turn["content"] for turn in turns)
        if words in seen:
            continue
        seen.add(words)
        out.append(
            {"id": row["goal"].removeprefix("stored:") if row["part"] == "regression" else row["id"], "prompt": turns,
             "reference": row["request"], "category": row["category"], "family": made_by(row), "split": row["side"], **({"contains": row["contains"]} if row.get("contains") else {})}
        )  # fmt: skip
    return out


def _asked(row: Record) -> list[Record]:
    """The conversation up to the last reply, without the turns that a guard had stopped."""
    turns = list(row["opening"])
    for place, (ask, reply) in enumerate(zip(row["asks"][:-1], row["replies"][:-1], strict=True)):
        if place not in row.get("forgotten", ()):
            turns += [{"role": "user", "content": ask}, {"role": "assistant", "content": reply or "..."}]
    return [*turns, {"role": "user", "content": row["asks"][-1]}]


def _judge(judge: Judge | None) -> Record | None:
    if judge is None:
        return None
    rates: dict[str, Rate] = {
        "sensitivity": share(judge.found, judge.positives), "specificity": share(judge.cleared, judge.negatives)
    }  # fmt: skip
    return {**{name: asdict(rate) for name, rate in rates.items()}, "source": judge.source}


def paired(first: Sequence[Record], second: Sequence[Record]) -> Record:
    """Two models on the same attempts: those of the even part, which does not look at results; the stored attempts that both
    replayed stand apart under `regression`, or alone where there is no even part. Never added up: stored attempts once succeeded.
    Raises `DataError` where no attempt has a verdict on both sides."""
    found = {part: one for part in ("even", "regression") if (one := _paired(first, second, part))}
    if not found:
        raise _unpaired()
    part = next(iter(found))
    return {"part": part, **found[part], "regression": found.get("regression") if part == "even" else None}


def _paired(first: Sequence[Record], second: Sequence[Record], part: str) -> Record | None:
    """McNemar by prompt and over single attempts with prompts flipped as a whole, and by family with Holm's correction. An
    attempt that lacks a verdict on one side is left out on both."""
    from solon.evals.statistics import correct, paired_proportions

    sides = [{row["id"]: row for row in judged(rows) if row["part"] == part} for rows in (first, second)]
    every = {row["id"] for rows in (first, second) for row in rows if row["part"] == part}
    ids = [id for id in sides[0] if id in sides[1]]
    if not ids:
        return None
    hit = [[float(side[id]["outcome"] == "success") for id in ids] for side in sides]
    goals = [prompt_of(sides[0][id]) for id in ids]
    best = [[float(any(h for h, g in zip(one, goals, strict=True) if g == goal)) for goal in dict.fromkeys(goals)] for one in hit]
    families: dict[str, Record] = {}
    for name in dict.fromkeys(made_by(sides[0][id]) for id in ids):
        own = [i for i, id in enumerate(ids) if made_by(sides[0][id]) == name]
        found = paired_proportions([hit[0][i] for i in own], [hit[1][i] for i in own])
        rates = [sum(one[i] for i in own) / len(own) for one in hit]
        families[name] = {"before": rates[0], "after": rates[1], **asdict(found)}
    correct(list(families.values()))
    return {
        "attempts": len(ids), "left_out": len(every) - len(ids),
        "before": sum(hit[0]) / len(ids), "after": sum(hit[1]) / len(ids),
        "per_attempt": asdict(paired_proportions(hit[0], hit[1], goals, "redteam pair")),
        "per_prompt": asdict(paired_proportions(best[0], best[1])),
        "families": families,
    }  # fmt: skip


def made_by(row: Record) -> str:
    """The family of an attempt; of a stored one the family that it was made by."""
    return row.get("made_by") or row["family"]


def _unpaired() -> SolonError:
    from solon.core.errors import DataError

    fix = "raise --attempts or --even, and use the same prompts, families and seed for both"
    return DataError("the two campaigns share no judged attempt", got="0 attempts on both", expected="at least one", fix=fix)
