"""Pictures of a model's confidence as SVG files that stand alone: a reliability diagram and a risk-coverage curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

SIDE, LEFT, FOOT, TOP = 240, 44, 40, 30
SIZE = SIDE - LEFT - 12
STYLE = (
    "text{font:11px sans-serif;fill:#333}.title{font-weight:bold}.frame{fill:none;stroke:#999}.plain{stroke:#bbb;stroke-dasharray:4 3}"
    ".line{fill:none;stroke:#2b6cb0;stroke-width:1.5}.dot{fill:#2b6cb0}.ci{stroke:#2b6cb0;stroke-width:1}"
)


def reliability(bins: Sequence[Mapping[str, float]], title: str, below: str = "confidence", beside: str = "share right") -> str:
    """Mean confidence against the share that was right, with Wilson's intervals; the area of a dot grows with its items."""
    most = max(one["n"] for one in bins)
    drawn = Markup("").join(
        Markup(
            '<line class="ci" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/><circle class="dot" cx="{x}" cy="{y}" r="{r:.1f}">'
            "<title>{below} {p:.3f}, {beside} {share:.3f}, n {n}</title></circle>"
        ).format(
            x=across(one["p"]), y=up(one["y"]), low=up(one["low"]), high=up(one["high"]), r=2 + 3 * math.sqrt(one["n"] / most),
            p=one["p"], share=one["y"], n=int(one["n"]), below=below, beside=beside,
        )
        for one in bins
    )  # fmt: skip
    diagonal = Markup('<line class="plain" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(across(0), up(0), across(1), up(1))
    count = int(sum(one["n"] for one in bins))
    return framed(f"{title}, n {count}", below, beside, diagonal + drawn)


def coverage(points: Sequence[Mapping[str, float]], blind: float) -> str:
    """Share of wrong answers among the most confident items, for each share of items that is answered."""
    path = " ".join(f"{across(one['coverage'])},{up(one['risk'])}" for one in points)
    flat = Markup('<line class="plain" x1="{}" y1="{y}" x2="{}" y2="{y}"/>').format(across(0), across(1), y=up(blind))
    line = Markup('<polyline class="line" points="{}"/>').format(path)
    return framed("Risk by coverage", "share answered", "share wrong", flat + line)


def across(x: float) -> float:
    return round(LEFT + x * SIZE, 1)


def up(y: float) -> float:
    return round(TOP + (1 - y) * SIZE, 1)


def framed(title: str, below: str, beside: str, drawn: Markup) -> str:
    """Frame, ends of both axes and their names around a drawing in the unit square."""
    height = TOP + SIZE + FOOT
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {height}" width="{side}" height="{height}" role="img" aria-label="{title}">'
            '<style>{style}</style><text class="title" x="{left}" y="18">{title}</text>'
            '<rect class="frame" x="{left}" y="{top}" width="{size}" height="{size}"/>{drawn}'
            '<text x="{left}" y="{under}">0</text><text x="{end}" y="{under}" text-anchor="end">1</text>'
            '<text x="{middle}" y="{under}" text-anchor="middle">{below}</text><text x="{near}" y="{floor}" text-anchor="end">0</text>'
            '<text x="{near}" y="{ceiling}" text-anchor="end">1</text>'
            '<text transform="translate(16 {half}) rotate(-90)" text-anchor="middle">{beside}</text></svg>'
        ).format(
            side=SIDE, height=height, title=title, style=Markup(STYLE), left=LEFT, top=TOP, size=SIZE, drawn=drawn, under=TOP + SIZE + 16,
            end=LEFT + SIZE, middle=LEFT + SIZE / 2, below=below, near=LEFT - 5, floor=TOP + SIZE, ceiling=TOP + 10,
            half=TOP + SIZE / 2, beside=beside,
        )
    )  # fmt: skip
