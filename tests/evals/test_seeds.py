"""Rewards over seeds against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from solon.core.errors import DataError
from solon.core.keys import rng
from solon.evals.seeds import over_seeds


def line(slope, start=0.0, rounds=100):
    return [start + slope * i for i in range(rounds)]


def test_straight_lines_by_hand():
    """Tenths of a line of slope s over 100 rounds have means 4.5 s and 94.5 s; its tenth ending at round r has (r - 5.5) s."""
    found = over_seeds({"1": line(0.01), "2": line(0.02), "3": line(0.03)})
    assert found.first.value == pytest.approx(0.09) and found.final.value == pytest.approx(1.89)
    assert found.improvement.value == pytest.approx(1.8) and found.improvement.n == 3
    assert found.converged == dict.fromkeys("123", 96), "4.5 + .95 * 90 = 90 is first reached where r - 5.5 >= 90"
    assert found.worst == ("1", pytest.approx(0.945)) and found.deviation == pytest.approx(np.std([0.945, 1.89, 2.835], ddof=1))
    assert len(found.curve) == 100 and found.curve[50].value == pytest.approx(1.0)
    assert "rises" not in found.plain and "3 seeds are few" in found.plain


def test_intervals_are_students():
    draws = rng("seeds test").normal(size=(6, 20))
    found = over_seeds({str(i): row for i, row in enumerate(draws)})
    low, high = stats.t.interval(0.95, 5, draws[:, -2:].mean(1).mean(), stats.sem(draws[:, -2:].mean(1)))
    assert (found.final.low, found.final.high) == pytest.approx((low, high))


def test_early_and_never():
    step = [0.0] * 20 + [1.0] * 80
    found = over_seeds({"a": step, "b": step, "c": [0.5] * 100, "d": line(-0.01), "e": step})
    assert found.converged == {"a": 30, "b": 30, "c": None, "d": None, "e": 30}
    assert found.worst[0] == "d" and "few" not in found.plain
    assert over_seeds({str(i): line(0.01 + i / 1e4) for i in range(5)}).plain.startswith("the reward rises")


@pytest.mark.parametrize(
    ("curves", "match"),
    [({"1": [1.0]}, "no spread"), ({"1": [1.0], "2": [1.0, 2.0]}, "different numbers"), ({"1": [], "2": []}, "different numbers"),
     ({"1": [1.0], "2": [float("nan")]}, "not a number")],
)  # fmt: skip
def test_mistakes(curves, match):
    with pytest.raises(DataError, match=match):
        over_seeds(curves)
