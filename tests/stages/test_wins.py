"""Win rates at equal length: what length alone wins is taken out, and what quality wins stays."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.api import GLM, families

from solon.stages.wins import at_equal_length


def judged(n, liking, quality, seed=0):
    """`n` prompts whose winner is drawn: the longer reply by `liking` for each doubling, the model by `quality`."""
    rng = np.random.default_rng(seed)
    theirs = {f"p{i}": "x" * int(40 * 2 ** rng.normal(1, 1)) for i in range(n)}
    base = {f"p{i}": "x" * int(40 * 2 ** rng.normal(0, 1)) for i in range(n)}
    ratio = np.array([np.log(len(theirs[i]) / len(base[i])) for i in theirs])
    chance = 1 / (1 + np.exp(-(quality + liking * ratio / np.log(2))))
    wins = [{"id": i, "aligned": float(rng.random() < p)} for i, p in zip(theirs, chance, strict=True)]
    return wins, theirs, base, ratio


def test_the_rate_is_that_of_a_logistic_regression_at_equal_length():
    wins, theirs, base, ratio = judged(300, 0.8, 0.4)
    fit = GLM([one["aligned"] for one in wins], np.column_stack([np.ones(300), ratio]), family=families.Binomial()).fit()
    found = at_equal_length(wins, "aligned", theirs, base)
    assert found["value"] == pytest.approx(1 / (1 + np.exp(-fit.params[0])), abs=1e-6) and found["n"] == 300
    low, high = (1 / (1 + np.exp(-end)) for end in fit.conf_int()[0])
    assert found["ci"] == pytest.approx([low, high], abs=0.03)


def test_wins_by_length_alone_are_no_wins():
    wins, theirs, base, _ = judged(600, 1.2, 0.0, seed=1)
    found = at_equal_length(wins, "aligned", theirs, base)
    assert np.mean([one["aligned"] for one in wins]) > 0.65 and found["ci"][0] < 0.5 < found["ci"][1] < 0.6


def test_empty_replies_lose_at_any_length():
    """They were not judged, so no liking for length explains them away."""
    wins, theirs, base, _ = judged(300, 1.2, 0.0, seed=1)
    full = at_equal_length(wins, "aligned", theirs, base)
    empty = {f"e{n}": "" for n in range(300)}
    found = at_equal_length([*wins, *({"id": id, "aligned": 0.0} for id in empty)], "aligned", theirs | empty, base | dict.fromkeys(empty, "x" * 80))
    assert found["n"] == 600 and found["value"] < full["value"] - 0.1


def test_nothing_is_said_where_the_judgements_determine_nothing():
    wins, theirs, base, _ = judged(30, 0.0, 0.0)
    assert at_equal_length([one | {"aligned": 1.0} for one in wins], "aligned", theirs, base) is None
    assert at_equal_length([], "aligned", theirs, base) is None
    assert at_equal_length(wins, "aligned", theirs, theirs) is None, "equal lengths leave nothing to correct"
