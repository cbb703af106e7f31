"""Readings of gradients in a stage: batches by task, files, figures in the evidence, and the same adapter as without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solon.core.artifacts import Silent, Store
from solon.core.keys import rng
from solon.models.load import Model
from solon.stages import dpo, sft
from solon.stages._gradient_figures import by_task, lines
from solon.stages.dpo import Dpo
from solon.stages.fit import Fit
from solon.text.batches import Shape
from solon.text.template import Tokens

CONFIG = Fit(rank=2, steps=3, batch=4, micro=2, length=128, dropout=0.1, gradients=2)


def rows(count: int) -> list[dict[str, Any]]:
    """Conversations of two sources."""
    said = lambda n: " ".join(rng("row", n).choice(["ba", "ko", "ri"], 4))  # noqa: E731
    return [
        {"id": f"row-{n}", "source": "ab"[n % 3 == 0], "messages": [
            {"role": "user", "content": said(n)}, {"role": "assistant", "content": said(n + 1)},
        ]} for n in range(count)
    ]  # fmt: skip


@pytest.mark.slow
def test_a_stage_keeps_its_readings(tmp_path: Path, tiny_model: Model) -> None:
    make = lambda config: sft.train(Store(tmp_path), "helpful", config, tiny_model, {"model": "tiny@0"}, rows(18), seed=1)  # noqa: E731
    read, plain = make(CONFIG), make(CONFIG.model_copy(update={"gradients": 0}))
    assert read.evidence["facts"]["digest"] == plain.evidence["facts"]["digest"]
    assert read.id != plain.id and "gradients" not in plain.evidence["config"] and not (plain.path / "gradients.json").exists()
    readings = read.read("gradients.json")
    assert [one["step"] for one in readings] == [0, 2]
    history = read.read("history.json")
    for one in readings:
        assert np.isclose(np.sqrt(sum(np.square(x).sum() for x in one["norms"].values())), history[one["step"]]["gradient_norm"], rtol=1e-4)
        assert {len(x) for x in one["norms"].values()} == {2} and one["noise"] > 0
        assert set(one["cosines"]) == {"a / a", "a / b", "b / b"} and all(-1 <= x <= 1 for x in one["cosines"].values())
    first, *others = read.evidence["metrics"]
    assert first["name"] == "training_loss" and plain.evidence["metrics"] == [first]
    assert {f"gradient_cosine {pair}" for pair in readings[0]["cosines"]} <= {one["name"] for one in others}
    told = lines(readings)
    assert told[0].startswith("2 readings") and "0 " in told[1] and "down" in told[2] and "a / b" in told[3]


def test_batches_by_task_hold_unlike_rows_and_fit_the_training() -> None:
    token = lambda n: [Tokens([1] * n, [True] * n)]  # noqa: E731
    some = [{"kind": kind, "source": "all"} for kind in ("x", "y", "x", "z", "x", "y", "x", "")]
    items = [token(10) for _ in some]
    found = by_task(some, items, Shape(lines=1, length=32, scored=128, rows=8))
    assert found == {"x": [[0, 4], [2, 6]], "y": [[1], [5]]}  # z has one row; the last row's task is its source, which has one
    assert by_task(some, items, Shape(lines=1, length=32, scored=10, rows=8))["x"] == [[0], [2]]
    assert by_task(some, items, Shape(lines=1, length=8, scored=128, rows=8)) == {}
    assert by_task(some[2:3] * 4, items, Shape(lines=1, length=32, scored=128, rows=8)) == {}  # one task alone has nothing beside it


def test_pairs_go_by_the_kind_of_their_prompt(tiny_model: Model) -> None:
    turn = [{"role": "user", "content": "ba"}]
    labelled = [
        {"id": f"p{n}", "prompt": turn, "first": "ko " * (n + 1), "second": "ri", "p_first": 0.9, "kind": "ab"[n % 2]} for n in range(8)
    ]
    config = Dpo(rank=2, batch=4, micro=4, length=128, epochs=1, gradients=1)
    course = dpo.course(config, tiny_model, labelled, 1, Silent())
    assert set(course.tasks) == {"a", "b"} and all(len(two) == 2 for two in course.tasks.values())
    # Every first reply is longer than the one before, so its log-probability names it: no pair is in two batches.
    seen = [x for two in course.tasks.values() for one in two for x in one.reference_s[::2].tolist() if x]
    assert len(seen) == len(set(seen)) >= 4
    assert dpo.course(config.model_copy(update={"gradients": 0}), tiny_model, labelled, 1, Silent()).tasks == {}
