"""Findings in plain English: the one place where numbers of a comparison become a sentence."""

from __future__ import annotations

import math

from solon.evals.statistics.figures import ALPHA

BEYOND = ", beyond chance"


def change(
    difference: float, low: float, high: float, p: float, smallest: float, *, points: bool = False, unit: str = ""
) -> str:
    """What changed; `points` says that the numbers are shares and are told in percentage points.

    "fell by 41 points (95 % CI 31 to 50), beyond chance", or "no detectable change (...); could have seen 4.1 points".
    """
    scale = 100.0 if points else 1.0
    unit = " points" if points else (f" {unit}" if unit else "")

    def told(x: float) -> str:
        return rounded(x * scale, points)

    if p < ALPHA:
        verb, sign = ("fell", -1) if difference < 0 else ("rose", 1)
        ends = sorted((sign * low, sign * high))
        return f"{verb} by {told(abs(difference))}{unit} (95 % CI {told(ends[0])} to {told(ends[1])}){BEYOND}"
    seen = f"could have seen {told(smallest)}{unit}" if math.isfinite(smallest) else "too few items to see any"
    return f"no detectable change ({told(difference)}{unit}, 95 % CI {told(low)} to {told(high)}); {seen}"


def preference(share: float, low: float, high: float, p: float, smallest: float) -> str:
    """Who is preferred; `smallest` is the distance from one half that would have been seen."""
    beyond = p < ALPHA
    verb = ("wins" if share > 0.5 else "loses") if beyond else "no detectable preference:"
    plain = f"{verb} ({100 * share:.0f} % of comparisons, 95 % CI {100 * low:.0f} to {100 * high:.0f})"
    return plain + (BEYOND if beyond else f"; could have seen {100 * (0.5 + smallest):.0f} %")


def after_correction(plain: str, p: float, adjusted: float, family: int) -> str:
    """A sentence that was written from its own p, for one of `family` comparisons: what is beyond chance by itself and no longer
    after the correction says so, and what was not stays as it is. Correcting once more, over another family, says the last."""
    if p >= ALPHA or BEYOND not in plain:
        return plain
    left = "" if adjusted < ALPHA else f" by itself, but not after correction for {family} comparisons (p {adjusted:.2g})"
    return plain.partition(BEYOND)[0] + BEYOND + left


def rounded(x: float, points: bool) -> str:
    """As many digits as a few hundred items can carry, with a real minus sign."""
    if points:
        text = f"{x:.0f}" if abs(x) >= 10 else f"{x:.1f}"
    else:
        text = f"{x:.3g}" if abs(x) < 100 else f"{x:.0f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")
