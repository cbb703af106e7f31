"""Points of a sweep: kinds of adapters at one budget, counted by hand."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest

from solon.core.errors import ConfigError
from solon.learn import lora
from solon.models.load import Model
from solon.models.shapes import published
from solon.stages import sweep
from solon.stages._sweep_costs import flops
from solon.stages.fit import Fit
from solon.stages.plan import trained_parameters

RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"


def test_kinds_come_to_one_budget() -> None:
    """By hand for SmolLM2: 576 wide, 9 and 3 heads of 64, 1536 in the MLP, 30 layers."""
    arch = published("smollm2-135m")
    sides = 2 * (576 + 576) + 2 * (576 + 192) + 3 * (576 + 1536)  # inputs and outputs of the seven linears
    columns = 2 * 576 + 2 * 192 + 2 * 1536 + 576  # DoRA's magnitudes
    budget = 30 * 16 * sides
    points = {one.label: one.fit for one in sweep.points(RECIPE, [], "kind=lora,rslora,dora,bottleneck,ia3,full")[1]}
    assert list(points) == ["kind lora rank 16", "kind rslora rank 16", "kind dora rank 15", "kind bottleneck rank 70", "kind ia3", "kind full"]
    counts = {fit.kind: trained_parameters(arch, fit) for fit in points.values()}
    assert counts["lora"] == counts["rslora"] == budget and counts["dora"] == 30 * (15 * sides + columns)
    width = lambda w: 30 * 2 * (2 * 576 * w + w + 576)  # noqa: E731  (down, its bias, up and its bias; behind both sublayers)
    assert counts["bottleneck"] == width(70) and min(range(1, 576), key=lambda w: abs(width(w) - budget)) == 70
    assert counts["ia3"] == 30 * (192 + 192 + 1536) and counts["full"] > 134e6
    assert points["kind bottleneck rank 70"].targets == ("o", "down")


def test_lora_and_dora_keep_their_scale_at_another_rank() -> None:
    points = sweep.points(RECIPE, ["helpful.kind=bottleneck", "helpful.rank=64"], "kind=lora,dora")[1]
    # A bottleneck of 64 trains 148,736 numbers a layer; LoRA 10,176 a rank, and DoRA 5,184 besides.
    assert [one.label for one in points] == ["kind lora rank 15", "kind dora rank 14"]
    assert all(one.fit.alpha / one.fit.rank == 32 / 64 for one in points)
    with pytest.raises(ConfigError, match="pattern"):
        sweep.points(RECIPE, ["helpful.ranks={blocks/3/q: 4}"], "kind=lora,dora")


def test_what_is_counted_is_what_is_trained(tiny_model: Model) -> None:
    for kind in lora.KINDS:
        fit = Fit.model_validate({"kind": kind, "rank": 3})
        whole = lora.adapter(fit.attached(tiny_model, seed=0), fit.targets)
        assert trained_parameters(tiny_model.arch, fit) == sum(x.size for x in jax.tree.leaves(whole)), kind


def test_a_pull_towards_the_model_before_can_be_varied() -> None:
    assert [(one.label, one.fit.keep) for one in sweep.points(RECIPE, [], "keep=0,0.1")[1]] == [("keep 0", 0.0), ("keep 0.1", 0.1)]


@pytest.mark.slow
def test_recomputation_costs_a_forward_pass(tiny_model: Model) -> None:
    """Of three passes over the frozen matrices (forward, again, the inputs' gradients) it is one."""
    again, kept = (one.fit for one in sweep.points(RECIPE, ["helpful.rank=1"], "remat=true,false")[1])
    assert again.remat and not kept.remat and again.model_dump() == {n: x for n, x in kept.model_dump().items() if n != "remat"}
    assert 0.6 < flops(tiny_model, kept) / flops(tiny_model, again) < 0.95
