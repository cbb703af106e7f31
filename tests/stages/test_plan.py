"""A plan of memory from shapes alone: against real arrays, against XLA's own sizes, and a 7B model over eight devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.stats import ttest_1samp

from solon.core.config import build
from solon.core.errors import ConfigError, MissingError
from solon.core.mesh import mesh
from solon.core.quantise import quantise, size
from solon.core.weights import init, is_weight
from solon.evals import asking as suites
from solon.evals.statistics import discordant_test
from solon.learn import lora, trainer
from solon.models.architecture import Architecture, spec
from solon.stages.evidence import check
from solon.stages.fit import Fit
from solon.stages.plan import asked_for, effects, held, outside, plan, remarks, shape_of
from solon.stages.recipe import Recipe, load

ROOT = Path(__file__).parents[2]
ARCH = Architecture("llama", layers=3, embed=64, heads=4, kv_heads=2, head_dim=16, mlp=128, vocab=300, context=512)
FIT = Fit(rank=4, alpha=8, batch=8, micro=2, length=128)


@pytest.mark.slow
@pytest.mark.parametrize("form", [{}, {"kind": "dora", "quantise": "int4"}, {"kind": "full"}])
def test_planned_bytes_are_those_of_real_arrays(form: dict[str, str]) -> None:
    fit = build(Fit, {"rank": 4, "alpha": 8, "batch": 8, "micro": 2, "length": 128, **form}, "test")
    inner = Fit(rank=2, alpha=4)
    params = jax.tree.map(lambda w, x: x.astype("bfloat16") if w.ins else x, spec(ARCH), init(spec(ARCH), ARCH.sizes, 0), is_leaf=is_weight)
    params = lora.attach(ARCH, params, rank=2, alpha=4.0, seed=0)
    params = quantise(spec(ARCH), params, fit.quantise) if fit.quantise != "none" else params
    params = lora.attach(ARCH, params, rank=4, alpha=8.0, seed=0, kind=fit.kind, targets=fit.targets)
    trained = lora.adapter(params, fit.targets)
    state = trainer.optimiser(trainer.Plan(steps=1, learning_rate=1e-3)).init(trained)
    got = held(ARCH, [inner, fit], mesh())
    assert got["bytes"]["trained"] == got["bytes"]["gradients"] == size(trained)
    assert got["bytes"]["weights"] == size(params) - size(trained)
    assert got["bytes"]["optimiser"] == size(state)
    assert got["trained_parameters"] == sum(x.size for x in jax.tree.leaves(trained))
    assert got["micro_batch"] == [2, 128] and got["micro_batches"] == 4
    assert got["total"] == sum(got["bytes"].values())


@pytest.mark.slow
def test_activations_grow_with_what_is_held_at_once() -> None:
    """Recomputation keeps the residual stream of every layer: b * t * d float32 each, at the very least."""
    one, four = (held(ARCH, [FIT.model_copy(update={"micro": n})], mesh())["bytes"]["activations"] for n in (2, 8))
    stream = ARCH.layers * 6 * 128 * ARCH.embed * 4
    assert four - one >= stream
    assert four < 60 * stream


@pytest.mark.slow
def test_without_recomputation_every_layer_keeps_what_is_inside_it() -> None:
    """At the very least the MLP's two inner states of every layer, float32 or bfloat16."""
    again, kept = (held(ARCH, [FIT.model_copy(update={"remat": on})], mesh())["bytes"]["activations"] for on in (True, False))
    assert kept - again >= (ARCH.layers - 1) * 2 * 128 * 2 * ARCH.mlp * 2


def test_settings_outside_of_the_specification_are_named() -> None:
    assert remarks(load(ROOT / "recipes" / "gemma-7b-spec.yaml").helpful) == []
    told = remarks(load(ROOT / "recipes" / "quickstart.yaml").helpful)
    assert "batch 8, specification 64 to 256" in told and "no early stopping" in told and not any("rank" in one for one in told)


def test_a_run_says_which_trainings_leave_the_ranges() -> None:
    spec = ROOT / "recipes" / "gemma-7b-spec.yaml"
    assert outside(load(spec)) == []
    assert outside(load(spec, ["sl.rank=8", "dpo.rank=8"])) == ["sl", "dpo"]


def test_epochs_may_decide_how_long_a_training_is() -> None:
    assert not any(one.startswith("steps") for one in remarks(load(ROOT / "recipes" / "gemma-7b-spec.yaml", ["sl.steps=0"]).sl))


def test_the_small_form_leaves_the_ranges_only_where_its_rows_are_few() -> None:
    said = load(ROOT / "recipes" / "gemma-270m.yaml")
    for fit in (said.helpful, said.sl, said.dpo):
        assert {one.split()[0] for one in remarks(fit)} == {"batch", "warmup_steps"} and fit.warmup == 500 / 2000
    assert said.sl.learning_rate == said.helpful.learning_rate / 2


def test_names_lead_to_published_shapes() -> None:
    assert shape_of("google/gemma-7b-it") == shape_of("gemma-7b")
    assert shape_of("smollm2-135m-instruct").layers == 30
    with pytest.raises(MissingError):
        shape_of("no-such-model")


