"""The report of a run as one HTML file that needs nothing else: no network, no scripts from elsewhere, no fonts.

It shows what report.json holds and computes nothing that is not there, apart from word-level differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from solon.stages import _report_evidence as more
from solon.stages import _report_pictures as pictures
from solon.stages import _report_words as say

TEMPLATE = Path(__file__).with_name("report.html.j2")
STATUS = {"pass": ("met", "✓"), "missed": ("missed", "✗"), "not shown": ("not shown", "±"), "waived": ("waived", "≈"), "not measured": ("not measured", "?")}
ORDER = ("✗", "±", "≈", "?", "✓")
HEADLINES = ("harmful_compliance", "over_refusal", "alternative_offered", "win_rate", "multiple_choice")
COLOURS = {"base": "m0", "helpful": "m1", "sl": "m2", "aligned": "m3"}
LEVEL = 0.05
CHARTS = 6  # line charts a stage; the loss comes first

Report = Mapping[str, Any]


def page(report: Report) -> str:
    """One self-contained HTML page of a report.json; every text in it is escaped, and any key may be missing."""
    html: str = _template().render(
        report=report,
        constitution=say.mapping(report.get("constitution")),
        verdict=_verdict(say.mapping(report.get("verdict"))),
        headlines=_headlines(report),
        panels=_panels(say.mapping(report.get("models"))),
        pairs=_pairs(report),
        kinds=list(dict.fromkeys(str(sample.get("kind") or "other") for sample in say.rows(report.get("samples")))),
        samples=_samples(report),
        gates=more.gates(say.mapping(report.get("verdict"))),
        red_team=more.red_team(report.get("red_team")),
        readiness=more.readiness(report.get("readiness")),
        capability=more.suites(report.get("capability")),
        bias=more.suites(report.get("bias")),
        calibration=more.calibration(report.get("calibration")),
        failures=more.failures(report.get("failures")),
        revisions=[_revision(revision) for revision in say.rows(report.get("revisions"))],
        judges=[_judge(judge) for judge in say.rows(report.get("certificate"))],
        stages=_stages(report),
        totals=_totals(say.rows(report.get("stages"))),
        lineage=_lineage(say.rows(report.get("lineage"))),
        environment=[(say.words(key), say.measured(x)) for key, x in say.mapping(report.get("environment")).items()],
        limits=[str(limit) for limit in report.get("limits") or ()],
    )
    return html


@cache
def _template() -> Any:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def _verdict(verdict: Report) -> Report:
    """The decision, a sentence that says why, and the conditions with the missed ones first."""
    conditions = []
    for condition in say.rows(verdict.get("conditions")):
        status = str(condition.get("status") or "not measured")
        name, mark = STATUS.get(status, (status, "?"))
        conditions.append(
            {
                "name": say.title(str(condition.get("name") or "")),
                "required": say.measured(condition.get("required")),
                "measured": say.measured(condition.get("measured")),
                "status": name,
                "mark": mark,
                "css": {"✓": "good", "✗": "bad"}.get(mark, "unsure"),
                "command": str(condition.get("command") or "") if status == "not measured" else "",
                "waiver": more.waiver(say.mapping(condition.get("waiver"))),
            }
        )
    conditions.sort(key=lambda row: ORDER.index(row["mark"]))
    met, missed, unshown, waived = (sum(row["mark"] == mark for row in conditions) for mark in ("✓", "✗", "±", "≈"))
    unknown = len(conditions) - met - missed - unshown - waived
    told = f"{met} of {len(conditions)} conditions met" if conditions else "No conditions were set"
    told += f", {missed} missed" if missed else ""
    told += f", {unshown} not shown" if unshown else ""
    told += f", {waived} waived" if waived else ""
    told += f", {unknown} not measured" if unknown else ""
    return {"release": verdict.get("release"), "conditions": conditions, "told": told + "."}


def _headlines(report: Report) -> list[Report]:
    """The figures of most interest, from base to aligned, told large."""
    models = say.mapping(report.get("models"))
    base, aligned = say.mapping(models.get("base")), say.mapping(models.get("aligned"))
    found: list[Report] = []
    for name in HEADLINES:
        before, after = say.mapping(base.get(name)), say.mapping(aligned.get(name))
        if say.number(before.get("value")) is None or say.number(after.get("value")) is None:
            continue
        unit = str(after.get("unit") or "")
        ends = say.interval(after.get("ci"), unit)
        note = [f"95 % CI {ends}"] if ends else []
        found.append(
            {
                "title": say.title(name),
                "about": say.FIGURES[name][1],
                "before": say.value(before["value"], unit),
                "after": say.value(after["value"], unit),
                "note": ", ".join([*note, say.items(after.get("n"))]),
            }
        )
    return found[:4]


def _panels(models: Report) -> list[Report]:
    """One panel a figure: every model's dot and interval on one axis."""
    ordered = [name for name in COLOURS if name in models] + [name for name in models if name not in COLOURS]
    names = dict.fromkeys(figure for name in ordered for figure in say.mapping(models[name]))
    rank = {name: i for i, name in enumerate(say.FIGURES)}
    return [_panel(figure, ordered, models) for figure in sorted(names, key=lambda name: rank.get(name, len(rank)))]


