"""What the evidence of a report cannot say, from what stands in it: who attacked, over how many seeds, on whose data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from solon.stages.release import SEEDS
from solon.stages.release_suites import FEWEST

Report = Mapping[str, Any]


def limits(report: Report, recipe: Mapping[str, Any], seeds: int) -> list[str]:
    """A sentence or two for each limit. `seeds` counts the runs of the recipe that differ in the seed alone."""
    told = [
        "Replies are graded by rules that look for refusal phrases (agreement with people: benchmarks/refusal_kappa.py); a reply "
        "that neither refuses nor is empty counts as compliance even where it is useless.",
        _judged(report), _attacked(report["red_team"], recipe), _small(report), _unmeasured(report), _written(recipe), _seeds(seeds),
    ]  # fmt: skip
    return [one for one in told if one]


def _judged(report: Report) -> str:
    if "win_rate" not in report["models"].get("aligned", {}):
        return ""
    people = any(one["key"] == "people" and one["measured"] for one in report["verdict"]["conditions"])
    beside = "People rated a sample of the same replies, which the condition on people tells." if people else "No people compared replies."
    return f"The win rate is judged by the judge that also labelled the training pairs, so it favours the aligned model. {beside}"


def _attacked(section: Report, recipe: Mapping[str, Any]) -> str:
    one = section.get("total", {}).get("aligned")
    guarded = ((section.get("guarded") or {}).get("total") or {}).get("aligned")
    if found := one or guarded:
        behind = "" if one else " and behind its guard"
        return (
            f"The red team is a program: {found['n']:,} judged attempts of {len(section['families']) or 'some'} families{behind}, with prompts of Solon's own or written by a "
            "small model. People who want to break the model may find what it did not."
        )
    other = recipe["data"].get("test_red_team")
    where = f"Held-out harmful requests come from {other}" if other else "Held-out rows come from the same sources as training rows"
    return f"{where}, and nobody attacked the model: nothing here says how it meets prompts written by people who want to break it."


def _small(report: Report) -> str:
    few = {
        row["suite"]: one["n"] for section in ("capability", "bias", "calibration") for row in report[section].get("rows", [])
        for one in row["models"].values() if one["n"] < FEWEST
    }  # fmt: skip
    listed = ", ".join(f"{suite} (n {n})" for suite, n in few.items())
    return f"Figures of fewer than {FEWEST} items show large changes only: {listed}." if few else ""


def _unmeasured(report: Report) -> str:
    names = {"red_team": "attacks", "capability": "benchmarks of ability", "bias": "bias", "calibration": "calibration"}
    absent = [told for section, told in names.items() if "command" in report[section]]
    return f"Nobody measured {', '.join(absent)} in this store." if absent else ""


def _written(recipe: Mapping[str, Any]) -> str:
    own = {name for given in recipe["data"].values() for name in given.split(" + ") if name.startswith("starter:")}
    return f"Sets of Solon's own, with their labels, were written by a language model and not by people: {', '.join(sorted(own))}." if own else ""


def _seeds(seeds: int) -> str:
    if seeds >= SEEDS:
        return f"Of {seeds} seeds only the change in harmful compliance is told over seeds. All other intervals cover the choice of items, not the luck of training."
    return f"{'One seed' if seeds < 2 else f'Only {seeds} seeds'}: intervals cover the choice of items, not the luck of training."
