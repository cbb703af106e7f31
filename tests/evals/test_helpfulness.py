"""The helpfulness score: what its features see, that it is fitted as scikit-learn would, and that it beats length."""

import numpy as np
import pytest

from solon.core.errors import DataError
from solon.core.keys import rng
from solon.curate import starter
from solon.evals import helpfulness as h


def test_features_see_what_they_say():
    steps = h.features("How do I cook rice?", "1. Rinse one cup of rice.\n2. Boil it in two cups of water.\n3. Let it rest.")
    vague = h.features("How do I cook rice?", "Rice is a really great thing and there are many various ways, it depends.")
    assert steps["steps_asked_and_given"] == 1 and vague["steps_asked_and_given"] == -1
    assert vague["vague"] > steps["vague"] and vague["hedges"] > 0 == steps["hedges"]
    assert steps["coverage"] == pytest.approx(0.5), "of cook and rice it speaks of rice"
    no = h.features("How do I kill a process?", "I'm sorry, but I can't help with that.")
    assert no["refuses"] == 1 and no["coverage"] == 0
    assert h.features("What is 7 x 8?", "56.")["number_asked_and_given"] == 1 and h.features("What is 7 x 8?", "Many.")["number_asked_and_given"] == -1
    again = h.features("Tell me a story.", "The dog ran home. " * 8)
    assert again["repeats"] > 1 > h.features("Tell me a story.", "The dog ran home and slept until noon.")["repeats"]
    assert h.features("Is it safe?", "Cut off in the mid")["whole"] == 0 and h.features("Is it safe?", "Yes.")["whole"] == 1
    assert set(steps) == set(h.NAMES)


@pytest.mark.parametrize("reply", ["", "   ", "???", "日本語の返事です", "a" * 5000])
def test_odd_replies_have_a_score(reply):
    value = h.score("Why is the sky blue?", reply)
    assert 0 <= value < 1 and all(np.isfinite(x) for x in h.features("", reply).values())


def test_a_reply_without_words_is_of_no_help():
    assert h.score("How do I cook rice?", " ") == h.score("How do I cook rice?", "the rice the rice " * 30) == 0
    assert h.score("How do I cook rice?", "No.") > 0


def test_the_fit_is_sklearns_logistic_regression():
    """Each difference once as a win and once, negated, as a loss, without an intercept: the same optimum."""
    from sklearn.linear_model import LogisticRegression

    pairs = [(one.prompt[-1].content, one.chosen, one.rejected) for one in starter.load("labelled_pairs", "train")][:60]
    found = h.fit(pairs, penalty=2.0)
    gaps = np.array([
        [(h.features(p, a)[name] - h.features(p, b)[name]) / found.spread[name] for name in h.NAMES] for p, a, b in pairs
    ])  # fmt: skip
    theirs = LogisticRegression(C=0.25, fit_intercept=False, tol=1e-10, max_iter=5000)
    theirs.fit(np.vstack([gaps, -gaps]), [1] * len(gaps) + [0] * len(gaps))  # penalty 2 on n rows: 1 / (2 C) on 2 n
    assert [found.weight[name] for name in h.NAMES] == pytest.approx(theirs.coef_[0], abs=1e-3)
    assert found.pairs == 60 and found == h.fit(pairs, penalty=2.0)
    with pytest.raises(DataError, match="labelled pairs"):
        h.fit(pairs[:1])


def test_the_shipped_weights_were_fitted_on_these_rows():
    """A change of the starter set or of a feature asks for `python benchmarks/helpfulness.py --write`."""
    shipped = h.shipped()
    assert shipped.source["sha256"] == starter.digest("labelled_pairs") and set(shipped.weight) == set(h.NAMES)
    kinds = shipped.source["kinds"].split(", ")
    rows = [one for one in starter.load("labelled_pairs", "train") if one.kind in kinds]
    again = h.fit([(one.prompt[-1].content, one.chosen, one.rejected) for one in rows], float(shipped.source["penalty"]))
    assert again.weight == pytest.approx(shipped.weight, abs=1e-5) and again.pairs == shipped.pairs == len(rows)


def test_it_beats_length_on_held_out_labels():
    kinds = h.shipped().source["kinds"].split(", ")
    rows = [one for one in starter.load("labelled_pairs", "heldout") if one.kind in kinds]
    ahead = []
    for one in rows:
        ours = [h.score(one.prompt[-1].content, reply) for reply in (one.chosen, one.rejected)]
        length = [len(one.chosen), len(one.rejected)]
        ahead.append((ours[0] > ours[1]) - (length[0] > length[1]))
    draws = rng("helpfulness").choice(ahead, (2000, len(ahead))).mean(axis=1)
    assert len(rows) > 100 and np.quantile(draws, 0.025) > 0
