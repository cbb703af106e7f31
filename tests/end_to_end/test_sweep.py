"""`solon sweep` on a tiny model: points of one setting, costs by formula, paired figures, and going on after a stop."""

from __future__ import annotations

import json
from typing import Any

import jax
import numpy as np
import pytest

from solon.core.artifacts import Store
from solon.core.errors import ConfigError
from solon.core.weights import count, init
from solon.models.architecture import LINEAR, Architecture, spec
from solon.models.load import Model
from solon.stages import sft, sweep
from solon.stages._sweep_costs import LENGTH, LINES, flops, full_batch, prepared, resident_peak, speeds, timed
from solon.stages.fit import Fit

pytestmark = pytest.mark.slow  # compiles programs for every form and point

def rank_parameters(arch: Architecture, rank: int) -> int:
    """rank * (inputs + outputs) of all seven linears of all layers."""
    qo, kv = arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    return arch.layers * rank * (2 * (arch.embed + qo) + 2 * (arch.embed + kv) + 3 * (arch.embed + arch.mlp))


@pytest.fixture(scope="module")
def made(tmp_path_factory, recipe_file):
    store = Store(tmp_path_factory.mktemp("runs"))
    plan, points = sweep.points(recipe_file, ["evaluate.multiple_choice=6"], "rank=1,2", full=True)
    return store, plan, points, sweep.sweep(store, plan, points)


@pytest.fixture(scope="module")
def table(made) -> dict[str, Any]:
    return {row["point"]: row for row in made[3].read("table.json")}


def test_points_of_a_rank_study_keep_the_scale(made, recipe_file) -> None:
    assert [(one.label, one.fit.rank, one.fit.alpha) for one in made[2][:2]] == [("rank 1", 1, 16.0), ("rank 2", 2, 32.0)]
    full = made[2][2].fit
    assert full.kind == "full" and full.learning_rate == pytest.approx(1e-4) and len(full.targets) > 7
    named = sweep.points(recipe_file, [], "rank", full=True)[1]
    assert [one.label for one in named] == [*(f"rank {n}" for n in (4, 8, 16, 32, 64)), "full"]
    rates = sweep.points(recipe_file, ["helpful.rank=3"], "learning_rate=1e-4,2e-4")[1]
    assert [(one.fit.learning_rate, one.fit.rank, one.fit.alpha) for one in rates] == [(1e-4, 3, 32.0), (2e-4, 3, 32.0)]


@pytest.mark.parametrize("what", ["rnak", "rank=", "rank=4,4", "learning_rate"])
def test_what_is_no_sweep_is_refused(recipe_file, what: str) -> None:
    with pytest.raises(ConfigError):
        sweep.points(recipe_file, [], what)


def test_costs_follow_the_formula(table, made) -> None:
    model = sft.started_from(made[0].get(table["full"]["artifact"]))
    for name, rank in (("rank 1", 1), ("rank 2", 2)):
        cost = table[name]["costs"]
        assert cost["parameters"] == rank_parameters(model.arch, rank)
        assert abs(cost["optimiser_bytes"] - 8 * cost["parameters"]) < 64  # two moments and the counts of steps
    every = count(spec(model.arch), model.arch.sizes)
    assert table["full"]["costs"]["parameters"] == every and table["full"]["shares"]["parameters"] == 1
    share = table["rank 2"]["shares"]
    assert share["parameters"] == pytest.approx(rank_parameters(model.arch, 2) / every)
    assert share["peak_bytes"] < 1 and table["full"]["against"] == "full"


def test_operations_are_those_of_the_products() -> None:
    """A wide model, so that products are nearly all: forward once, once more where it is recomputed, once for the
    inputs' gradients and, for full fine-tuning only, once for the weights'. 2 operations a weight and token each."""
    arch = Architecture("llama", layers=5, embed=256, heads=4, kv_heads=4, head_dim=64, mlp=1024, vocab=512, context=512)
    model = Model("wide", arch, init(spec(arch), arch.sizes, seed=0), None, "", "")  # type: ignore[arg-type]
    tokens = LINES * LENGTH
    inner = arch.layers * (4 * 256 * 256 + 3 * 256 * 1024)
    attention = arch.layers * 2 * 2 * LENGTH * 256  # operations a token and pass: scores and mixing, all keys counted
    words = 512 * 256
    for fit, passes in ((Fit(rank=1, alpha=1), 3), (Fit(kind="full", targets=(*LINEAR, "embed", "norm")), 4)):
        got = flops(model, fit) / tokens
        low, high = 2 * passes * inner, 2 * passes * inner + 5 * attention + 2 * 5 * words
        assert low < got < 1.15 * high, (fit.kind, got, low, high)


