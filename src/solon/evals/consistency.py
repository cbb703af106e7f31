"""Does a model answer alike what is alike: paraphrases of one request, seeds, options in another order?

`overlap.agreement` compares free replies; here are answers that are equal or not, such as picks and kinds.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations

from solon.core.errors import DataError
from solon.evals.statistics import Figure, mean


def same(answers: Sequence[Hashable]) -> float:
    """The share of pairs of answers that are equal: the chance that asking once more changes nothing."""
    if len(answers) < 2:
        raise DataError("consistency needs at least two answers to the same question", got=len(answers))
    pairs = list(combinations(answers, 2))
    return sum(one == other for one, other in pairs) / len(pairs)


def across_orders(orders: Sequence[Sequence[Hashable]], picked: Sequence[int]) -> float:
    """Consistency of one multiple-choice question over orders of its options: the share of pairs of orders in which the
    same option was picked, wherever it stood.

    `orders` gives the options as they were shown, `picked` the place of the choice in each, from 0."""
    if len(orders) != len(picked) or any(sorted(map(str, one)) != sorted(map(str, orders[0])) for one in orders):
        got = f"{len(orders)} orders, {len(picked)} picks"
        raise DataError("the orders must show the same options, with one pick for each", got=got)
    if not all(0 <= place < len(one) for one, place in zip(orders, picked, strict=True)):
        raise DataError("a pick points at no option", got=list(picked), expected=f"0 to {len(orders[0]) - 1}")
    return same([one[place] for one, place in zip(orders, picked, strict=True)])


def consistency(groups: Mapping[Hashable, Sequence[Hashable]], name: str = "consistency") -> Figure:
    """Mean consistency over questions, each with its answers, with the interval over questions."""
    return mean([same(answers) for answers in groups.values()], name=name)
