"""Which of two models is preferred, from judgements of the same prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from solon.evals.statistics import words
from solon.evals.statistics.figures import Comparison, Figure, column, only
from solon.evals.statistics.paired import discordant_test, score_interval
from solon.evals.statistics.power import detectable


def settle(first_order: float, second_order: float) -> float:
    """One outcome from two probabilities that b wins, judged in both orders: 1 b, 0 a, 0.5 when the orders disagree."""
    votes = (np.sign(first_order - 0.5), np.sign(second_order - 0.5))
    return 0.5 if votes[0] != votes[1] else float(votes[0] + 1) / 2


def win_rate(outcomes: Sequence[float]) -> Figure:
    """The share of wins with ties as half; Tango's score interval, in which ties are concordant pairs."""
    wins, losses, n = _outcomes(outcomes)
    low, high = score_interval(wins, losses, n)
    how = f"win rate, Tango 95 % ({wins} won, {losses} lost, {n - wins - losses} tied)"
    return Figure(0.5 + (wins - losses) / (2 * n), 0.5 + low / 2, 0.5 + high / 2, n, how)


def win_comparison(outcomes: Sequence[float]) -> Comparison:
    """The win rate against 0.5: `difference` is the excess over one half; the test is the sign test without ties."""
    wins, losses, n = _outcomes(outcomes)
    figure = win_rate(outcomes)
    p, kind = discordant_test(wins, losses)
    smallest = detectable(n, discordant=(wins + losses) / n) / 2
    plain = words.preference(figure.value, figure.low, figure.high, p, smallest)
    effect, *ends = (2 * math.asin(math.sqrt(min(max(share, 0.0), 1.0))) - math.pi / 2 for share in (figure.value, figure.low, figure.high))
    test = f"sign test {kind} ({wins} won, {losses} lost, {n - wins - losses} tied)"
    low, high = figure.low - 0.5, figure.high - 0.5
    return Comparison(figure.value - 0.5, low, high, n, test, p, effect, "Cohen's h against 0.5", smallest, plain, (ends[0], ends[1]))


def _outcomes(outcomes: Sequence[float]) -> tuple[int, int, int]:
    values = only(column("outcomes", outcomes), (0.0, 0.5, 1.0), "outcomes")
    return int((values == 1).sum()), int((values == 0).sum()), len(values)