def test_the_batch_has_no_filling() -> None:
    batch = full_batch(100)
    assert batch.tokens_bt.shape == (LINES, LENGTH) and (batch.weight_n == 1).all()
    np.testing.assert_array_equal(batch.target_n[: LENGTH - 1], batch.tokens_bt[0, 1:])
    assert batch.last_s.tolist() == [LENGTH - 1, 2 * LENGTH - 1]


def test_every_way_runs_in_every_round_and_ratios_are_of_the_same_round(tiny_model) -> None:
    step, _ = prepared(tiny_model, Fit(rank=2, alpha=2))
    seconds = timed({"a": step, "b": step}, 2, lambda by: None)
    assert {name: len(own) for name, own in seconds.items()} == {"a": 2, "b": 2}
    told = speeds({"a": [1.0, 4.0, 2.0], "b": [2.0, 2.0, 2.0]}, "b")
    assert told["a"]["ratios"] == [0.5, 2.0, 1.0] and told["a"]["ratio"] == 1.0
    assert told["b"]["tokens_per_second"] == LINES * LENGTH / 2


def test_figures_are_paired_with_the_untrained_and_the_full(table) -> None:
    assert "changes" not in table["untrained"]
    assert set(table["rank 1"]["changes"]) == {"untrained", "full"} and set(table["full"]["changes"]) == {"untrained"}
    for row in table.values():
        assert row["figures"]["held_out_loss"]["n"] == 4 and row["figures"]["multiple_choice"]["n"] == 6
    change = table["rank 2"]["changes"]["full"]["held_out_loss"]
    ends = [table[name]["figures"]["held_out_loss"]["value"] for name in ("full", "rank 2")]
    assert change["value"] == pytest.approx(ends[1] - ends[0]) and change["p_holm"] >= change["p"]


def test_a_point_is_the_helpful_stage_of_a_run(made, table) -> None:
    store, plan, points, _ = made
    assert table["rank 2"]["artifact"].startswith("helpful-")
    assert store.get(table["rank 2"]["artifact"]).evidence["config"]["rank"] == 2
    assert points[1].fit == plan.helpful


def test_a_stopped_sweep_goes_on(tmp_path, made, table, monkeypatch) -> None:
    _, plan, points, _ = made
    trained: list[int] = []
    real = sft.train

    def dying(store: Any, name: str, config: Fit, *rest: Any) -> Any:
        if config.rank == 2 and config.kind == "lora" and trained.count(2) == 0:
            trained.append(2)
            raise KeyboardInterrupt
        one = real(store, name, config, *rest)
        trained.extend([] if one.reused else [config.rank])
        return one

    monkeypatch.setattr(sft, "train", dying)
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep(store, plan, points[:2])
    again = sweep.sweep(store, plan, points[:2])
    assert trained == [1, 2, 2]
    rows = {row["point"]: row for row in again.read("table.json")}
    assert rows["rank 2"]["figures"] == table["rank 2"]["figures"] and rows["rank 2"]["artifact"] == table["rank 2"]["artifact"]


def test_resident_memory_is_that_of_the_block() -> None:
    with resident_peak() as outside:
        block = np.ones(30_000_000)
        del block
    with resident_peak() as inside:
        pass
    if outside[0] is None:
        pytest.skip("this system keeps no peak that can be set back")
    assert outside[0] - inside[0] > 200_000_000


def test_the_command(solon, made, recipe_file, monkeypatch) -> None:
    monkeypatch.setattr(sweep, "sweep", lambda store, plan, points: made[3])
    shown = solon("sweep", "rank=1,2", recipe_file, "--full")
    assert shown.code == 0 and "rank 2" in shown.out and "shares of what full costs" in shown.out and made[3].id in shown.out
    told = json.loads(solon("sweep", "rank=1,2", recipe_file, "--json").out)
    assert [row["point"] for row in told["rows"]] == ["untrained", "rank 1", "rank 2", "full"]
    wrong = solon("sweep", "rnak=1,2", recipe_file)
    assert wrong.code == 2 and "'rank'" in wrong.err.replace('"', "'") and "Traceback" not in wrong.err
    jax.clear_caches()
