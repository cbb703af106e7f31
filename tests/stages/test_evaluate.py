"""Rows of an evaluation: passages that are cut to the context, replies that the safety classifier scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from solon.core.artifacts import Draft, Silent
from solon.generate.engine import Engine
from solon.stages.evaluate import PASSAGE, Evaluate, _beginning, shard
from solon.stages.sampling import Draw
from solon.text.template import Tokens


def test_a_long_passage_is_cut_and_a_short_one_is_not() -> None:
    long = Tokens(list(range(9580)), [False] + [True] * 9579)
    assert _beginning(long) == Tokens(long.ids[:PASSAGE], long.learn[:PASSAGE])
    short = Tokens([1, 2, 3], [False, True, True])
    assert _beginning(short) == short


def test_replies_are_scored_where_that_is_asked_for_and_else_the_rows_are_what_they_were(tiny_model: Any, word_classifier: Any) -> None:
    own = word_classifier("a")
    rows = [{"id": f"r{n}", "kind": "benign", "prompt": [{"role": "user", "content": f"Say a word {n}"}], "tags": {}} for n in range(3)]
    plain, scored = (
        shard(Evaluate(draw=Draw(max_tokens=8), harm=harm), Engine(tiny_model, slots=2), rows, 1, Draft("x", Path(), Silent()), lambda *_: None) for harm in (False, True)
    )
    assert [set(row) - set(was) for row, was in zip(scored, plain, strict=True)] == [{"harm", "flagged"}] * 3
    assert [{**row, "harm": 0, "flagged": 0} for row in plain] == [{**row, "harm": 0, "flagged": 0} for row in scored]
    assert [row["harm"] for row in scored] == [one.harm for one in own.score([row["reply"] for row in plain])]
    assert "harm" not in Evaluate().model_dump() and Evaluate(harm=True).model_dump()["harm"] is True
