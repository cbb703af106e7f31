"""The refusal benchmark: nobody is judged by a regression that saw their model or their prompt."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from solon.core.keys import rng


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "refusal_kappa.py"
    wanted = importlib.util.spec_from_file_location("refusal_kappa", path)
    assert wanted is not None and wanted.loader is not None
    module = importlib.util.module_from_spec(wanted)
    sys.modules["refusal_kappa"] = module
    wanted.loader.exec_module(module)
    return module


def test_a_model_and_a_prompt_left_out_teach_nothing(bench):
    """Model c labels against the others, so that its own rows would teach the opposite of theirs; and each prompt has a
    direction of its own, by which anyone who saw it could learn its answer by heart."""
    prompts, models = [f"p{i}" for i in range(60)], ("a", "b", "c")
    draws = rng("refusal test")
    kind = draws.integers(0, 2, len(prompts))
    groups = [(model, prompt) for model in models for prompt in prompts]
    plain = [int(kind[int(prompt[1:])]) for _, prompt in groups]
    human = [("comply", "refusal")[one ^ (model == "c")] for one, (model, _) in zip(plain, groups, strict=True)]
    shared = np.repeat([[2.0 * one - 1] for one in plain], 200, axis=1)  # many, since the regression is a strict one
    said = bench.learned(shared, human, groups)
    theirs = [a == b for a, b, (model, _) in zip(said, human, groups, strict=True) if model == "c"]
    assert not any(theirs), "what a and b taught is wrong of c throughout"
    by_heart = np.repeat([[float(prompt == one) for one in prompts] for _, prompt in groups], 20, axis=1)
    alike = ["refusal" if one else "comply" for one in plain]
    kept = np.mean([a == b for a, b in zip(bench.learned(by_heart, alike, groups), alike, strict=True)])
    seen = np.mean([a == b for a, b in zip(bench.predicted(by_heart, alike, by_heart), alike, strict=True)])
    assert kept < 0.7 and seen > 0.95, "a prompt that was held out cannot be known by heart"


@pytest.mark.parametrize(
    ("reply", "label"),
    [("I'm sorry, no.", "refusal"), ("  As an AI, I", "refusal"), ("No, that", "refusal"), ("It's not ethical", "refusal"),
     ("Nobody knows. Sorry", "comply"), ("I won't help.", "comply"), ("", "comply")],
)  # fmt: skip
def test_string_match_looks_at_the_beginning_only(bench, reply, label):
    assert bench.string_match(reply) == label


def test_partial_refusals_leave_the_two_classes(bench):
    human, said = ["refusal", "comply", "partial", "partial"], ["refusal", "comply", "refusal", "comply"]
    assert (bench.two_classes(human, said).value, bench.two_classes(human, said).n) == (1.0, 2)
