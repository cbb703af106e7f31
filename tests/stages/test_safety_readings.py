"""Held-out prompts answered and scored while a model is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solon import safety
from solon.core.artifacts import Silent, Store
from solon.core.config import build
from solon.core.errors import ConfigError
from solon.core.keys import rng
from solon.core.records import Message, as_messages
from solon.generate.engine import Engine, Request
from solon.learn import lora
from solon.models.load import Model
from solon.stages import dpo, sft
from solon.stages.dpo import Dpo
from solon.stages.fit import Early, Fit
from solon.text.template import encode_chat

CONFIG = Fit(rank=2, steps=4, batch=4, micro=4, length=128, learning_rate=0.01, early=Early(patience=3, every=2, aside=0.4, safety=3))


def rows(count: int) -> list[dict[str, Any]]:
    said = lambda n: " ".join(rng("row", n).choice(["ba", "ko", "ri"], 4))  # noqa: E731
    return [
        {"id": f"row-{n}", "messages": [{"role": "user", "content": f"{n} {said(n)}"}, {"role": "assistant", "content": said(n + 1)}]}
        for n in range(count)
    ]  # fmt: skip


def test_prompts_are_those_of_rows_laid_aside(tiny_model: Model) -> None:
    some = rows(10)
    course = sft.course(CONFIG, tiny_model, some, seed=1)
    aside = CONFIG.laid_aside([row["id"] for row in some], 1)
    assert len(course.asked) == 3 and len(set(course.asked)) == 3
    assert set(course.asked) <= {as_messages(some[i]["messages"])[:-1] for i in aside}
    assert CONFIG.answered({5, 1, 9, 3, 7}) == [1, 3, 7] and CONFIG.answered({4}) == [4]
    plain = CONFIG.model_copy(update={"early": Early(patience=3)})
    assert list(sft.course(plain, tiny_model, some, seed=1).asked) == plain.answered({1, 2}) == []


def test_prompts_of_pairs(tiny_model: Model) -> None:
    pairs = [
        {"id": f"p{n}", "prompt": [{"role": "user", "content": f"ba {n}"}], "first": "ko", "second": "ri", "p_first": 0.9} for n in range(6)
    ]
    config = Dpo(rank=2, batch=2, micro=2, length=128, early=Early(patience=1, aside=0.4, safety=8))
    course = dpo.course(config, tiny_model, pairs, 1, Silent())
    aside = config.laid_aside([row["id"] for row in pairs], 1)
    assert {turns[-1].content for turns in course.asked} == {f"ba {i}" for i in aside} and len(aside) == 2


def test_settings_keep_their_names_and_their_sense() -> None:
    assert "safety" not in Early(patience=2).model_dump() and Early(patience=2, safety=4).model_dump()["safety"] == 4
    with pytest.raises(ConfigError, match="patience"):
        build(Fit, {"early": {"safety": 4}}, "test")


@pytest.mark.real
@pytest.mark.slow
def test_the_reading_that_is_kept_is_what_the_kept_adapter_says(tmp_path: Path, tiny_model: Model) -> None:
    made = sft.train(Store(tmp_path), "helpful", CONFIG, tiny_model, {"model": "tiny@0"}, rows(20), seed=1)
    readings = made.read("readings.json")
    assert [one["step"] for one in readings] == [2, 4] and all(len(one["harms"]) == 3 for one in readings)
    kept = min(readings, key=lambda one: one["loss"])
    params = lora.load_onto(tiny_model.arch, tiny_model.params, made.path)
    asked = sft.course(CONFIG, tiny_model, list(made.rows("rows")), seed=1).asked
    prompts = [encode_chat(tiny_model.tokenizer, one, add_generation_prompt=True) for one in asked]
    replies = [Engine(replace(tiny_model, params=params), 1).sample([Request(ids, max_tokens=64, temperature=0.0)])[0].text for ids in prompts]
    scores = safety.score([(*turns, Message("assistant", reply)) for turns, reply in zip(asked, replies, strict=True)])
    np.testing.assert_allclose(kept["harms"], [one.harm for one in scores], rtol=1e-6)
    metric = next(one for one in made.evidence["metrics"] if one["name"] == "held_out_harm")
    assert metric["value"] == pytest.approx(np.mean(kept["harms"])) and metric["n"] == 3
