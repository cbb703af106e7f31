"""How well a model's confidence fits: figures over rows that hold a confidence `p` and whether it was right, `y`.

Calibration and abstention themselves are `evals.calibration`; here are the figures of a suite made of them, before and
after a temperature that was fitted on one half of the items, and the change from one model to another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from solon.core import intervals
from solon.core.errors import DataError
from solon.core.keys import rng, share
from solon.evals import calibration as cal
from solon.evals.bias import Measured
from solon.evals.statistics import words
from solon.evals.statistics.figures import ALPHA, Comparison, Floats

Record = Mapping[str, Any]
Part = Literal["all", "raw", "scaled"]
DRAWS = 1_000
FIT = 0.5
"""Share of items, by the hash of their id, on which the temperature is fitted; the others are measured."""
POWER = 0.8416 + 1.9600  # standard errors of a difference that is seen in 80 % of repetitions
FEWEST = 20
"""Items of each half without which no temperature is fitted."""


def softmax(nats: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Shares of probability of options, from log-probabilities (nats)."""
    z = np.asarray(nats, np.float64) / temperature
    weight = np.exp(z - z.max())
    return [float(x) for x in weight / weight.sum()]


def sure(nats: Sequence[float], right: Sequence[int]) -> dict[str, float]:
    """Confidence `p` in the likeliest option, and whether it is right, `y`."""
    shares = softmax(nats)
    picked = max(range(len(shares)), key=lambda i: shares[i])
    return {"p": shares[picked], "y": float(picked in right)}


def plain_figures(p: float, y: float) -> dict[str, float]:
    """The figures of one item that are means over items."""
    return {"confidence": p, "over": p - y, "brier": (p - y) ** 2}


def columns(rows: Sequence[Record], part: Part = "all") -> tuple[Floats, Floats]:
    """Confidences and outcomes: of all rows that have them, or of the measured half, as they are or with the temperature
    of the other half. Raises `DataError` where no temperature fits."""
    kept = having(rows)
    if part != "all":
        kept = [row for row in kept if share(row["id"]) >= FIT]
    if part == "scaled":
        heat = fitted(rows)
        kept = [{"sure": sure([one / heat for one in row["nats"]], row["right"])} for row in kept]
    return np.array([row["sure"]["p"] for row in kept]), np.array([row["sure"]["y"] for row in kept])


def having(rows: Sequence[Record]) -> list[Record]:
    return [row for row in rows if "sure" in row]


def fitted(rows: Sequence[Record]) -> float:
    """The temperature of the fitting half."""
    kept = [row for row in having(rows) if share(row["id"]) < FIT]
    width = max((len(row["nats"]) for row in kept), default=0)
    if len(kept) < FEWEST:
        raise DataError("too few items to fit a temperature on", got=len(kept), expected=f"at least {FEWEST}")
    logits = [[*row["nats"], *[min(row["nats"]) - 1e3] * (width - len(row["nats"]))] for row in kept]
    return cal.temperature(logits, [row["right"][0] for row in kept])


def ece(p: Floats, y: Floats) -> float:
    """`core.intervals.calibration`'s error alone, quick enough to be resampled."""
    return float(np.abs(np.bincount(intervals.equal_mass(p, cal.BINS), weights=p - y)).sum() / len(p))


@dataclass(frozen=True)
class Fit:
    """Expected calibration error (`ece`), Brier score (`brier`) or area under the risk-coverage curve (`aurc`) over a part of
    the items."""

    of: Literal["ece", "brier", "aurc"]
    part: Part = "all"
    none: float | None = None
    by: tuple[str, ...] = ()
    whole: bool = True

    def value(self, p: Floats, y: Floats) -> float:
        if self.of == "brier":
            return float(((p - y) ** 2).mean())
        return ece(p, y) if self.of == "ece" else cal.area(p, y)

    def figure(self, rows: Sequence[Record], name: str) -> Measured | None:
        """With what chance gives: the error that perfect calibration stays below in 95 % of samples, or the risk of
        answering without any order. None where there are too few items, or no temperature fits."""
        found = self._columns(rows)
        if found is None:
            return None
        if self.of == "ece":
            one, perfect = cal.calibration_error(found[0].tolist(), found[1].tolist(), name=name)
            return Measured(one, None, perfect)
        if self.of == "brier":
            return Measured(cal.brier(found[0].tolist(), found[1].tolist(), name=name).score)
        curve = cal.abstention(found[0].tolist(), found[1].tolist(), name)
        return Measured(curve.aurc, None, curve.blind)

    def change(self, before: Sequence[Record], after: Sequence[Record], name: str, points: bool) -> Comparison:
        """p by exchanging the two models' answers item by item, interval by resampling items."""
        a, b = self._columns(before), self._columns(after)
        if a is None or b is None or len(a[0]) != len(b[0]):
            raise DataError("the two models have no confidences of the same items", got=name)
        n, value = len(a[0]), self.value
        difference = value(*b) - value(*a)
        generator = rng("calibration change", name, n)
        draws, extreme = np.empty(DRAWS), 0
        for number in range(DRAWS):
            pick = generator.integers(0, n, size=n)
            draws[number] = value(b[0][pick], b[1][pick]) - value(a[0][pick], a[1][pick])
            turn = generator.random(n) < 0.5
            swapped = [(np.where(turn, b[i], a[i]), np.where(turn, a[i], b[i])) for i in (0, 1)]
            turned = value(swapped[0][1], swapped[1][1]) - value(swapped[0][0], swapped[1][0])
            extreme += abs(turned) >= abs(difference) - 1e-12
        low, high = (float(x) for x in np.quantile(draws, (ALPHA / 2, 1 - ALPHA / 2)))
        low, high = min(low, difference), max(high, difference)
        error, p = float(draws.std(ddof=1)), (extreme + 1) / (DRAWS + 1)
        smallest = min(1.0, POWER * error) if error > 0 else 1.0
        said = words.change(difference, low, high, p, smallest, points=points)
        test = f"exchange of answers, {DRAWS:,} draws; percentile bootstrap"
        effect = difference / error if error > 0 else 0.0
        return Comparison(difference, low, high, n, test, p, effect, "change / standard error", smallest, said)

    def _columns(self, rows: Sequence[Record]) -> tuple[Floats, Floats] | None:
        try:
            p, y = columns(rows, self.part)
        except DataError:
            return None
        few = 1 if self.part == "all" else FEWEST
        return (p, y) if len(p) >= few else None


