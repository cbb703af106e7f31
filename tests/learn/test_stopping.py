"""Early stopping: when a training ends, what is kept of it, and that a stopped and resumed one comes to the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.core import checkpoints
from solon.learn import lora
from solon.learn.stopping import Stopping
from solon.learn.trainer import Plan, Result, optimiser, train
from solon.models.load import Model

PLAN = Plan(steps=20, learning_rate=0.1, schedule="constant", checkpoint_seconds=0)
START = {"x": jnp.float32(0.0)}


def follow(losses: list[float], **how: Any) -> Stopping:
    """What a training does whose held-out losses are these."""
    given = iter(losses)
    stopping = Stopping(lambda _: next(given), **{"every": 1, "patience": 2, **how})
    for step in range(1, len(losses) + 1):
        if stopping.over:
            break
        stopping.look(step, 10**9, {"step": step})
    return stopping


@pytest.mark.parametrize(
    ("losses", "gain", "read", "kept"),
    [
        ([5, 4, 3, 2, 1], 0, 5, 5),  # always falls: never over
        ([5, 4, 6, 7, 1], 0, 4, 2),  # two readings without a fall: over, though a lower one would have come
        ([5, 4, 6, 3, 7, 3, 1], 0, 6, 4),  # a fall starts the count anew; an equal loss is no fall
        ([5, 4.95, 4.8, 1], 0.3, 3, 1),  # falls of less than the gain count as none, however many
        ([5, 4.8, 4.6, 1], 0.3, 4, 4),  # but they add up: 4.6 lies 0.4 under the lowest
        ([5, 6], 0, 2, 1),
    ],
)
def test_over_after_so_many_readings_without_a_fall(losses: list[float], gain: float, read: int, kept: int) -> None:
    stopping = follow(losses, gain=gain)
    assert len(stopping.readings) == read and stopping.best == {"step": kept}
    assert stopping.over == (read < len(losses))


def test_it_reads_every_so_many_steps_and_after_the_last() -> None:
    stopping = Stopping(lambda _: 1.0, every=4, patience=9)
    for step in range(1, 11):
        stopping.look(step, 10, {})
    assert [one["step"] for one in stopping.readings] == [4, 8, 10]


def test_what_is_read_beside_the_loss_decides_nothing() -> None:
    losses = iter([3.0, 2.0, 4.0, 5.0])
    stopping = Stopping(lambda _: next(losses), every=1, patience=2, also=lambda trained: {"harm": -trained["step"]})
    for step in range(1, 5):
        stopping.look(step, 4, {"step": step})
    assert stopping.readings[1] == {"step": 2, "loss": 2.0, "harm": -2} and stopping.lowest == 1 and stopping.over


def pull(trained: Any, frozen: Any, batch: Any, key: Any) -> Any:
    """Training draws `x` up without end."""
    return -trained["x"], (jnp.float32(1.0), {})


def held() -> Stopping:
    """The held-out loss is lowest at x = 0.6, which constant steps of 0.1 pass at the sixth."""
    return Stopping(lambda trained: float(abs(trained["x"] - 0.6)), every=2, patience=3)


def run(folder: Path | None = None, **how: Any) -> Result:
    return train(pull, START, {}, lambda step: [None], PLAN, folder, stopping=held(), **how)


def test_a_training_ends_early_and_keeps_its_best_arrays() -> None:
    result = run()
    assert [one["step"] for one in result.readings] == [2, 4, 6, 8, 10, 12]
    assert len(result.history) == 12  # the best at 6, and three readings after it
    np.testing.assert_allclose(result.trained["x"], 0.6, atol=1e-3)
    plain = train(pull, START, {}, lambda step: [None], PLAN)
    np.testing.assert_allclose(plain.trained["x"], 2.0, atol=1e-3)
    assert plain.history[:12] == result.history and not plain.readings


@pytest.mark.parametrize("at", [3, 7, 11])
def test_stopped_before_and_after_the_best_it_comes_to_the_same_bytes(tmp_path: Path, at: int) -> None:
    def killed(step: int) -> Any:
        if step == at:
            raise KeyboardInterrupt
        return [None]

    with pytest.raises(KeyboardInterrupt):
        train(pull, START, {}, killed, PLAN, tmp_path, stopping=held())
    again, whole = run(tmp_path), run()
    assert again.resumed_from == at
    assert np.asarray(again.trained["x"]).tobytes() == np.asarray(whole.trained["x"]).tobytes()
    assert (again.history, again.readings) == (whole.history, whole.readings)


def test_a_training_that_is_over_stays_over(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert checkpoints.steps(tmp_path)[-1] == 12
    again = train(pull, START, {}, lambda step: pytest.fail("it was over"), PLAN, tmp_path, stopping=held())
    assert again.resumed_from == 12 and float(again.trained["x"]) == float(first.trained["x"])


def test_norms_and_biases_do_not_decay() -> None:
    """With no gradient at all, decay alone moves the arrays: matrices shrink, norms and biases stay."""
    arrays = {name: {"w": jnp.ones(3)} for name in ("blocks/q", "blocks/attn_norm", "norm", "blocks/q_bias")} | {"o": {"up_bias": jnp.ones(3)}}
    optimise = optimiser(Plan(steps=4, learning_rate=0.5, schedule="constant", decay=0.1))
    changes, _ = optimise.update(jax.tree.map(jnp.zeros_like, arrays), optimise.init(arrays), arrays)
    np.testing.assert_allclose(changes["blocks/q"]["w"], -0.05, rtol=1e-6)
    assert all(float(jnp.abs(x).max()) == 0 for name, x in changes.items() for x in x.values() if name != "blocks/q")


@pytest.mark.parametrize(("kind", "kept"), [("dora", "m"), ("ia3", "by")])
def test_what_multiplies_the_base_does_not_decay(kind: str, kept: str, tiny_model: Model) -> None:
    """DoRA's lengths and IA3's factors at zero would be a layer that is switched off, and not one that is as it was."""
    arrays = lora.adapter(lora.attach(tiny_model.arch, tiny_model.params, rank=2, alpha=4.0, seed=0, targets=lora.TARGETS["ia3"], kind=kind))
    optimise = optimiser(Plan(steps=4, learning_rate=0.5, schedule="constant", decay=0.1))
    changes, _ = optimise.update(jax.tree.map(jnp.zeros_like, arrays), optimise.init(arrays), arrays)
    for name, parts in arrays.items():
        for part, x in parts.items():
            np.testing.assert_allclose(changes[name][part], 0.0 if part == kept else -0.05 * x, rtol=1e-6)
        assert float(jnp.abs(parts[kept]).min()) > 0
