"""Success rates that say how sure they are: exact intervals, best of k, and the correction for a judge that errs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from solon.core.errors import DataError
from solon.core.intervals import clopper_pearson
from solon.core.keys import rng

LEVEL = 0.95
DRAWS = 10_000


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval; `how` says how the interval was got."""

    value: float
    low: float
    high: float
    n: int
    how: str


@dataclass(frozen=True)
class Judge:
    """A judge against human labels: of `positives` real successes it found `found`, and of `negatives` real failures it
    called `cleared` so. `source` says on what."""

    found: int
    positives: int
    cleared: int
    negatives: int
    source: str

    @property
    def sensitivity(self) -> float:
        return self.found / self.positives

    @property
    def specificity(self) -> float:
        return self.cleared / self.negatives


def share(hits: int, n: int) -> Rate:
    low, high = clopper_pearson(hits, n)
    return Rate(hits / n, low, high, n, "Clopper-Pearson 95 %")


def best_of(outcomes: Mapping[str, Sequence[bool]], k: int) -> tuple[float, int] | None:
    """The mean over prompts of the chance that at least one of k attempts succeeds, and how many prompts it is from.

    Without bias from the n >= k attempts that a prompt had: 1 - C(n - hits, k) / C(n, k) (Chen et al. 2021). None where no
    prompt had k attempts."""
    chances = []
    for one in outcomes.values():
        n, hits = len(one), sum(one)
        if n >= k:
            chances.append(1 - math.comb(n - hits, k) / math.comb(n, k))
    return (float(np.mean(chances)), len(chances)) if chances else None


def rogan_gladen(raw: float, sensitivity: float, specificity: float) -> float:
    """The true rate behind a raw one (Rogan and Gladen 1978), kept inside [0, 1]. Raises `DataError` if the judge is no
    better than a coin."""
    sharpness = sensitivity + specificity - 1
    if sharpness <= 0:
        fix = "use another judge: this one's answers carry no information"
        raise DataError("the judge cannot be corrected for", got=f"{sensitivity:.3f} and {specificity:.3f}", fix=fix)
    return min(1.0, max(0.0, (raw + specificity - 1) / sharpness))


def clustered(outcomes: Mapping[str, Sequence[bool]], name: str) -> Rate:
    """The share over all attempts. Whole prompts are resampled, since attempts at one prompt succeed together."""
    hits, counts = _columns(outcomes)
    low, high = np.quantile(_raw_draws(hits, counts, name), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    n = int(counts.sum())
    if hits.sum() in (0, n):
        # Nothing to resample; prompts, not attempts, are what is independent.
        low, high = clopper_pearson(*((0, len(hits)) if hits.sum() == 0 else (len(hits), len(hits))))
        how = f"Clopper-Pearson 95 % over {len(hits)} prompts"
    else:
        how = f"bootstrap 95 % over {len(hits)} prompts"
    return Rate(float(hits.sum() / n), float(low), float(high), n, how)


def corrected(outcomes: Mapping[str, Sequence[bool]], judge: Judge, name: str) -> Rate:
    """The rate behind the judge's errors. The interval holds three uncertainties: which prompts were asked, and how well
    the judge's two rates are known (drawn from their posteriors under Jeffreys' prior).

    A drawn specificity whose false alarms alone would exceed the raw rate contradicts what was seen. Such draws count as a
    rate of zero for the lower end and not at all for the upper one: a judge that is little known must not make it small."""
    hits, counts = _columns(outcomes)
    raw = float(hits.sum() / counts.sum())
    value = rogan_gladen(raw, judge.sensitivity, judge.specificity)
    draw = rng("judge", name, judge.found, judge.positives, judge.cleared, judge.negatives)
    sensitive = draw.beta(judge.found + 0.5, judge.positives - judge.found + 0.5, DRAWS)
    specific = draw.beta(judge.cleared + 0.5, judge.negatives - judge.cleared + 0.5, DRAWS)
    sharp, drawn = sensitive + specific - 1, _raw_draws(hits, counts, name)
    known = sharp > 0
    rates = np.clip((drawn + specific - 1)[known] / sharp[known], 0, 1)
    possible = rates[(drawn + specific >= 1)[known]]
    low, high = np.quantile(rates, (1 - LEVEL) / 2), np.quantile(possible if len(possible) else drawn, (1 + LEVEL) / 2)
    how = "Rogan-Gladen; 95 % over prompts and over the judge's own error"
    return Rate(value, float(low), float(max(high, value)), int(counts.sum()), how)


def _columns(outcomes: Mapping[str, Sequence[bool]]) -> tuple[np.ndarray, np.ndarray]:
    kept = [one for one in outcomes.values() if one]
    if not kept:
        raise DataError("no attempt was judged", got=0, expected="at least one")
    return np.array([sum(one) for one in kept], float), np.array([len(one) for one in kept], float)


def _raw_draws(hits: np.ndarray, counts: np.ndarray, name: str) -> np.ndarray:
    """Raw shares of resampled prompts; with no hit (or only hits) the exact posterior over prompts stands in."""
    draw, k = rng("prompts", name, len(hits)), len(hits)
    if hits.sum() in (0, counts.sum()):
        some = draw.beta(0.5, k + 0.5, DRAWS)
        return some if hits.sum() == 0 else 1 - some
    out, rows = [], max(1, 2_000_000 // k)
    for start in range(0, DRAWS, rows):
        pick = draw.integers(0, k, size=(min(rows, DRAWS - start), k))
        out.append(hits[pick].sum(1) / counts[pick].sum(1))
    return np.concatenate(out)
