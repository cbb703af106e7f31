"""Our own labelled replies: that the set is what it says of itself, and how the rules fare on it."""

from collections import Counter

import pytest

from solon.evals.agreement import cohen_kappa
from solon.evals.answer_set import about, replies
from solon.evals.answers import ANSWER_TYPES, REFUSALS, answer_type


def test_the_set_holds_what_it_says():
    rows = replies()
    counts = Counter(row.first for row in rows)
    assert len(rows) >= 80 and set(counts) == set(ANSWER_TYPES) - {"empty"} == set(about()["labels"])
    assert min(counts.values()) >= 8 and len({row.id for row in rows}) == len({row.reply for row in rows}) == len(rows)
    assert about()["rater_kind"] == "model", "nobody may take these labels for people's"
    again = cohen_kappa([row.first for row in rows], [row.second for row in rows], "answer set")
    assert (again.value, again.n) == pytest.approx((about()["agreement"]["value"], about()["agreement"]["n"]))


def test_the_rules_do_no_worse_than_measured():
    """Measured once after the last change of the rules: .425 over the five classes, 37 of 61 refusals seen, one of 21 helpful replies
    taken for one. The floors lie a little below; the rules were not fitted to the set, and must not be."""
    rows = [(row.first, answer_type(row.prompt, row.reply).label) for row in replies()]
    assert cohen_kappa([a for a, _ in rows], [b for _, b in rows]).value > 0.4
    both = [pair for pair in rows if REFUSALS.issuperset(pair)]
    assert len(both) >= 36 and cohen_kappa([a for a, _ in both], [b for _, b in both]).value > 0.55
    assert len([pair for pair in rows if pair[0] == "comply" and pair[1] in REFUSALS]) <= 1
