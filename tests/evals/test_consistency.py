"""Consistency: shares of pairs by hand."""

import pytest

from solon.core.errors import DataError
from solon.evals.consistency import across_orders, consistency, same


def test_shares_of_pairs():
    assert same(["a", "a"]) == 1 and same(["a", "b"]) == 0
    assert same(["a", "a", "b"]) == pytest.approx(1 / 3) and same([1, 1, 1, 2]) == pytest.approx(3 / 6)


def test_the_option_counts_and_not_its_place():
    orders = [["red", "green", "blue"], ["blue", "red", "green"], ["green", "blue", "red"]]
    assert across_orders(orders, [1, 2, 0]) == 1, "always green"
    assert across_orders(orders, [0, 0, 0]) == 0, "always the first place"
    assert across_orders(orders, [1, 2, 1]) == pytest.approx(1 / 3)


def test_over_questions():
    found = consistency({1: "aa", 2: "ab", 3: "bbb", 4: "aab"})
    assert found.value == pytest.approx((1 + 0 + 1 + 1 / 3) / 4) and found.n == 4 and found.low < found.value < found.high


@pytest.mark.parametrize(
    "bad",
    [
        lambda: same(["alone"]),
        lambda: across_orders([["a", "b"], ["a", "c"]], [0, 0]),
        lambda: across_orders([["a", "b"], ["b", "a"]], [0]),
        lambda: across_orders([["a", "b"], ["b", "a"]], [0, 2]),
        lambda: consistency({}),
    ],
)
def test_refused(bad):
    with pytest.raises(DataError):
        bad()
