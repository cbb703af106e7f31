"""Success rates that say how sure they are: exact intervals, best of k, and the correction for a judge that errs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solon.core.errors import DataError
from solon.core.intervals import clopper_pearson
from solon.core.keys import rng

Floats = NDArray[np.float64]
ENDS = (0.025, 0.975)
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


def best_of(outcomes: Mapping[str, Sequence[bool]], k: int, name: str) -> Rate | None:
    """The mean over prompts of the chance that at least one of k attempts succeeds; `n` is how many prompts it is from.

    Without bias from the n >= k attempts that a prompt had: 1 - C(n - hits, k) / C(n, k) (Chen et al. 2021). Prompts are
    resampled, seeded by `name`. None where no prompt had k attempts."""
    kept = [(len(one), sum(one)) for one in outcomes.values() if len(one) >= k]
    if not kept:
        return None
    chances = np.array([1 - math.comb(n - hits, k) / math.comb(n, k) for n, hits in kept])
    value, prompts = float(chances.mean()), len(chances)
    if np.ptp(chances) == 0:  # nothing to resample
        return Rate(value, *clopper_pearson(value * prompts, prompts), prompts, f"Clopper-Pearson 95 % over {prompts} prompts")
    draw = rng("best of", name, k, prompts)
    often = draw.multinomial(prompts, np.full(prompts, 1 / prompts), size=DRAWS)
    low, high = np.quantile(often @ chances / prompts, ENDS)
    return Rate(value, float(low), float(high), prompts, f"bootstrap 95 % over {prompts} prompts")


def rogan_gladen(raw: float, sensitivity: float, specificity: float) -> float:
    """The true rate behind a raw one (Rogan and Gladen 1978), kept inside [0, 1]. Raises `DataError` if the judge is no
    better than a coin."""
    sharpness = sensitivity + specificity - 1
    if sharpness <= 0:
        fix = "use another judge: this one's answers carry no information"
        raise DataError("the judge cannot be corrected for", got=f"{sensitivity:.3f} and {specificity:.3f}", fix=fix)
    return min(1.0, max(0.0, (raw + specificity - 1) / sharpness))


def clustered(outcomes: Mapping[str, Sequence[bool]]) -> Rate:
    """The share over all attempts. Attempts at one prompt succeed together, so the exact interval is that of as many
    attempts as would say as much if each had a prompt of its own (`effective`). Where each has, it is Clopper and Pearson's."""
    hits, counts = _columns(outcomes)
    n, k = int(counts.sum()), len(counts)
    likely, size = effective(hits, counts)
    low, high = clopper_pearson(likely, size)
    how = "Clopper-Pearson 95 %" if n == k else f"Clopper-Pearson 95 % at {size:.4g} effective attempts ({n} at {k} prompts)"
    return Rate(float(hits.sum() / n), low, high, n, how)


def effective(hits: Floats, counts: Floats) -> tuple[float, float]:
    """Hits and attempts that would say as much as these, of shape `[prompts]`, if each attempt had a prompt of its own.

    The attempts are divided by the design effect, the clustered variance of the share over the binomial one, and again for how
    little few prompts tell of it (Korn and Graubard 1998). Never more than there are. With no hit, or hits only, there
    is no variance to be seen, and each prompt counts as one attempt."""
    n, k = float(counts.sum()), len(counts)
    share = float(hits.sum()) / n
    if n == k:
        return float(hits.sum()), n
    if k == 1 or share in (0, 1):
        return share * k, float(k)
    from scipy.stats import t

    variance = k / (k - 1) * float(((hits - share * counts) ** 2).sum()) / n**2
    few = float(t.ppf(ENDS[1], n - 1) / t.ppf(ENDS[1], k - 1)) ** 2
    size = min(n, share * (1 - share) / variance * few) if variance > 0 else n
    return share * size, size


def corrected(outcomes: Mapping[str, Sequence[bool]], judge: Judge, name: str) -> Rate:
    """The rate behind the judge's errors. The interval holds three uncertainties: which prompts were asked (as `effective`
    attempts), and how well the judge's two rates are known. All are drawn from posteriors under Jeffreys' prior.

    A drawn specificity whose false alarms alone would exceed the raw rate contradicts what was seen. Such draws count as a
    rate of zero for the lower end and not at all for the upper one: a judge that is little known must not make it small."""
    hits, counts = _columns(outcomes)
    raw = float(hits.sum() / counts.sum())
    value = rogan_gladen(raw, judge.sensitivity, judge.specificity)
    draw = rng("judge", name, judge.found, judge.positives, judge.cleared, judge.negatives)
    sensitive = draw.beta(judge.found + 0.5, judge.positives - judge.found + 0.5, DRAWS)
    specific = draw.beta(judge.cleared + 0.5, judge.negatives - judge.cleared + 0.5, DRAWS)
    likely, size = effective(hits, counts)
    sharp, drawn = sensitive + specific - 1, draw.beta(likely + 0.5, size - likely + 0.5, DRAWS)
    known = sharp > 0
    rates = np.clip((drawn + specific - 1)[known] / sharp[known], 0, 1)
    possible = rates[(drawn + specific >= 1)[known]]
    low, high = np.quantile(rates, ENDS[0]), np.quantile(possible if len(possible) else drawn, ENDS[1])
    how = "Rogan-Gladen; 95 % over prompts and over the judge's own error"
    return Rate(value, float(low), float(max(high, value)), int(counts.sum()), how)


def _columns(outcomes: Mapping[str, Sequence[bool]]) -> tuple[Floats, Floats]:
    kept = [one for one in outcomes.values() if one]
    if not kept:
        raise DataError("no attempt was judged", got=0, expected="at least one")
    return np.array([sum(one) for one in kept], float), np.array([len(one) for one in kept], float)
