"""How strong models are, from who beat whom: Bradley and Terry's model with position and style taken out.

A judge that likes what stands first, or what is longer, makes models look better than they are. So the log-odds that the
first reply wins are the difference of the models' strengths, plus a constant for standing first, plus a coefficient for
each difference in style (the logarithm of the length ratio, at least). The strengths are then those at equal position
and equal style (Chiang et al. 2024, arXiv 2403.04132; Dubois et al. 2024, arXiv 2404.04475). A tie is half a win for
each. Resampled are items, not judgements: two orders of one prompt are one piece of evidence.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from solon.core.errors import DataError
from solon.core.keys import rng
from solon.evals.statistics.figures import ALPHA, CHUNK, Figure, Floats

DRAWS = 2_000
STEPS = 50
RIDGE = 1e-3  # of resamples only: one in which a model happens to win everything has no finite strengths


@dataclass(frozen=True)
class Battle:
    """One judgement: `outcome` is 1 if the first reply won, 0 if the second did, 0.5 for a tie (probabilities work too).

    `style` holds differences, first minus second, by name. Judgements of one `item` are resampled together."""

    item: Hashable
    first: str
    second: str
    outcome: float
    style: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Strengths:
    """`models`: log-odds against the average model; `position`: log-odds of standing first; `style`: log-odds for one
    unit of each difference. `draws` are resampled coefficients, [resamples, coefficients], for what follows from them."""

    models: dict[str, Figure]
    position: Figure | None
    style: dict[str, Figure]
    n: int
    value: Floats = field(repr=False)
    draws: Floats = field(repr=False)

    def win_rate(self, a: str, b: str) -> Figure:
        """The probability that b beats a at equal position and style."""
        names = list(self.models)
        for name in (a, b):
            if name not in names:
                raise DataError(f"there are no judgements of {name!r}", expected=", ".join(names))
        i, j = names.index(a), names.index(b)
        chance, draws = _logistic(self.value[j] - self.value[i]), _logistic(self.draws[:, j] - self.draws[:, i])
        low, high = np.quantile(draws, (ALPHA / 2, 1 - ALPHA / 2))
        how = f"win rate at equal position and style, Bradley-Terry, bootstrap 95 % over items, {len(draws):,} resamples"
        return Figure(float(chance), float(low), float(high), self.n, how)


def length_difference(first: str, second: str) -> float:
    """The logarithm of the ratio of two replies' lengths in characters: the usual style difference."""
    return math.log(max(len(first.strip()), 1) / max(len(second.strip()), 1))


def strengths(battles: Sequence[Battle], position: bool = True, name: str = "strengths") -> Strengths:
    """Fit the model by maximum likelihood. Raises `DataError` where the judgements do not determine it: models that were
    never compared, even indirectly, one that never lost, or a style that decides every judgement."""
    models, styles = _checked(battles)
    X, y = _design(battles, models, styles, position)
    _connected(battles, models)
    items: dict[Hashable, int] = {}
    item = np.array([items.setdefault(one.item, len(items)) for one in battles])
    fix = "collect more judgements, in both orders, or leave the position or a style out"
    if np.linalg.matrix_rank(X) < X.shape[1]:
        raise DataError("the judgements do not determine the strengths", got="position or style that never varies alone", fix=fix)
    value = _fit(X, y, np.ones((1, len(y))), 0.0)[0]
    if not np.isfinite(value).all() or np.abs(X @ value).max() > 25:
        raise DataError("the judgements do not determine the strengths", got="coefficients without bound", fix=fix)
    draws = _resampled(X, y, item, len(items), name)
    m = len(models)
    value, draws = _centred(value[None], m)[0], _centred(draws, m)
    figures = [_figure(value[i], draws[:, i], len(items)) for i in range(len(value))]
    return Strengths(
        dict(zip(models, figures[:m], strict=True)),
        figures[m] if position else None,
        dict(zip(styles, figures[m + position :], strict=True)),
        len(items), value, draws,
    )  # fmt: skip


def corrected_win_rate(battles: Sequence[Battle], a: str, b: str, name: str = "win rate") -> Figure:
    """The share of prompts on which b would win against a if both stood in both places and were of equal length."""
    return strengths([one for one in battles if {one.first, one.second} == {a, b}], name=name).win_rate(a, b)