def test_what_a_recipe_asks_for_besides_is_named() -> None:
    recipe = {"name": "x", "model": "smollm2-135m"}
    assert asked_for(build(Recipe, recipe, "test")) == []
    wanted = {"redteam": 500, "suites": {"bias": 50, "unanswerable": None}, "classify": True, "guard": True}
    told = asked_for(build(Recipe, recipe | {"evidence": wanted, "sift": {"bar": 0.5}, "evaluate": {"harm": True}}, "test"))
    both = "RUN:base RUN:aligned"
    assert told == [
        "sift: rows of demonstrations with harm above 0.5 are not trained on", "evaluate: the safety classifier scores each reply",
        f"evidence: solon redteam {both} --attempts 500", f"evidence: solon eval {both} --suite bias --limit 50",
        f"evidence: solon eval {both} --suite unanswerable", "evidence: solon guard measure RUN:aligned", "evidence: solon release RUN --classify",
    ]  # fmt: skip
    with pytest.raises(MissingError, match="no suite is called 'biass'"):
        asked_for(build(Recipe, recipe | {"evidence": {"suites": {"biass": 50}}}, "test"))


def test_the_smallest_changes_that_a_recipe_would_show_are_those_of_its_tests() -> None:
    """By simulation: McNemar's test as it is used finds the planned change in about four of five runs."""
    recipe = load(ROOT / "recipes" / "quickstart.yaml")
    found = {one["figure"]: one for one in effects(recipe)}
    assert {name: one["n"] for name, one in found.items()} == {"harmful compliance": 110, "over-refusal": 90, "attack success": 12, "win rate": 40}
    n, change = found["harmful compliance"]["n"], found["harmful compliance"]["points"]["0.4"]
    draws = np.random.default_rng(0).choice([1, -1, 0], p=[(0.4 + change) / 2, (0.4 - change) / 2, 0.6], size=(1000, n))
    hits = [discordant_test(int((one == 1).sum()), int((one == -1).sum()))[0] < 0.05 for one in draws]
    assert np.mean(hits) == pytest.approx(0.8, abs=0.05)
    wins = np.random.default_rng(1).normal(found["win rate"]["points"][""], 0.5, (2000, 40))
    assert np.mean(ttest_1samp(wins, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.04)
    assert "attack success" not in {one["figure"] for one in effects(load(ROOT / "recipes" / "quickstart.yaml", ["evidence={}"]))}


@pytest.mark.parametrize("name", ["quickstart", "real-data"])
def test_what_a_recipe_measures_of_its_run_is_planned_and_changes_no_stage(name: str) -> None:
    path = ROOT / "recipes" / f"{name}.yaml"
    whole, bare = load(path), load(path, ["evidence={}"])
    told = [one for one in asked_for(whole) if one.startswith("evidence: ")]
    assert any("solon redteam" in one for one in told) and sum("solon eval" in one for one in told) == len(whole.evidence.suites) and asked_for(bare) == []
    assert whole.model_dump(mode="json") == {**bare.model_dump(mode="json"), "evidence": whole.evidence.model_dump(mode="json")}
    domains = {suites.load(one).CARD.domain for one in whole.evidence.suites}
    assert {"bias", "uncertainty"} <= domains


def test_the_quickstart_measures_what_needs_no_other_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOLON_DATA", raising=False)
    check(load(ROOT / "recipes" / "quickstart.yaml"))
    with pytest.raises(MissingError, match="SOLON_DATA"):
        check(load(ROOT / "recipes" / "real-data.yaml"))


def test_more_devices_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match="too few devices"):
        plan(Recipe(name="x", model="smollm2-135m"), data=64)


@pytest.mark.slow
def test_the_specification_is_planned_over_eight_devices() -> None:
    """A real 7B, nothing allocated: the process stays small. Each device holds an eighth and the little that stays whole."""
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "JAX_PLATFORMS": "cpu"}
    program = "import resource, sys; from solon.cli import main\ntry: main(sys.argv[1:])\nfinally: sys.stderr.write(str(resource.getrusage(0).ru_maxrss))"
    command = [sys.executable, "-c", program, "align", str(ROOT / "recipes" / "gemma-7b-spec.yaml"), "--plan", "--devices", "8", "--split", "2", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    made = json.loads(done.stdout)
    assert made["parameters"] == 8_537_680_896 and made["mesh"] == {"data": 4, "model": 2}
    stage = made["stages"][0]
    assert stage["stage"] == "helpful" and stage["remarks"] == []
    share = stage["bytes"]["weights"] / (2 * made["parameters"])
    assert 0.125 <= share < 0.13, share
    arch = shape_of("gemma-7b")
    pairs = 28 * 32 * (4 * (3072 + 4096) + 3 * (3072 + 24576))
    assert stage["trained_parameters"] == pairs and arch.layers == 28
    assert int(done.stderr.split()[-1]) < 4_000_000  # kilobytes; the weights alone would be 17 GB
