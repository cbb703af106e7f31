"""Whether a judge may be trusted with training labels: measured on held-out pairs that people have labelled.

Half of the pairs are shown with the better reply first, chosen by name, so a judge that goes by position scores one half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from solon.constitution.judging import Judge, Labelled, Opinion, Progress, prompt_key
from solon.core.errors import DataError
from solon.core.intervals import calibration, wilson
from solon.core.keys import seed_of

BAR = 0.75
BINS = 10


@dataclass(frozen=True)
class Share:
    """A share with its 95 % Wilson interval and the number of items."""

    value: float
    ci: tuple[float, float]
    n: int


@dataclass(frozen=True)
class PositionBias:
    """How much the order of showing matters: `mean_gap` of P(first) between the orders (0 at best), the share of pairs
    whose winner `flips` with the order, and `prefers_a`, the mean probability of the reply shown as (A) (0.5 at best)."""

    mean_gap: float | None
    flips: float | None
    prefers_a: float | None
    n: int


@dataclass(frozen=True)
class LengthBias:
    """How much length matters: the correlation of P(first) with the log of the length ratio, the same for the labels
    (a judge without bias comes near it), and accuracy where the better reply is the shorter and where it is the longer."""

    correlation: float | None
    correlation_of_labels: float | None
    better_is_shorter: Share | None
    better_is_longer: Share | None
    n: int


@dataclass(frozen=True)
class Certificate:
    """How good a judge is, and whether that is good enough. Abstentions and ties count as wrong in every accuracy."""

    judge: str
    accepted: bool
    bar: float
    rule: str
    n: int
    accuracy: Share
    ece: float | None
    brier: float | None
    position_bias: PositionBias
    length_bias: LengthBias
    abstention: float
    ties: int
    reliability: tuple[dict[str, float], ...]
    by_kind: dict[str, Share]
    note: str

    def as_json(self) -> dict[str, Any]:
        """The form in which the evidence keeps it."""
        return {**asdict(self), "reliability": list(self.reliability)}


def certify(
    judge: Judge,
    labelled: Sequence[Labelled],
    bar: float = BAR,
    rule: Literal["value", "lower"] = "value",
    name: str = "certificate",
    progress: Progress | None = None,
) -> Certificate:
    """Measure a judge on labelled pairs that it has not learned from; raises `DataError` if it has.

    Under the rule "value" the accuracy must reach the bar and its interval lie above one half; under "lower" the
    interval's lower end must reach the bar.
    """
    _refuse(judge, labelled)
    better_first = shown_order(labelled, name)
    questions = [one.question(first) for one, first in zip(labelled, better_first, strict=True)]
    opinions = judge.prefer(questions, progress)
    if len(opinions) != len(labelled):
        raise DataError(f"the judge {judge.name!r} left questions out", got=len(opinions), expected=len(labelled))
    right = [_right(opinion, first) for opinion, first in zip(opinions, better_first, strict=True)]
    accuracy = _share(right)
    told = [(o.p_first, float(first)) for o, first in zip(opinions, better_first, strict=True) if o.p_first is not None]
    measured = calibration([p for p, _ in told], [y for _, y in told], BINS) if told else None
    low = accuracy.ci[0]
    return Certificate(
        judge=judge.name,
        accepted=low >= bar if rule == "lower" else accuracy.value >= bar and low > 0.5,
        bar=bar,
        rule=rule,
        n=len(labelled),
        accuracy=accuracy,
        ece=measured.ece if measured else None,
        brier=measured.brier if measured else None,
        position_bias=position_bias(opinions),
        length_bias=length_bias(labelled, better_first, opinions, right),
        abstention=1 - len(told) / len(labelled),
        ties=sum(p == 0.5 for p, _ in told),
        reliability=tuple(asdict(one) for one in measured.bins) if measured else (),
        by_kind=_by_kind(labelled, right),
        note=_note(opinions, accuracy, bar, rule),
    )


def _refuse(judge: Judge, labelled: Sequence[Labelled]) -> None:
    """A certificate on what the judge has learned from, or on a pair counted twice, would be worth nothing."""
    if not labelled:
        raise DataError("no labelled pairs to certify a judge with", fix="keep some labelled pairs apart")
    if len({one.id for one in labelled}) < len(labelled):
        raise DataError("two labelled pairs have the same id", fix="give every pair an id of its own")
    seen = sum(prompt_key(one.prompt) in judge.fitted_on for one in labelled)
    if seen:
        raise DataError(
            f"the judge {judge.name!r} was fitted on prompts of its own certificate",
            got=f"{seen} of {len(labelled)} pairs",
            fix="split the labelled pairs by prompt",
        )


def shown_order(labelled: Sequence[Labelled], name: str) -> list[bool]:
    """For each pair, whether the better reply is shown first: for one half of each kind, chosen by the pairs' names."""
    better_first = [False] * len(labelled)
    for kind in sorted({one.kind for one in labelled}):
        members = [i for i, one in enumerate(labelled) if one.kind == kind]
        members.sort(key=lambda i: seed_of(name, labelled[i].id))
        # Which half is the larger one where the number is odd is left to the name, too.
        start = seed_of(name, kind) % 2
        for i in members[start::2]:
            better_first[i] = True
    return better_first


