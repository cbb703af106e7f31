"""The guard's figures as one HTML file that needs nothing else: operating curves as inline SVG, and the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

TEMPLATE = Path(__file__).with_name("guard.html.j2")
SIZE, LEFT, TOP = 300, 44, 10
"""Of a picture's square, and the room for the words beside it."""
MARKS = (0.0, 0.25, 0.5, 0.75, 1.0)
SWEEPS = ("pass_harm", "stop_false", "strict_false")
COLOURS = {"probe": "c1", "classifier": "c2", "critique": "c3", "rules": "c1", "cascade": "c4"} | dict(zip(SWEEPS, ("c1", "c2", "c4"), strict=True))
TITLES = {"input": "Requests", "output": "Replies with a label", "retrieved": "Retrieved texts"}
LIMITS = (
    "Labels are those of the data sets; the starter's and the code requests were written by a language model and reviewed by nobody.",
    "Whether a model's own reply does harm is decided by rules (no refusal, speaks of the request), which err.",
    "English only. Attacks that were made against this very guard were not tried here: a low figure is no promise about them.",
    "Thresholds hold for texts like those they were chosen on. XSTest was not among them, so its figures are the most sober.",
    "The injection rules know published wordings. The held-out injections are siblings of those that were read when they were written.",
    "Milliseconds are those of the machine in the evidence, with whatever else ran on it.",
)


def page(figures: Mapping[str, Any], budget: Mapping[str, float]) -> str:
    """The page of one measuring."""
    sides = [_side(side, figures[side], figures["bands"][side], figures["chosen_on"][side]) for side in TITLES]
    html: str = _template().render(
        model=figures["model"], system=figures["system"], budget={name: percent(x) for name, x in budget.items()}, sides=sides,
        kinds=[_cells(row, "kind") for row in figures["kinds"]], alternatives=[_cells(row, "figure") for row in figures["alternatives"]],
        replies=_replies(figures["replies"]), limits=LIMITS,
    )  # fmt: skip
    return html


@cache
def _template() -> Any:
    from jinja2 import Environment

    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))


def percent(x: float | None) -> str:
    return "" if x is None else f"{100 * x:.1f} %"


def interval(row: Mapping[str, Any]) -> str:
    return "" if row.get("low") is None else f"{percent(row['low'])} to {percent(row['high'])}"


def _cells(row: Mapping[str, Any], *names: str) -> dict[str, str]:
    out = {name: str(row[name]) for name in (*names, "figure")}
    return out | {"count": f"{row['hits']} of {row['n']}", "value": percent(row["value"]), "ci": interval(row)}


def _side(side: str, found: Mapping[str, Any], bands: Mapping[str, Any], chosen: Mapping[str, int]) -> dict[str, Any]:
    total = [row for row in found["systems"] if not row["set"]]
    return {
        "title": TITLES[side], "picture": picture(found["curves"] | {"cascade": _operating(found["cascade"])}, total), "chosen": f"{chosen['n']} texts, {chosen['harmful']} of them harmful",
        "bands": [{"tier": tier, **{name: f"{x:.3f}" for name, x in band.items()}} for tier, band in bands.items()],
        "systems": [_cells(row, "system") for row in total], "sets": [_cells(row, "system", "set") for row in found["systems"] if row["set"]],
        "ranking": [{"tier": row["tier"], "value": f"{row['value']:.3f}", "ci": f"{row['low']:.3f} to {row['high']:.3f}", "n": row["n"]} for row in found["ranking"]],
        "latency": found["latency"], "cost": cost(found["cascade"]), "cascade": [_point(one) for one in found["cascade"]], "n": found["cascade"][0]["ms"]["n"],
    }  # fmt: skip


