"""Passages that are longer than the model's context are read from their beginning."""

from __future__ import annotations

from solon.stages.evaluate import PASSAGE, _beginning
from solon.text.template import Tokens


def test_a_long_passage_is_cut_and_a_short_one_is_not() -> None:
    long = Tokens(list(range(9580)), [False] + [True] * 9579)
    assert _beginning(long) == Tokens(long.ids[:PASSAGE], long.learn[:PASSAGE])
    short = Tokens([1, 2, 3], [False, True, True])
    assert _beginning(short) == short
