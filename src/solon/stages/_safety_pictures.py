"""Pictures of a safety head on the held-out texts as SVG files that stand alone: is harm as likely as it says, and what is
found at which cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from solon.core.intervals import calibration, wilson
from solon.safety.head import HARM, Floats, Head
from solon.safety.measure import precision_recall
from solon.safety.replies import Read
from solon.safety.texts import Text
from solon.stages._safety_figures import SETS, truth
from solon.stages._uncertainty_pictures import across, framed, reliability, up

COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280", "#718096", "#975a16")


def pictures(head: Head, tests: Mapping[str, Sequence[Text]], read: Mapping[str, Read]) -> dict[str, str]:
    """File names and drawings: the probability of harm of the pooled requests beside the share that is harmful, and precision
    over recall of harm for each set of texts."""
    known: dict[str, tuple[Floats, Floats]] = {}
    for name, texts in tests.items():
        y = truth(texts, SETS[name][1])
        p = head.probabilities(np.array([read[text.text][0] for text in texts]))[:, HARM]
        known[name] = (y[np.isfinite(y)], p[np.isfinite(y)])
    return {"reliability.svg": reliable(*known["requests"]), "precision-recall.svg": found(known)}


def reliable(y: Floats, p: Floats) -> str:
    """A reliability diagram in ten bins of equal mass, with Wilson's intervals."""
    bins = []
    for one in calibration(p.tolist(), y.tolist()).bins:
        low, high = wilson(round(one.y * one.n), one.n)
        bins.append({"p": one.p, "y": one.y, "low": low, "high": high, "n": one.n})
    return reliability(bins, "Requests", "probability of harm", "share harmful")


def found(known: Mapping[str, tuple[Floats, Floats]]) -> str:
    """Precision over recall as the threshold falls: a line and its name for each set."""
    drawn = Markup("")
    for place, (name, (y, p)) in enumerate(known.items()):
        colour = COLOURS[place % len(COLOURS)]
        path = " ".join(f"{across(recall)},{up(precision)}" for recall, precision in precision_recall(y, p))
        drawn += Markup('<polyline fill="none" stroke="{}" points="{}"><title>{}, n {}</title></polyline>').format(colour, path, name, len(y))
        drawn += Markup('<text x="{}" y="{}" style="fill:{}">{}</text>').format(across(0.04), up(0.04 + 0.07 * place), colour, name)
    return framed("Harm, by set", "recall", "precision", drawn)
