"""`solon eval` where a suite has figures by group, before and after, and pictures."""

from __future__ import annotations

import json
from dataclasses import replace

from solon.core.weights import init
from solon.evals.suites import unanswerable
from solon.models.architecture import spec
from solon.stages import benchmark as stage
from solon.stages.benchmark import Subject, chosen_suites


def test_the_command_shows_groups_and_pictures(solon, tmp_path, monkeypatch, tiny_model):
    other = replace(tiny_model, params=init(spec(tiny_model.arch), tiny_model.arch.sizes, seed=5))

    class Tiny(Subject):
        """A model in memory, by a name that is no file's."""

        def __init__(self, name, store, *form):
            super().__init__(name, store, *form)
            self.__dict__.update(model=tiny_model if name == "tiny" else other, source=f"{name}@0")

    monkeypatch.setattr(stage, "Subject", Tiny)
    shown = solon("eval", "tiny", "confidence", "--limit", 30)
    assert shown.code == 0, shown.err
    assert "reliability.svg" in shown.out and "ece" in shown.out
    shown = solon("eval", "tiny", "unanswerable", "--limit", 3, "--max-tokens", 3)
    assert shown.code == 0 and "unanswerable, by group" in shown.out and "hallucinated" in shown.out, shown.err
    told = json.loads(solon("eval", "tiny", "unanswerable", "--limit", 3, "--max-tokens", 3, "--json").out)
    assert {one["figure"] for one in told["models"][0]["suites"]["unanswerable"]["groups"]} == set(unanswerable.SCORES)
    both = solon("eval", "tiny", "other", "--suite", "unanswerable", "--limit", 3, "--max-tokens", 3)
    assert both.code == 0 and "before" in both.out and "change, 95 %" in both.out and "told_apart" in both.out, both.err
    assert chosen_suites("uncertainty")[0] == "confidence" and "swaps" in chosen_suites("bias")
