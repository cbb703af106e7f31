"""Readings of gradients against closed forms, and that a training with them comes to the same bytes as one without."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.learn.gradients import Gradients, cosine, noise, squares, summary
from solon.learn.trainer import Plan, Result, train

PLAN = Plan(steps=6, learning_rate=0.1, schedule="constant", seed=3, checkpoint_seconds=0)
START = {"blocks/q": {"a": jnp.ones((2, 3)), "b": jnp.zeros((2, 3))}, "embed": {"a": jnp.ones(3)}}
TASKS = {name: [np.asarray(half, "f") for half in two] for name, two in {
    "up": ([[3, 0, 0]], [[0, 3, 0], [3, 0, 0]]), "down": ([[-2, 0, 0]], [[-9, 0, 0]]),
}.items()}  # fmt: skip


def pull(trained: Any, frozen: Any, batch: Any, key: jax.Array) -> Any:
    """The gradient of `a` in layer 0 is the items' sum, in layer 1 twice that; `embed` pulls against itself."""
    x = jnp.asarray(batch).sum(0)
    a = trained["blocks/q"]["a"]
    value = a[0] @ x + 2 * a[1] @ x + trained["embed"]["a"] @ trained["embed"]["a"] * len(batch) / 2
    return value + 0 * trained["blocks/q"]["b"].sum(), (jnp.float32(len(batch)), {})


def batches(step: int) -> list[np.ndarray]:
    own = np.random.default_rng(step)
    return [own.normal(1, 2, (n, 3)).astype("f") for n in (2, 5, 3)]


def run(folder: Path | None = None, until: int | None = None, **how: Any) -> Result:
    return train(pull, START, {}, batches, PLAN, folder, until=until, **how)


def test_norms_are_those_of_the_step_by_layer_and_weight() -> None:
    result = run(gradients=Gradients(2))
    assert [one["step"] for one in result.gradients] == [0, 2, 4]
    for one in result.gradients:
        x = np.concatenate(batches(one["step"])).mean(0)
        length = float(np.linalg.norm(x))
        np.testing.assert_allclose(one["norms"]["blocks/q"], [length, 2 * length], rtol=1e-5)
        whole = math.sqrt(sum(float(np.square(norm).sum()) for norm in one["norms"].values()))
        assert whole == pytest.approx(result.history[one["step"]]["gradient_norm"], rel=1e-5)
        assert one["items"] == 10
    assert result.gradients[0]["norms"]["embed"] == pytest.approx(math.sqrt(3))


def test_the_estimates_have_no_bias() -> None:
    """Gradients with a known mean and covariance, in batches of unlike size: the means over many readings are the true ones."""
    draw = np.random.default_rng(0)
    mean, spread, sizes = np.array([1.0, -2.0, 0.5]), np.array([3.0, 1.0, 2.0]), (2, 5, 17)
    found = []
    for _ in range(4000):
        parts = [mean + spread * draw.normal(size=(n, 3)) for n in sizes]
        square = lambda x: float((x.mean(0) ** 2).sum())  # noqa: E731
        found.append(noise([square(x) for x in parts], sizes, square(np.concatenate(parts))))
    trace, signal = (np.array([one[name] for one in found]) for name in ("noise", "signal"))
    for many, true in ((trace, (spread**2).sum()), (signal, (mean**2).sum())):
        assert abs(many.mean() - true) < 4 * many.std() / math.sqrt(len(many)) < 0.2 * true


def test_what_is_read_of_a_step_is_what_the_estimate_gives_for_its_parts() -> None:
    one = run(until=1, gradients=Gradients(1)).gradients[0]
    parts = [np.concatenate([x.mean(0), 2 * x.mean(0), np.ones(3)]) for x in batches(0)]
    whole = sum(len(x) * part for x, part in zip(batches(0), parts, strict=True)) / 10
    by_hand = noise([float(part @ part) for part in parts], [2, 5, 3], float(whole @ whole))
    assert (one["noise"], one["signal"]) == (pytest.approx(by_hand["noise"], rel=1e-4), pytest.approx(by_hand["signal"], rel=1e-4))


def test_one_micro_batch_says_nothing_of_noise() -> None:
    result = train(pull, START, {}, lambda step: batches(step)[:1], PLAN, until=1, gradients=Gradients(1))
    assert result.gradients[0].keys() == {"step", "items", "norms"}
    assert summary(result.gradients)["noise_scale"] is None


def test_cosines_of_tasks() -> None:
    """`embed` pulls every task alike and is nothing here: its weights are zero."""
    bare = {**START, "embed": {"a": jnp.zeros(3)}}
    read = train(pull, bare, {}, batches, PLAN, until=1, gradients=Gradients(1, TASKS)).gradients[0]["cosines"]
    half = 1 / math.sqrt(2)
    assert read == {
        "up / up": pytest.approx(half), "up / down": pytest.approx(-(1 + half) / 2), "down / down": pytest.approx(1),
    }  # fmt: skip
    zero = {"x": jnp.zeros(2)}
    assert cosine([zero, zero], [zero, zero], True) == 0


@pytest.mark.parametrize("parts", [1, 3])
def test_reading_changes_nothing_that_is_trained(parts: int) -> None:
    given = lambda step: batches(step)[:parts]  # noqa: E731
    plain, read = (train(pull, START, {}, given, PLAN, gradients=how) for how in (None, Gradients(1, TASKS)))
    jax.tree.map(np.testing.assert_array_equal, plain.trained, read.trained)
    assert plain.history == read.history and plain.gradients == [] and len(read.gradients) == 6


def test_a_resumed_training_has_every_reading_once(tmp_path: Path) -> None:
    whole = run(gradients=Gradients(2, TASKS))
    run(tmp_path, until=3, gradients=Gradients(2, TASKS))
    again = run(tmp_path, gradients=Gradients(2, TASKS))
    assert again.resumed_from == 3 and json.dumps(again.gradients) == json.dumps(whole.gradients)


def test_figures_of_readings() -> None:
    """Norms are averaged as squares; the noise scale is a ratio of means, and none where the signal is lost."""
    made = lambda step, q, embed, **more: {"step": step, "items": 8.0, "norms": {"blocks/q": q, "blocks/k": [0, 0], "embed": embed}, **more}  # noqa: E731
    readings = [made(0, [3, 1], 1, noise=30.0, signal=1.0), made(1, [4, 1], 7, noise=10.0, signal=3.0)]
    told = summary(readings)
    assert told["layers"] == [pytest.approx(math.sqrt(12.5)), 1] and told["kinds"]["embed"] == 5
    assert told["kinds"]["q"] == pytest.approx(math.sqrt(13.5))
    assert (told["noise_scale"], told["noise_read"], told["items"], told["readings"]) == (10, 2, 8, 2)
    assert summary([readings[0] | {"signal": -1.0}])["noise_scale"] is None


def test_arrays_of_one_weight_count_together() -> None:
    found = squares({"blocks/q": {"a": jnp.array([[3.0], [1.0]]), "b": jnp.array([[4.0], [0.0]])}, "w": jnp.array([2.0, 1.0])})
    assert found["blocks/q"].tolist() == [25, 1] and float(found["w"]) == 5