def _panel(figure: str, ordered: Sequence[str], models: Report) -> Report:
    found = {name: say.mapping(say.mapping(models[name]).get(figure)) for name in ordered}
    known = [entry for entry in found.values() if entry]
    unit = next((str(entry["unit"]) for entry in known if entry.get("unit")), "")
    better = next((entry["better"] for entry in known if entry.get("better")), None)
    axis = pictures.scale(known, unit)
    bare = unit if unit == "share" else ""  # the ends of the axis need no unit beyond the sign for per cent
    lines = []
    for i, (name, entry) in enumerate(found.items()):
        told, ends = say.value(entry.get("value"), unit), say.interval(entry.get("ci"), unit)
        n = say.items(entry["n"]) if entry.get("n") is not None else ""
        label = f"{say.model(name)}: {told}" + (f" (95 % CI {ends})" if ends else "") + (f", {n}" if n else "")
        colour = COLOURS.get(name, f"m{4 + i % 2}")
        picture = pictures.whisker(entry, axis, colour, label)
        row = {"model": say.model(name), "colour": colour, "value": told, "ci": ends, "n": n, "picture": picture}
        lines.append(row)
    return {
        "title": say.title(figure),
        "about": say.FIGURES.get(figure, ("", ""))[1],
        "better": f"{better} is better" if better in ("lower", "higher") else "",
        "arrow": {"lower": "↓", "higher": "↑"}.get(str(better), ""),
        "low": say.value(axis[0], bare),
        "high": say.value(axis[1], bare),
        "lines": lines,
        "how": "; ".join(dict.fromkeys(str(entry["how"]) for entry in known if entry.get("how"))),
    }


def _pairs(report: Report) -> list[Report]:
    """The comparisons in plain words, with the numbers behind them."""
    models = say.mapping(report.get("models"))
    found: list[Report] = []
    for pair in say.rows(report.get("pairs")):
        figure = str(pair.get("figure") or "")
        entries = [say.mapping(say.mapping(model).get(figure)) for model in models.values()]
        unit = next((str(entry["unit"]) for entry in entries if entry.get("unit")), "")
        better = next((entry["better"] for entry in entries if entry.get("better")), None)
        sure = say.number(pair.get("p_holm") if pair.get("p_holm") is not None else pair.get("p"))
        change = say.number(pair.get("value"))
        css, word = "flat", "no clear change"
        if sure is not None and sure < LEVEL and change:
            right = None if better not in ("lower", "higher") else (change > 0) == (better == "higher")
            css, word = {None: ("moved", "changed"), True: ("good", "better"), False: ("bad", "worse")}[right]
        found.append(
            {
                "title": say.title(figure),
                "a": say.model(pair.get("a") or ""),
                "b": say.model(pair.get("b") or ""),
                "css": css,
                "word": word,
                "plain": str(pair.get("plain") or ""),
                "change": say.value(change, unit).replace("%", "points"),
                "ci": say.interval(pair.get("ci"), unit),
                "n": say.count(pair.get("n")),
                "test": str(pair.get("test") or ""),
                "p": say.p_value(pair.get("p")),
                "p_holm": say.p_value(pair.get("p_holm")),
                "effect": f"{say.words(pair.get('effect_name') or 'effect')} {say.value(pair.get('effect'))}",
                "detectable": say.value(pair.get("detectable"), unit).replace("%", "points"),
            }
        )
    return found


def _samples(report: Report) -> list[Report]:
    found: list[Report] = []
    for sample in say.rows(report.get("samples")):
        replies, labels = say.mapping(sample.get("replies")), say.mapping(sample.get("labels"))
        ordered = [name for name in COLOURS if name in replies] + [name for name in replies if name not in COLOURS]
        answers = []
        for i, name in enumerate(ordered):
            label = str(labels.get(name) or "")
            told, css = say.LABELS.get(label, (label.replace("_", " "), "other"))
            colour = COLOURS.get(name, f"m{4 + i % 2}")
            text = str(replies[name] if replies[name] is not None else "")
            answers.append({"model": say.model(name), "colour": colour, "text": text, "label": told, "css": css})
        kind = str(sample.get("kind") or "other")
        found.append({"id": sample.get("id"), "kind": kind, "prompt": sample.get("prompt"), "answers": answers})
    return found


def _revision(revision: Report) -> Report:
    """Each round with the text before and after it, the difference marked."""
    before, rounds = str(revision.get("first") or ""), []
    for entry in say.rows(revision.get("rounds")):
        after = str(entry.get("revision") or "")
        left, right = say.difference(before, after)
        principle, critique = entry.get("principle"), entry.get("critique")
        rounds.append({"principle": principle, "critique": critique, "before": left, "after": right})
        before = after
    return {
        "id": revision.get("id"),
        "prompt": revision.get("prompt"),
        "first": revision.get("first"),
        "rounds": rounds,
    }


