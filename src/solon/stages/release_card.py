"""The model card of a release, in the form of the Hugging Face hub: what was missed comes first, and every figure has its n."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from solon.core.artifacts import Record
from solon.stages import _report_words as say
from solon.stages.release import MISSED, NOT_SHOWN, PASS, UNMEASURED, WAIVED

ROLES = ("base", "helpful", "sl", "aligned")
METHOD = (
    ("helpful", "A helpful model, fine-tuned on demonstrations and on worked critiques and revisions."),
    ("gate", "A check on replies that it has not seen: the helpful model is more helpful than its base."),
    ("certify", "A judge, measured on labelled pairs that it has not seen."),
    ("revise", "Its answers to red-team requests, criticised and rewritten by principles of the constitution."),
    ("screen", "Of the revisions, those that the judge prefers to the first answer."),
    ("answers", "Its answers to harmless requests."),
    ("sl", "The revised model, fine-tuned on both."),
    ("pairs", "Replies of it to every prompt, two by two."),
    ("feedback", "Which of the two is better, by the judge and a principle, as a probability."),
    ("aligned", "The aligned model, trained to prefer what the judge prefers (DPO)."),
)


def card(report: Mapping[str, Any], model: Mapping[str, Any], data: Sequence[Record], recipe: Mapping[str, Any], reviewer: str) -> str:
    """README.md: front matter for the hub, then the text."""
    front = yaml.safe_dump(metadata(report, model, data), sort_keys=False, allow_unicode=True, width=120)
    parts = [
        _head(report), _conditions(report["verdict"]), _waivers(report["verdict"]), _made(report, recipe), _data(model, data),
        _figures(report), _more(report), _readiness(report["readiness"]), _limits(report), _check(report, reviewer),
    ]  # fmt: skip
    return f"---\n{front}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def metadata(report: Mapping[str, Any], model: Mapping[str, Any], data: Sequence[Record]) -> Record:
    """The hub's keys. What is not known is left out, never guessed."""
    figures = report["models"].get("aligned", {})
    metrics = [{"type": name, "name": say.title(name), "value": round(float(one["value"]), 4)} for name, one in figures.items()]
    task = {"type": "text-generation"}
    results = [{"task": task, "dataset": {"name": "held-out rows of the recipe", "type": report["recipe"]}, "metrics": metrics}]
    out: Record = {
        "license": model["licence"] or "unknown", "base_model": model["name"], "base_model_relation": "adapter", "library_name": "solon",
        "pipeline_tag": "text-generation", "datasets": [one["name"] for one in data],
        "tags": ["constitutional-ai", "dpo", "lora", "released" if report["verdict"]["release"] else "not-released"],
        "model-index": [{"name": report["run"], "results": results}],
    }  # fmt: skip
    return out


def safe(text: Any) -> str:
    """Words of people and models inside Markdown: shown, never obeyed."""
    flat = re.sub(r"\s+", " ", str(text)).strip()
    return re.sub(r"([\\`*{}\[\]<>#|!])", lambda hit: f"&#{ord(hit.group(1))};", flat)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; every cell is text."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(safe(cell) for cell in row) + " |" for row in rows)])


def _head(report: Mapping[str, Any]) -> str:
    verdict = report["verdict"]
    counts = {status: sum(one["status"] == status for one in verdict["conditions"]) for status in (MISSED, NOT_SHOWN, UNMEASURED, WAIVED, PASS)}
    told = f"{counts[PASS]} conditions met, {counts[MISSED]} missed, {counts[NOT_SHOWN]} not shown, {counts[UNMEASURED]} not measured, {counts[WAIVED]} waived."
    said = "**Released.**" if verdict["release"] else "**Not released: do not use it as if it were.**"
    lines = [f"# {safe(report['title'])}", f"{said} {told}"]
    return "\n\n".join([*lines, safe(report["description"])] if report.get("description") else lines)


def _conditions(verdict: Mapping[str, Any]) -> str:
    """Missed first, then not shown (the interval lies on both sides of the bar), waived, not measured, met."""
    parts = []
    for status, title in ((MISSED, "Missed"), (NOT_SHOWN, "Not shown"), (WAIVED, "Waived"), (UNMEASURED, "Not measured"), (PASS, "Met")):
        rows = [one for one in verdict["conditions"] if one["status"] == status]
        if rows and status == UNMEASURED:
            body = table(("condition", "required", "so far", "measured by"), [(r["name"], r["required"], r["measured"], r["command"]) for r in rows])
        elif rows:
            body = table(("condition", "required", "measured"), [(r["name"], r["required"], r["measured"] or "not measured") for r in rows])
        else:
            continue
        parts.append(f"## {title}\n\n{body}")
    return "\n\n".join(parts)


def _waivers(verdict: Mapping[str, Any]) -> str:
    if not verdict["waivers"]:
        return ""
    rows = [
        (one["condition"], "withdrawn" if one.get("withdrawn") else "waived", one["name"], one["reason"], one["date"], one["measured"] or "not measured")
        for one in verdict["waivers"]
    ]
    return "## Waivers\n\nA waiver lapses as soon as something else is measured.\n\n" + table(("condition", "what", "who", "why", "when (UTC)", "measured then"), rows)