def position_bias(opinions: Sequence[Opinion]) -> PositionBias:
    """From the opinions that have both orders."""
    both = [(o.p_forward, 1 - o.p_backward) for o in opinions if o.p_forward is not None and o.p_backward is not None]
    if not both:
        return PositionBias(None, None, None, 0)
    forward, backward = np.array(both).T
    flips = (forward - 0.5) * (backward - 0.5) < 0
    prefers_a = (forward.mean() + (1 - backward).mean()) / 2
    return PositionBias(float(np.abs(forward - backward).mean()), float(flips.mean()), float(prefers_a), len(both))


def length_bias(
    labelled: Sequence[Labelled],
    better_first: Sequence[bool],
    opinions: Sequence[Opinion],
    right: Sequence[bool],
) -> LengthBias:
    """Length in characters, of replies without the space around them."""
    ratio = [math.log(max(len(one.better.strip()), 1) / max(len(one.worse.strip()), 1)) for one in labelled]
    shown = [r if first else -r for r, first in zip(ratio, better_first, strict=True)]
    told = [
        (o.p_first, s, float(f)) for o, s, f in zip(opinions, shown, better_first, strict=True) if o.p_first is not None
    ]
    p, log_ratio, label = np.array(told).T if told else np.zeros((3, 0))
    return LengthBias(
        _correlation(p, log_ratio),
        _correlation(label, log_ratio),
        _share([ok for ok, r in zip(right, ratio, strict=True) if r < 0]),
        _share([ok for ok, r in zip(right, ratio, strict=True) if r > 0]),
        len(told),
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Pearson's r; None where one side does not vary."""
    if len(a) < 3 or np.ptp(a) < 1e-12 or np.ptp(b) < 1e-12:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _right(opinion: Opinion, better_first: bool) -> bool:
    if opinion.p_first is None or opinion.p_first == 0.5:
        return False
    return (opinion.p_first > 0.5) == better_first


def _share(right: Sequence[bool]) -> Any:
    """The share of right ones, or None of none at all."""
    return Share(sum(right) / len(right), wilson(sum(right), len(right)), len(right)) if right else None


def _by_kind(labelled: Sequence[Labelled], right: Sequence[bool]) -> dict[str, Share]:
    kinds = sorted({one.kind for one in labelled})
    return {kind: _share([ok for ok, one in zip(right, labelled, strict=True) if one.kind == kind]) for kind in kinds}


def _note(opinions: Sequence[Opinion], accuracy: Share, bar: float, rule: str) -> str:
    """The decision in a sentence, and the commonest reason of abstaining."""
    low, high = accuracy.ci
    said = f"right on {100 * accuracy.value:.1f} % of {accuracy.n} held-out pairs (95 % CI {100 * low:.1f} to {100 * high:.1f})"
    said += f"; the bar is {100 * bar:.1f} % for the " + ("lower end" if rule == "lower" else "value")
    reasons = [o.note or "no reason given" for o in opinions if o.p_first is None]
    if reasons:
        common = max(sorted(set(reasons)), key=reasons.count)
        said += f"; {len(reasons)} abstentions, counted as wrong, mostly: {common}"
    return said
