"""Certificates against hand-computed values, with judges whose faults are known."""

import json
import math
from itertools import pairwise

import pytest

from solon.constitution.certificate import certify, length_bias, position_bias, shown_order
from solon.constitution.judging import Labelled, Opinion
from solon.constitution.store import load
from solon.core.errors import DataError
from solon.core.intervals import wilson
from solon.core.records import user

HARM = load("core").principle("harm.general")


def pair(i, better="better reply", worse="worse reply", kind="x"):
    return Labelled(f"id{i}", user(f"prompt {i}"), better, worse, kind, HARM)


class Scripted:
    """A judge that answers by a rule on the question."""

    name = "scripted"
    fitted_on = frozenset()

    def __init__(self, rule):
        self.rule = rule

    def prefer(self, questions, progress=None):
        return [self.rule(one) for one in questions]


def symmetric(p):
    return Opinion(p, p, 1 - p)


def knows(one, p=0.9):
    return symmetric(p if one.first.startswith("better") else 1 - p)


def test_a_good_judge_by_hand():
    def rule(one):
        if one.id == "id0":
            return Opinion(None, note="silent")
        if one.id == "id1":
            return symmetric(0.5)
        return knows(one, 0.2) if one.id == "id2" else knows(one, 0.8)

    labelled = [pair(i, kind="a" if i < 4 else "b") for i in range(20)]
    found = certify(Scripted(rule), labelled, bar=0.8)
    assert (found.accuracy.value, found.accuracy.n, found.accuracy.ci) == (17 / 20, 20, wilson(17, 20))
    assert found.accepted and found.n == 20 and found.abstention == pytest.approx(1 / 20) and found.ties == 1
    assert found.by_kind["a"].value == 1 / 4 and found.by_kind["b"].value == 1 and found.by_kind["b"].n == 16
    assert found.brier == pytest.approx((17 * 0.04 + 0.64 + 0.25) / 19)
    assert sum(one["n"] for one in found.reliability) == 19
    assert "1 abstentions, counted as wrong, mostly: silent" in found.note
    assert found.position_bias.mean_gap == pytest.approx(0) and found.position_bias.n == 19


def test_by_position_is_no_better_than_chance():
    labelled = [pair(i, kind="ab"[i % 2]) for i in range(40)]
    found = certify(Scripted(lambda one: Opinion(0.9, 0.9, 0.9)), labelled, bar=0.5)
    assert found.accuracy.value == 0.5 and not found.accepted
    assert found.position_bias.mean_gap == pytest.approx(0.8)
    assert found.position_bias.flips == 1 and found.position_bias.prefers_a == pytest.approx(0.9)
    assert all(one.value == 0.5 for one in found.by_kind.values())


def test_position_bias_by_hand():
    found = position_bias([Opinion(0.65, 0.8, 0.5), Opinion(0.5, 0.7, 0.7), Opinion(None, 0.9, None)])
    assert found.mean_gap == pytest.approx((0.3 + 0.4) / 2) and found.flips == 0.5 and found.n == 2
    assert found.prefers_a == pytest.approx((0.8 + 0.5 + 0.7 + 0.7) / 4)


def test_length_bias_of_a_judge_that_counts_letters():
    labelled = [pair(i, "b" * (10 + i), "w" * 10) for i in range(1, 9)] + [
        pair(i, "b" * 10, "w" * (2 + i)) for i in range(9, 13)
    ]
    found = certify(Scripted(lambda one: symmetric(0.9 if len(one.first) > len(one.second) else 0.1)), labelled)
    bias = found.length_bias
    assert bias.better_is_longer.value == 1 and bias.better_is_longer.n == 8
    assert bias.better_is_shorter.value == 0 and bias.better_is_shorter.n == 4
    assert bias.correlation > 0.8 > bias.correlation_of_labels


def test_length_correlation_by_hand():
    labelled = [pair(0, "xxxx", "x"), pair(1, "x", "xx"), pair(2, "xx", "xx"), pair(3, "x", "x")]
    found = length_bias(
        labelled, [True, False, True, True], [Opinion(p) for p in (0.9, 0.7, 0.5, None)], [True, False, False, False]
    )
    x, y = [math.log(4), math.log(2), 0.0], [0.9, 0.7, 0.5]
    mx, my = sum(x) / 3, sum(y) / 3
    top = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    assert found.correlation == pytest.approx(
        top / math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))
    )
    assert found.n == 3 and found.better_is_longer.n == 1 and found.better_is_shorter.n == 1


def test_order_is_balanced_in_every_kind_and_follows_the_name():
    labelled = [pair(i, kind="abc"[i % 3]) for i in range(60)]
    order = shown_order(labelled, "n")
    for kind in "abc":
        assert sum(first for one, first in zip(labelled, order, strict=True) if one.kind == kind) == 10
    assert shown_order(labelled[::-1], "n") == order[::-1]
    assert shown_order(labelled, "m") != order
    runs = sum(a != b for a, b in pairwise(order))
    assert 15 < runs < 45


def test_rules_of_acceptance():
    labelled = [pair(i) for i in range(20)]
    sixteen = Scripted(lambda one: knows(one, 0.2 if int(one.id[2:]) < 4 else 0.8))
    assert certify(sixteen, labelled, bar=0.8).accepted
    assert not certify(sixteen, labelled, bar=0.81).accepted
    assert not certify(sixteen, labelled, bar=0.8, rule="lower").accepted
    assert certify(sixteen, labelled, bar=0.55, rule="lower").accepted
    assert not certify(sixteen, [pair(19)], bar=0.8).accepted  # right, but one pair proves nothing


def test_silence_is_not_certified():
    found = certify(Scripted(lambda one: Opinion(None, note="timeout")), [pair(i) for i in range(4)])
    assert not found.accepted and found.abstention == 1 and found.accuracy.value == 0
    assert found.ece is found.brier is found.position_bias.mean_gap is found.length_bias.correlation is None


def test_json_has_the_keys_of_the_report():
    found = certify(Scripted(knows), [pair(i) for i in range(8)]).as_json()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert {
        "judge", "accepted", "bar", "n", "accuracy", "ece", "brier", "position_bias", "length_bias", "abstention", "reliability",
        "by_kind", "note",
    } <= set(again)  # fmt: skip
    assert set(again["accuracy"]) == {"value", "ci", "n"} and set(again["reliability"][0]) == {"p", "y", "n"}
    assert again["by_kind"]["x"]["n"] == 8


def test_refused():
    with pytest.raises(DataError, match="no labelled pairs"):
        certify(Scripted(knows), [])
    with pytest.raises(DataError, match="same id"):
        certify(Scripted(knows), [pair(1), pair(1)])
    lazy = Scripted(knows)
    lazy.prefer = lambda questions, progress=None: []
    with pytest.raises(DataError, match="left questions out"):
        certify(lazy, [pair(1)])