def _judge(judge: Report) -> Report:
    """A judge's examination: figures as (name, text) and the reliability diagram."""
    accuracy = dict(say.mapping(judge.get("accuracy")))
    if accuracy and "n" not in accuracy and judge.get("n") is not None:
        accuracy["n"] = judge["n"]
    shares = {"unit": "share"}
    figures = [("Accuracy", say.measured(shares | accuracy) if accuracy else "—")]
    bar = judge.get("bar")
    figures += [("Bar", say.measured(bar if say.number(bar) is None else {"value": bar, "unit": "share"}))]
    names = {"ece": "Calibration error (ECE)", "brier": "Brier score", "position_bias": "Position bias"}
    names |= {"length_bias": "Length bias", "abstention": "Abstains"}
    figures += [(name, say.measured(judge[key])) for key, name in names.items() if judge.get(key) is not None]
    return {
        "name": judge.get("judge") or "Judge",
        "accepted": bool(judge.get("accepted")),
        "n": say.count(judge.get("n", accuracy.get("n"))),
        "figures": figures,
        "picture": pictures.reliability(say.rows(judge.get("reliability"))),
        "note": judge.get("note") or "",
    }


def _stages(report: Report) -> list[Report]:
    """What each stage did and cost, with its curves; curves of stages that are not listed come last."""
    curves = dict(say.mapping(report.get("curves")))
    rows = say.rows(report.get("stages"))
    most = max((say.number(row.get("seconds")) or 0.0 for row in rows), default=0.0) or 1.0
    found: list[Report] = []
    for row in rows:
        dropped = {str(k): say.number(v) or 0 for k, v in say.mapping(row.get("rows_dropped")).items()}
        name = str(row.get("stage") or "")
        seconds = say.number(row.get("seconds")) or 0.0
        found.append(
            {
                "stage": say.words(name),
                "id": str(row.get("id") or ""),
                "reused": bool(row.get("reused")),
                "headline": row.get("headline") or "",
                "seconds": say.duration(row.get("seconds")),
                "share": round(100 * seconds / most, 1),
                "tokens": say.compact(row.get("tokens")),
                "peak": say.memory(row.get("peak_bytes")),
                "kept": say.count(row.get("rows_kept")),
                "dropped": sum(dropped.values()) and say.count(sum(dropped.values())),
                "reasons": [(say.words(k), say.count(v)) for k, v in sorted(dropped.items(), key=lambda kv: -kv[1])],
                "charts": _charts(curves.pop(name, ())),
            }
        )
    left_over = [(say.words(name), _charts(points)) for name, points in curves.items()]
    return found + [{"stage": name, "charts": charts, "only_curves": True} for name, charts in left_over if charts]


def _charts(points: Any) -> list[Report]:
    """A small line chart for each number that was logged, the losses first."""
    rows = say.rows(points)
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name != "step"]
    names.sort(key=lambda name: (name != "loss", "loss" not in str(name)))
    charts: list[Report] = []
    for name in names:
        line = [(say.number(row.get("step", i)), say.number(row.get(name))) for i, row in enumerate(rows)]
        picture = pictures.curve([(x, y) for x, y in line if x is not None and y is not None], say.words(name))
        if picture:
            charts.append({"name": say.words(name), "picture": picture, "last": say.value(line[-1][1])})
    return charts[:CHARTS]


def _totals(stages: Sequence[Report]) -> str:
    """What the whole run cost, without what was reused."""
    fresh = [row for row in stages if not row.get("reused")]
    seconds = sum(say.number(row.get("seconds")) or 0.0 for row in fresh)
    tokens = sum(say.number(row.get("tokens")) or 0.0 for row in fresh)
    peak = max((say.number(row.get("peak_bytes")) or 0.0 for row in fresh), default=0.0)
    told = [say.duration(seconds)] if seconds else []
    told += [f"{say.compact(tokens)} tokens"] if tokens else []
    told += [f"peak {say.memory(peak)}"] if peak else []
    reused = len(stages) - len(fresh)
    told += [f"{reused} of {len(stages)} stages reused"] if reused else []
    return " · ".join(told)


def _lineage(nodes: Sequence[Report]) -> Report:
    picture, ordered, width = pictures.arcs(nodes)
    names = {str(node.get("id")): str(node.get("stage") or "") for node in nodes}
    rows = [
        {
            "id": str(node.get("id") or ""),
            "stage": say.words(node.get("stage") or ""),
            "inputs": [
                {
                    "role": say.words(source.get("role") or "").lower(),
                    "id": str(source.get("id") or ""),
                    "stage": say.words(names.get(str(source.get("id")), "")).lower(),
                }
                for source in say.rows(node.get("inputs"))
            ],
        }
        for node in ordered
    ]
    return {"picture": picture, "rows": rows, "width": width, "height": pictures.ROW}