def _made(report: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    book = report["constitution"]
    known = f", version {safe(book['version'])}, {book['principles']} principles" if "version" in book else ""
    lines = [
        "## How it was made", f"Constitutional AI (arXiv 2212.08073) by Solon {safe(report['solon'])}: `{safe(report['command'])}`, seed {report['seed']}, "
        f"ended {safe(report['date'])} UTC. Constitution {safe(book['name'])}{known}, hash {safe(book['hash'])}.",
    ]  # fmt: skip
    stages = {one["stage"]: one for one in report["stages"]}
    rows = [
        (name, told, stages[name]["rows_kept"], f"{stages[name]['tokens']:,}", f"{stages[name]['seconds']:.0f} s", stages[name]["id"])
        for name, told in METHOD if name in stages
    ]  # fmt: skip
    fits = [
        (name, *(recipe[name].get(field, "") for field in ("rank", "alpha", "learning_rate", "epochs", "batch")))
        for name in ("helpful", "sl", "dpo") if isinstance(recipe.get(name), Mapping)
    ]  # fmt: skip
    lines += [table(("stage", "what it made", "rows", "tokens", "time", "artifact"), rows)]
    lines += [table(("training", "rank", "alpha", "learning rate", "epochs", "batch"), fits)]
    place = report["environment"]
    return "\n\n".join([*lines, f"On {safe(place.get('processor', ''))}, {place.get('cores')} cores, JAX {safe(place.get('jax', ''))}."])


def _data(model: Mapping[str, Any], data: Sequence[Record]) -> str:
    rows = [(model["name"], model["licence"] or "unknown", model["digest"][:16], "the published weights")]
    rows += [(one["name"], one["licence"] or "unknown", one["digest"][:16], "data") for one in data]
    return "## Weights and data\n\n" + table(("source", "licence", "SHA-256", "what"), rows)


def _figures(report: Mapping[str, Any]) -> str:
    models = report["models"]
    roles = [role for role in ROLES if role in models]
    rows, hows = [], []
    for name in dict.fromkeys(figure for role in roles for figure in models[role]):
        told = [models[role].get(name) for role in roles]
        known = next(one for one in told if one)
        cells = [f"{say.value(one['value'], one['unit'])} ({say.interval(one['ci'], one['unit'])})" if one else "" for one in told]
        rows.append((say.title(name), *cells, known["n"], known.get("better", "")))
        hows.append(f"* {safe(say.title(name))}: {safe(known['how'])}")
    text = "## Figures\n\nOn held-out rows, each with its 95 % interval.\n\n" + table(("figure", *map(say.model, roles), "n", "better"), rows)
    return text + "\n\n" + "\n".join(hows)


def _more(report: Mapping[str, Any]) -> str:
    """Red team, abilities, bias and calibration: the figures, or the command that measures them."""
    parts = []
    for key, title in (("red_team", "Red team"), ("capability", "Abilities"), ("bias", "Bias"), ("calibration", "Calibration")):
        section = report[key]
        if "command" in section:
            parts.append(f"## {title}\n\nNot measured. `{section['command']}` does it.")
        elif key == "red_team":
            kinds = (("as judged", section["total"]), ("corrected for the judge", section["corrected"]), ("behind the guard", (section["guarded"] or {}).get("total", {})))
            rows = [(role, kind, say.measured(one)) for kind, by_role in kinds for role, one in by_role.items() if one]
            parts.append(f"## {title}\n\nShare of attempts that succeeded. {safe(section['pair'])}\n\n" + table(("model", "how", "attempts that succeeded"), rows))
        else:
            rows = [
                (row["suite"], row["figure"], *(say.measured(row["models"][role]) if role in row["models"] else "" for role in ("base", "aligned")), row["what"])
                for row in section["rows"]
            ]
            parts.append(f"## {title}\n\n" + table(("suite", "figure", "base", "aligned", "what"), rows))
    return "\n\n".join(parts)


def _readiness(section: Mapping[str, Any]) -> str:
    """What each phase lacks, and the failures that matter next."""
    told = [f"* {safe(one['phase'])}: {one['met']} of {one['declared']} components met" + _lacking(one["lacking"]) for one in section["phases"]]
    following = [f"* {safe(one['title'])}: {say.measured(one['share'])}" for one in section["next"]]
    return "## Readiness\n\n" + "\n".join(told) + ("\n\nMost frequent failures:\n\n" + "\n".join(following) if following else "")


def _lacking(rows: Sequence[Mapping[str, Any]]) -> str:
    return "; lacking: " + ", ".join(f"{safe(one['name'])} ({one['status']})" for one in rows) if rows else ""


def _limits(report: Mapping[str, Any]) -> str:
    return "## Limits\n\n" + "\n".join(f"* {safe(one)}" for one in report["limits"])


def _check(report: Mapping[str, Any], reviewer: str) -> str:
    review = f"{safe(reviewer)} reviewed the safety evidence. " if reviewer else ""
    return (
        f"## To check it\n\n{review}`solon release --verify FOLDER` looks at every file of this folder, every link of `manifest.json`, its signature, and "
        f"the artifacts where they are at hand; `solon verify {safe(report['run'])}` replays parts of the run. The weights lie in the run: "
        f"`solon export {safe(report['run'])}:aligned --to peft OUT` writes the adapter for other programs."
    )
