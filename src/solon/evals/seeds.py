"""Training by reward, over several seeds: does the average reward rise, how fast, and does it hang on the seed?

One training says little, since two seeds may differ by more than two methods do (Henderson et al. 2018; Agarwal et al. 2021).
Intervals are Student's over seeds, which are few.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from solon.core.errors import DataError
from solon.evals.statistics import Figure

ENOUGH = 5  # seeds below which `plain` says that they are few
REACHED = 0.95


@dataclass(frozen=True)
class Seeds:
    """What several seeds of one training come to.

    `curve` is the mean reward of each round over seeds. `first` and `final` are over the first and the last tenth of rounds.
    `improvement` is (final - first) per 100 rounds. `converged` is by seed the first round after which the running mean over a
    tenth of the rounds has made 95 % of the way from first to final, None where the reward did not rise. `deviation` is the
    standard deviation of the seeds' final rewards, `worst` the seed with the lowest."""

    curve: tuple[Figure, ...]
    first: Figure
    final: Figure
    improvement: Figure
    converged: dict[str, int | None]
    deviation: float
    worst: tuple[str, float]
    plain: str


def over_seeds(curves: Mapping[str, Sequence[float]]) -> Seeds:
    """From the mean reward of each round by seed. Raises `DataError` for fewer than two seeds, or rounds that do not match."""
    lengths = {len(one) for one in curves.values()}
    if len(curves) < 2:
        raise DataError("one seed has no spread", got=f"{len(curves)} seeds", expected=f"two at least, better {ENOUGH}")
    if len(lengths) != 1 or lengths == {0}:
        raise DataError("the seeds have different numbers of rounds", got=sorted(lengths), fix="train all of them to the end by one recipe")
    rewards = np.array(list(curves.values()), np.float64)  # [seeds, rounds]
    if not np.isfinite(rewards).all():
        raise DataError("a reward is not a number", fix="look at the reward function")
    tenth = max(rewards.shape[1] // 10, 1)
    first, final = rewards[:, :tenth].mean(1), rewards[:, -tenth:].mean(1)
    rise = 100 * (final - first) / rewards.shape[1]
    made = _over(rise, "rise of the mean reward from the first to the last tenth of rounds, per 100 rounds")
    worst = int(np.argmin(final))
    names = list(curves)
    return Seeds(
        tuple(_over(column, "mean reward of a round") for column in rewards.T), _over(first, "mean reward, first tenth of rounds"),
        _over(final, "mean reward, last tenth of rounds"), made,
        {name: _converged(row, a, b, tenth) for name, row, a, b in zip(names, rewards, first, final, strict=True)},
        float(final.std(ddof=1)), (names[worst], float(final[worst])), _plain(made),
    )  # fmt: skip


def _over(values: np.ndarray, what: str) -> Figure:
    from scipy.stats import t

    n, value = len(values), float(values.mean())
    half = float(t.ppf(0.975, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    return Figure(value, value - half, value + half, n, f"{what}; Student's t over {n} seeds, 95 %")


def _converged(row: np.ndarray, first: float, final: float, tenth: int) -> int | None:
    """The round, counted from 1; the last tenth's mean is the final reward, so a rise always gets there."""
    if final <= first:
        return None
    means = np.convolve(row, np.ones(tenth) / tenth, "valid")  # means[i] is over the rounds i + 1 to i + tenth
    return int(np.argmax(means >= first + REACHED * (final - first) - 1e-12)) + tenth


def _plain(rise: Figure) -> str:
    few = "" if rise.n >= ENOUGH else f"; {rise.n} seeds are few, take {ENOUGH}"
    told = f"{rise.value:+.3g} per 100 rounds (95 % CI {rise.low:+.3g} to {rise.high:+.3g} over {rise.n} seeds)"
    if rise.low > 0 or rise.high < 0:
        return f"the reward {'rises' if rise.value > 0 else 'falls'}: {told}{few}"
    return f"no detectable change of the reward: {told}{few}"