def _checked(battles: Sequence[Battle]) -> tuple[list[str], list[str]]:
    if not battles:
        raise DataError("strengths need judgements", got="none")
    styles = sorted(battles[0].style)
    for one in battles:
        numbers = [one.outcome, *one.style.values()]
        if not all(math.isfinite(x) for x in numbers) or not 0 <= one.outcome <= 1:
            raise DataError(f"the judgement of {one.item!r} holds a missing or odd value", got=numbers, expected="0 to 1")
        if one.first == one.second:
            raise DataError(f"the judgement of {one.item!r} compares a model with itself", got=one.first)
        if sorted(one.style) != styles:
            raise DataError(f"the judgement of {one.item!r} has other styles", got=sorted(one.style), expected=styles)
    return sorted({name for one in battles for name in (one.first, one.second)}), styles


def _design(battles: Sequence[Battle], models: list[str], styles: list[str], position: bool) -> tuple[Floats, Floats]:
    """One row a judgement: +1 and -1 for the models (the first model is the origin), 1 for position, then styles."""
    place = {name: i for i, name in enumerate(models)}
    X = np.zeros((len(battles), len(models) + position + len(styles)))
    for row, one in enumerate(battles):
        X[row, place[one.first]], X[row, place[one.second]] = 1, -1
        X[row, len(models) :] = [*([1.0] if position else []), *(one.style[name] for name in styles)]
    return X[:, 1:], np.array([one.outcome for one in battles], dtype=np.float64)


def _connected(battles: Sequence[Battle], models: list[str]) -> None:
    """Ford's condition (1957): from each model to each other one leads a chain of wins (ties are wins of both)."""
    beats: dict[str, set[str]] = {name: set() for name in models}
    for one in battles:
        if one.outcome > 0:
            beats[one.first].add(one.second)
        if one.outcome < 1:
            beats[one.second].add(one.first)
    for name in models:
        reached, due = {name}, [name]
        while due:
            new = beats[due.pop()] - reached
            reached |= new
            due += new
        if len(reached) < len(models):
            out = sorted(set(models) - reached)[0]
            fix = "collect more judgements; until then only the raw wins can be reported"
            raise DataError(f"no chain of wins leads from {name!r} to {out!r}, so their strengths have no ratio", fix=fix)


def _fit(X: Floats, y: Floats, weights: Floats, ridge: float) -> Floats:
    """Coefficients of weighted logistic regressions on one design, [fits, coefficients]: Newton's steps, all at once."""
    fits, p = len(weights), X.shape[1]
    theta = np.zeros((fits, p))
    squares = (X[:, :, None] * X[:, None, :]).reshape(len(X), p * p)
    for _ in range(STEPS):
        chance = _logistic(theta @ X.T)
        slope = (weights * (y - chance)) @ X - ridge * theta
        bend = ((weights * chance * (1 - chance)) @ squares).reshape(fits, p, p) + (ridge + 1e-12) * np.eye(p)
        step = np.linalg.solve(bend, slope[:, :, None])[:, :, 0]
        theta += np.clip(step, -4, 4)
        if np.abs(step).max() < 1e-9:
            break
    return theta


def _resampled(X: Floats, y: Floats, item: Floats, items: int, name: str) -> Floats:
    generator, parts, size = rng("strengths", name, items), [], max(1, CHUNK // len(y))
    for start in range(0, DRAWS, size):
        often = generator.multinomial(items, np.full(items, 1 / items), size=min(size, DRAWS - start)).astype(np.float64)
        parts.append(_fit(X, y, often[:, item], RIDGE))
    return np.concatenate(parts)


def _centred(theta: Floats, models: int) -> Floats:
    """Strengths against their average, the origin's included; other coefficients as they are."""
    full = np.hstack([np.zeros((len(theta), 1)), theta])
    full[:, :models] -= full[:, :models].mean(axis=1, keepdims=True)
    return full


def _figure(value: float, draws: Floats, n: int) -> Figure:
    low, high = np.quantile(draws, (ALPHA / 2, 1 - ALPHA / 2))
    return Figure(float(value), float(low), float(high), n, f"log-odds, bootstrap 95 % over items, {DRAWS:,} resamples")


def _logistic(x: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(x / 2))