def _replies(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    shares = [_cells({**row, "figure": name}, "figure") for name, row in found["shares"].items()]
    return {"shares": shares, "latency": found["latency"], "first": found["first_text_ms"], "drawn": found["drawn_of_stopped"]}


def _operating(points: Sequence[Mapping[str, Any]]) -> list[tuple[float, float, float]]:
    """The curve of the whole cascade as the strict budget moves, as the curves of the tiers are given."""
    found = [(one["value"], one["false refusals"]["value"], one["harm passed"]["value"]) for one in points if one["swept"] == "strict_false"]
    return [one for one in found if None not in one]


def _point(one: Mapping[str, Any]) -> dict[str, str]:
    def told(row: Mapping[str, Any]) -> str:
        return f"{percent(row['value'])} ({interval(row)}; {row['hits']} of {row['n']})" if row["n"] else ""

    ms = one["ms"]
    return {
        "swept": one["swept"], "value": percent(one["value"]), "chosen": "chosen" if one["chosen"] else "", "harm": told(one["harm passed"]),
        "false": told(one["false refusals"]), "mean": f"{ms['mean']:.1f} ({ms['low']:.1f} to {ms['high']:.1f})", "p95": f"{ms['p95']:.1f}",
    }  # fmt: skip


def cost(points: Sequence[Mapping[str, Any]]) -> Markup:
    """Harm passed over the milliseconds that the cascade adds at the mean: a line for each budget as it moves, a large dot where it
    was chosen."""
    held = [one for one in points if one["harm passed"]["value"] is not None]
    top = max((one["ms"]["mean"] for one in held), default=0.0) or 1.0
    at = {swept: [one for one in held if one["swept"] == swept] for swept in SWEEPS}
    lines = Markup("").join(
        _line(swept, [(one["value"], one["ms"]["mean"] / top, one["harm passed"]["value"]) for one in inside]) for swept, inside in at.items() if inside
    )
    dots = Markup("").join(
        _dot(one["ms"]["mean"] / top, one["harm passed"]["value"], "{} {}: harm passed {}, false refusals {}, {:.1f} ms".format(
            one["swept"], percent(one["value"]), percent(one["harm passed"]["value"]), percent(one["false refusals"]["value"]), one["ms"]["mean"]
        ), 4.5 if one["chosen"] else 2.0)
        for one in held
    )  # fmt: skip
    marks = Markup("").join(_mark(x, f"{x * top:.3g}") for x in MARKS)
    return _framed("Harm passed over time added", "milliseconds added to a text, mean", marks + lines + dots)


def picture(curves: Mapping[str, Sequence[Sequence[float]]], systems: Sequence[Mapping[str, Any]]) -> Markup:
    """Harm passed over false refusals: a line for each tier as its threshold moves, a dot for each system as it is set."""
    lines = Markup("").join(_line(tier, points) for tier, points in curves.items() if points)
    pairs: dict[str, dict[str, float]] = {}
    for row in systems:
        pairs.setdefault(row["system"], {})[row["figure"]] = row["value"]
    dots = Markup("").join(
        _dot(one["false refusals"], one["harm passed"], f"{name}: false refusals {percent(one['false refusals'])}, harm passed {percent(one['harm passed'])}")
        for name, one in pairs.items()
        if len(one) == 2
    )
    marks = Markup("").join(_mark(x, f"{100 * x:.0f} %") for x in MARKS)
    return _framed("Harm passed over false refusals", "harmless texts stopped", marks + lines + dots)


def _framed(title: str, along: str, inside: Markup) -> Markup:
    return Markup(
        '<svg class="curve" viewBox="0 0 {w} {h}" role="img" aria-label="{title}"><title>{title}</title>'
        '{inside}<text x="{mid}" y="{low}" text-anchor="middle">{along}</text>'
        '<text transform="translate(11 {half}) rotate(-90)" text-anchor="middle">harmful texts passed</text></svg>'
    ).format(
        w=LEFT + SIZE + 18, h=TOP + SIZE + 40, title=title, inside=inside, along=along, mid=LEFT + SIZE / 2, low=TOP + SIZE + 34, half=TOP + SIZE / 2
    )  # fmt: skip


def _dot(x: float, y: float, title: str, r: float = 4.5) -> Markup:
    return Markup('<circle class="dot" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(*_place(x, y), r, title)


def _line(tier: str, points: Sequence[Sequence[float]]) -> Markup:
    path = " ".join("{},{}".format(*_place(x, y)) for _, x, y in points)
    return Markup('<polyline class="{}" points="{}"><title>{}</title></polyline>').format(COLOURS.get(tier, "c1"), path, tier)


def _mark(x: float, shown: str) -> Markup:
    """Lines at this part of both axes; `shown` is written below, and the share beside."""
    along, down = _place(x, 0)[0], _place(0, x)[1]
    return Markup(
        '<line class="grid" x1="{a}" x2="{a}" y1="{t}" y2="{b}"/><line class="grid" x1="{l}" x2="{r}" y1="{d}" y2="{d}"/>'
        '<text x="{a}" y="{u}" text-anchor="middle">{s}</text><text x="{w}" y="{v}" text-anchor="end">{p}</text>'
    ).format(a=along, d=down, t=TOP, b=TOP + SIZE, l=LEFT, r=LEFT + SIZE, u=TOP + SIZE + 15, w=LEFT - 5, v=down + 4, s=shown, p=f"{100 * x:.0f} %")


def _place(x: float, y: float) -> tuple[float, float]:
    return round(LEFT + x * SIZE, 1), round(TOP + (1 - y) * SIZE, 1)