STATED: dict[str, Any] = {"ece": Fit("ece"), "aurc": Fit("aurc")}
"""Figures of a confidence that was stated in words."""
SCALABLE = STATED | {
    "ece_raw": Fit("ece", "raw"), "ece_scaled": Fit("ece", "scaled"), "brier_raw": Fit("brier", "raw"), "brier_scaled": Fit("brier", "scaled"),
}  # fmt: skip
"""Figures of a confidence that comes from log-probabilities, so that a temperature can be fitted."""


def curves(rows: Sequence[Record]) -> dict[str, Any]:
    """What the pictures show: bins of confidence, the risk at each coverage, the parts of the Brier score, and the
    temperature with the bins after it, where one fits."""
    p, y = columns(rows)
    if not len(p):
        return {}
    parts, curve = cal.brier(p.tolist(), y.tolist()), cal.abstention(p.tolist(), y.tolist())
    found: dict[str, Any] = {
        "reliability": _bins(p, y),
        "coverage": [asdict(one) for one in curve.curve], "blind": curve.blind, "best": curve.best,
        "brier": {name: getattr(parts, name) for name in ("reliability", "resolution", "uncertainty", "within")},
    }  # fmt: skip
    if all("nats" in row for row in having(rows)):
        try:
            found |= {"temperature": fitted(rows), "raw": _bins(*columns(rows, "raw")), "scaled": _bins(*columns(rows, "scaled"))}
        except DataError as error:
            found["no_temperature"] = str(error).splitlines()[0]
    return found


def _bins(p: Floats, y: Floats) -> list[dict[str, float]]:
    return [
        {"p": one.confidence, "y": one.share, "low": one.low, "high": one.high, "n": one.n}
        for one in cal.reliability(p.tolist(), y.tolist())
    ]


WORDS = (
    ("almost certainly not", 0.07), ("very unlikely", 0.07), ("highly unlikely", 0.07), ("unlikely", 0.3), ("probably not", 0.3),
    ("about even", 0.5), ("fifty-fifty", 0.5), ("not sure", 0.5), ("unsure", 0.5), ("almost certain", 0.93), ("very likely", 0.93),
    ("highly likely", 0.93), ("very sure", 0.93), ("very confident", 0.93), ("certain", 1.0), ("likely", 0.75), ("probably", 0.75),
    ("probable", 0.75),
)  # fmt: skip
"""Words of estimative probability (Kent 1964) and a few that he lacks; the first that stands there counts."""
NUMBER = r"(\d{1,3}(?:[.,]\d+)?)"
STATES: tuple[tuple[str, Callable[[re.Match[str]], float]], ...] = (
    (rf"{NUMBER}\s*(?:%|per ?cent)", lambda m: _float(m) / 100),
    (rf"{NUMBER}\s*(?:/|out of)\s*(100|10)\b", lambda m: _float(m) / float(m[2])),
    (r"\b(0?\.\d+|1\.0+)\b", lambda m: _float(m)),
    (rf"^\W*{NUMBER}\b", lambda m: _float(m) / 100),
)


def stated(text: str) -> float | None:
    """The confidence that a reply states, from 0 to 1: behind the word confidence if it is there, as per cent, as a share,
    out of 10 or 100, or in words. None where there is none, or one that cannot be."""
    _, named, behind = text.lower().rpartition("confiden")
    behind = re.sub(r"^\w*", "", behind) if named else text.lower()
    for pattern, value in STATES:
        hit = re.search(pattern, behind)
        if hit and (named or not pattern.startswith("^")):
            found = value(hit)
            return found if 0 <= found <= 1 else None
    return next((value for word, value in WORDS if word in behind), None)


def _float(hit: re.Match[str]) -> float:
    return float(hit[1].replace(",", "."))


def chosen(text: str, letters: str, choices: Sequence[str]) -> int | None:
    """The option that a reply chooses: a letter behind `answer`, a letter that begins a line, or the only option that is
    quoted. None where that cannot be told."""
    for pattern in (rf"answer\W+(?:is\W+)?\(?([{letters}])\b", rf"(?m)^\W*([{letters}])(?:[.):]|\s*$)"):
        if hit := re.search(pattern, text, re.IGNORECASE):
            return letters.index(hit[1].upper())
    quoted = [i for i, one in enumerate(choices) if re.search(rf"(?<!\w){re.escape(one.lower())}(?!\w)", text.lower())]
    return quoted[0] if len(quoted) == 1 else None
