"""Trainings by reward of several seeds: read from artifacts, and refused where they are not alike."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from solon.cli.program import app
from solon.core.artifacts import Store
from solon.core.errors import ConfigError, DataError, MissingError
from solon.stages.seeds import rewards


def training(store, seed, slope=0.01, stage="grpo", **settings):
    rows = [{"round": i, "reward": slope * i} for i in range(50)]
    return store.make(stage, 1, {"seed": seed, **settings}, {"model": "tiny@0"}, lambda draft: draft.write("rounds.json", rows)).id


def test_the_figures_and_the_command(tmp_path):
    store = Store(tmp_path)
    ids = [training(store, seed, 0.01 + seed / 1e3) for seed in range(1, 6)]
    found = rewards(store, ids)
    assert found.worst[0] == "1" and found.final.n == 5 and found.plain.startswith("the reward rises")
    assert found.final.value == pytest.approx(0.013 * 47), "the mean of rounds 45 to 49"
    told = CliRunner().invoke(app, ["runs", "rewards", *ids, "--runs", str(tmp_path)])
    assert told.exit_code == 0 and "the reward rises" in told.output and "worst seed" in told.output
    shown = json.loads(CliRunner().invoke(app, ["runs", "rewards", *ids, "--runs", str(tmp_path), "--json"]).output)
    assert len(shown["curve"]) == 50 and shown["worst"][0] == "1"


def test_mistakes(tmp_path):
    store = Store(tmp_path)
    one, other = training(store, 1), training(store, 2, beta=0.1)
    for error, ids in ((DataError, [one, other]), (DataError, [one, one]), (ConfigError, [one, training(store, 3, stage="sft")]),
                       (MissingError, [one, "grpo-nothing"]), (DataError, [one])):  # fmt: skip
        with pytest.raises(error):
            rewards(store, ids)
