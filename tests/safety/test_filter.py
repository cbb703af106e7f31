"""The filter and the evaluator say what the classifier says, and a constitution's verdicts only add to it."""

from __future__ import annotations

import pytest

from solon.core.errors import ConfigError, DataError
from solon.core.records import Verdict
from solon.safety import filter as safety_filter
from solon.safety.classifier import Score
from solon.safety.filter import SafetyEvaluator, SafetyFilter

HARM = {"calm": 0.1, "rude": 0.4, "grim": 0.9}


@pytest.fixture(autouse=True)
def scores(monkeypatch):
    """Known scores in place of the encoder's, flagged from one half on."""
    monkeypatch.setattr(safety_filter, "score", lambda items, head: [Score({}, HARM[i], 3 * HARM[i], HARM[i] >= 0.5, False, head) for i in items])


def breaks(*names):
    return lambda items: [Verdict(float(item in names), "breach" if item in names else "keeps") for item in items]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [({}, ["calm", "rude"]), ({"threshold": 0.3}, ["calm"]), ({"threshold": 1.0}, ["calm", "rude", "grim"]),
     ({"hook": breaks()}, ["calm", "rude"]), ({"hook": breaks("calm")}, ["rude"]), ({"hook": breaks("grim")}, ["calm", "rude"])],
)  # fmt: skip
def test_what_passes(settings, kept):
    assert SafetyFilter(**settings).keep(list(HARM)) == kept


def test_the_hook_adds_verdicts_and_changes_no_score():
    plain, judged = SafetyFilter().check(list(HARM)), SafetyFilter(hook=breaks("calm")).check(list(HARM))
    assert [one.score for one in plain] == [one.score for one in judged] and {one.verdict for one in plain} == {None}
    assert [one.verdict.label for one in judged] == ["breach", "keeps", "keeps"]


def test_figures_are_counts_with_exact_intervals():
    items = ["grim"] * 2 + ["calm"] * 8
    found = SafetyEvaluator().evaluate(items)
    assert set(found) == {"n", "card", "flagged", "harm", "severity"} and found["harm"] == pytest.approx(0.26)
    flagged = found["flagged"]
    assert (flagged.value, flagged.n) == (0.2, 10) and (flagged.low, flagged.high) == pytest.approx((0.02521, 0.55610), abs=1e-4)  # Clopper and Pearson's table
    both = SafetyEvaluator(hook=breaks("calm")).evaluate(items)
    assert (both["flagged"].value, both["breaches"].value, both["stopped"].value) == (0.2, 0.8, 1.0)


def test_mistakes():
    for threshold in (0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="probability of harm"):
            SafetyFilter(threshold=threshold)
    with pytest.raises(DataError, match="another number of verdicts"):
        SafetyFilter(hook=lambda items: []).check(["calm"])
    with pytest.raises(DataError, match="nothing to evaluate"):
        SafetyEvaluator().evaluate([])
