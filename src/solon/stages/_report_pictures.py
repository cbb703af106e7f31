"""The pictures of a report as inline SVG; all text in them is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from solon.stages._report_words import bounds, number, value

Point = tuple[float, float]

CURVE = (300, 110)  # width and height of a line chart
CURVE_POINTS = 240
ROW = 46  # height of a node's row in the lineage
LANE = 15  # how far an arc bulges for each row it skips
SQUARE = 190


def scale(figures: Sequence[Mapping[str, Any]], unit: str) -> tuple[float, float]:
    """The ends of the axis on which all these figures are drawn; a share keeps the whole range unless all are small."""
    ends: list[float] = []
    for figure in figures:
        found = number(figure.get("value"))
        ends += [] if found is None else [found]
        ends += bounds(figure.get("ci")) or ()
    if not ends:
        return 0.0, 1.0
    low, high = min(ends), max(ends)
    if unit in ("share", "score") and 0 <= low and high <= 1:
        return 0.0, next(top for top in (0.25, 0.5, 1.0) if high <= top)
    room = (high - low or abs(high) or 1.0) * 0.12
    return low - room, high + room


def whisker(figure: Mapping[str, Any], axis: tuple[float, float], colour: str, told: str) -> Markup:
    """One figure as a dot and its interval as a line, as wide as the page gives; positions are in per cent."""
    found = number(figure.get("value"))
    if found is None:
        return Markup("")
    ends = bounds(figure.get("ci"))
    line = Markup("")
    if ends:
        a, b = (_along(x, axis) for x in ends)
        line = Markup(
            '<line class="ci" x1="{a}%" x2="{b}%" y1="11" y2="11"/><line class="ci" x1="{a}%" x2="{a}%" y1="7" y2="15"/>'
            '<line class="ci" x1="{b}%" x2="{b}%" y1="7" y2="15"/>'
        ).format(a=a, b=b)
    return Markup(
        '<svg class="whisker {colour}" width="100%" height="22" role="img" aria-label="{told}"><title>{told}</title>'
        '<line class="track" x1="0" x2="100%" y1="11" y2="11"/>{line}<circle cx="{x}%" cy="11" r="5.5"/></svg>'
    ).format(colour=colour, told=told, line=line, x=_along(found, axis))


def reliability(points: Sequence[Mapping[str, Any]]) -> Markup:
    """Stated probability against observed share; the area of a dot grows with its items, the diagonal is honesty."""
    known = [(number(q.get("p")), number(q.get("y")), number(q.get("n")) or 0.0) for q in points]
    dots = [(p, y, n) for p, y, n in known if p is not None and y is not None]
    if not dots:
        return Markup("")
    left, size, most = 30, SQUARE - 42, max(n for _, _, n in dots) or 1.0

    def place(p: float, y: float) -> Point:
        return round(left + p * size, 1), round(8 + (1 - y) * size, 1)

    drawn = Markup("").join(
        Markup(
            '<circle class="dot" cx="{}" cy="{}" r="{:.1f}"><title>said {:.2f}, happened {:.2f}, n = {:.0f}</title></circle>'
        ).format(*place(p, y), 2.5 + 5 * math.sqrt(n / most), p, y, n)
        for p, y, n in dots
    )
    path = " ".join(f"{x},{y}" for x, y in (place(p, y) for p, y, _ in sorted(dots)))
    return Markup(
        '<svg class="reliability" viewBox="0 0 {side} {side}" role="img" aria-label="Reliability diagram">'
        '<rect class="frame" x="{left}" y="8" width="{size}" height="{size}"/>'
        '<line class="diagonal" x1="{left}" y1="{foot}" x2="{end}" y2="8"/><polyline class="joined" points="{path}"/>{drawn}'
        '<text x="{left}" y="{under}">0</text><text x="{end}" y="{under}" text-anchor="end">1</text>'
        '<text x="{middle}" y="{under}" text-anchor="middle">stated</text>'
        '<text x="{beside}" y="{foot}" text-anchor="end">0</text><text x="{beside}" y="16" text-anchor="end">1</text>'
        '<text transform="translate(12 {half}) rotate(-90)" text-anchor="middle">happened</text></svg>'
    ).format(
        side=SQUARE,
        left=left,
        size=size,
        foot=8 + size,
        end=left + size,
        path=path,
        drawn=drawn,
        under=8 + size + 15,
        middle=left + size / 2,
        beside=left - 5,
        half=8 + size / 2,
    )


def curve(points: Sequence[Point], name: str) -> Markup:
    """One line chart with the first, last and extreme values written at it."""
    points = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(points) < 2:
        return Markup("")
    (width, height), left, foot = CURVE, 40, 18
    last = points[-1]
    thin = max(1, math.ceil(len(points) / CURVE_POINTS))
    drawn = [*points[::thin], last]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)

    def place(x: float, y: float) -> Point:
        across = (x - x0) / ((x1 - x0) or 1)
        up = (y - y0) / (y1 - y0) if y1 > y0 else 0.5
        return round(left + across * (width - left - 8), 1), round(6 + (1 - up) * (height - foot - 10), 1)

    path = " ".join(f"{a},{b}" for a, b in (place(x, y) for x, y in drawn))
    end = place(*last)
    return Markup(
        '<svg class="curve" viewBox="0 0 {w} {h}" role="img" aria-label="{name}: from {first} to {final} over {n} points">'
        '<line class="frame" x1="{left}" x2="{right}" y1="{base}" y2="{base}"/>'
        '<line class="frame" x1="{left}" x2="{left}" y1="4" y2="{base}"/><polyline points="{path}"/>'
        '<circle cx="{ex}" cy="{ey}" r="3"/><text x="{tick}" y="13" text-anchor="end">{top}</text>'
        '<text x="{tick}" y="{base}" text-anchor="end">{low}</text><text x="{left}" y="{under}">step {start}</text>'
        '<text x="{right}" y="{under}" text-anchor="end">{stop}</text></svg>'
    ).format(
        w=width,
        h=height,
        name=name,
        first=value(points[0][1]),
        final=value(last[1]),
        n=len(points),
        left=left,
        right=width - 8,
        base=height - foot,
        path=path,
        ex=end[0],
        ey=end[1],
        tick=left - 5,
        top=value(y1),
        low=value(y0),
        under=height - 4,
        start=f"{x0:g}",
        stop=f"{x1:g}",
    )


def arcs(nodes: Sequence[Mapping[str, Any]]) -> tuple[Markup, list[Mapping[str, Any]], int]:
    """The lineage as an arc diagram: nodes on a line in the order of making, an arc from each input to what it made.

    Gives the drawing, the nodes in that order, and the drawing's width. Inputs that are no node are not drawn.
    """
    ordered = _made_in_order(nodes)
    row = {str(node.get("id")): i for i, node in enumerate(ordered)}
    links = [
        (row[str(source.get("id"))], i, str(source.get("role") or ""))
        for i, node in enumerate(ordered)
        for source in node.get("inputs") or ()
        if str(source.get("id")) in row
    ]
    reach = max([to - start - 1 for start, to, _ in links], default=0)
    bulge = min(LANE, 130 / reach) if reach else 0  # long lineages stay as narrow as short ones
    width = round(reach * bulge + 26)
    x = width - 12
    parts = []
    for start, to, role in links:
        out, y0, y1 = x - (to - start - 1) * bulge * 4 / 3, ROW * (start + 0.5), ROW * (to + 0.5)
        path = f"M{x},{y0} C{out:.1f},{y0 + (y1 - y0) * 0.2:.1f} {out:.1f},{y1 - (y1 - y0) * 0.2:.1f} {x},{y1}"
        parts.append(Markup('<path d="{}"><title>{}</title></path>').format(path, role))
    parts += [Markup('<circle cx="{}" cy="{}" r="5.5"/>').format(x, ROW * (i + 0.5)) for i in range(len(ordered))]
    drawing = Markup(
        '<svg class="arcs" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" aria-label="Lineage">{}</svg>'
    )
    return drawing.format(Markup("").join(parts), w=width, h=ROW * len(ordered)), ordered, width


def _made_in_order(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Inputs before what they made; the given order otherwise, also where a cycle makes that impossible."""
    waiting, ordered = list(nodes), []
    names, placed = {str(node.get("id")) for node in nodes}, set()
    while waiting:
        ready = next(
            (
                node
                for node in waiting
                if all(str(s.get("id")) in placed or str(s.get("id")) not in names for s in node.get("inputs") or ())
            ),
            waiting[0],
        )
        waiting.remove(ready)
        ordered.append(ready)
        placed.add(str(ready.get("id")))
    return ordered


def _along(x: float, axis: tuple[float, float]) -> float:
    """Where on the axis, in per cent, kept inside so that a dot at an end is whole."""
    share = (x - axis[0]) / ((axis[1] - axis[0]) or 1)
    return round(2 + 96 * min(1.0, max(0.0, share)), 2)
