"""The training loop against Optax in a plain loop, and against itself when it is stopped and run again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from solon.core import checkpoints
from solon.core.errors import TrainingError
from solon.learn import trainer
from solon.learn.order import order
from solon.learn.trainer import Plan, Result, _programs, learning_rates, optimiser, train

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]
PLAN = Plan(steps=12, learning_rate=3e-2, seed=5, warmup=3, clip=0.5, decay=0.1, betas=(0.9, 0.95), checkpoint_seconds=0)
rng = np.random.default_rng(0)
START = {"w": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), "v": jnp.asarray(rng.normal(size=4), jnp.float32)}
FROZEN = {"scale": jnp.float32(1.5)}


def loss(trained: Any, frozen: Any, batch: Batch, key: jax.Array) -> Any:
    """Weighted squares of a small network, with noise from the key, so that a wrong key shows."""
    x, y, weight = batch
    out = jnp.tanh(x @ trained["w"]) @ trained["v"] * frozen["scale"]
    error = (out - y + 0.01 * jax.random.normal(key)) ** 2 * weight
    return error.sum(), (weight.sum(), {"size": (jnp.abs(out) * weight).sum()})


def quiet(trained: Any, frozen: Any, batch: Batch, key: jax.Array) -> Any:
    return loss(trained, frozen, batch, jax.random.key(0))


def batches(step: int) -> Sequence[Batch]:
    """Two micro-batches of three items; items weigh differently, as rows with more and fewer tokens do."""
    own = np.random.default_rng(step)
    return [
        (own.normal(size=(3, 3)).astype("f"), own.normal(size=3).astype("f"), own.integers(0, 4, 3).astype("f") + 0.5)
        for _ in range(2)
    ]


def contents(result: Result) -> tuple[bytes, str]:
    """What a run leaves: every trained byte, and the history as it is written."""
    return b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(result.trained)), json.dumps(result.history)


@pytest.fixture(scope="module", autouse=True)
def compiled_once() -> Iterator[None]:
    """The same plan and loss share one compiled program, as they do not across real runs: this file calls `train` often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "optimiser", cache(optimiser))
        patch.setattr(trainer, "_programs", cache(_programs))
        yield


@pytest.fixture(scope="module")
def whole() -> Result:
    return train(loss, START, FROZEN, batches, PLAN)


def test_steps_are_those_of_optax_in_a_plain_loop() -> None:
    """Clipping, AdamW and the schedule, written out once more; the same bits come out. Run operation by operation, since
    compiled programs fuse, and round, differently."""
    with jax.disable_jit():
        result = train(quiet, START, FROZEN, batches, replace(PLAN, steps=4))
        params, rows = plain_loop(4)
    jax.tree.map(np.testing.assert_array_equal, result.trained, params)
    assert [(r["loss"], r["gradient_norm"]) for r in result.history] == rows
    assert [r["step"] for r in result.history] == list(range(4))
    fused = train(quiet, START, FROZEN, batches, replace(PLAN, steps=4))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), fused.trained, params)


def plain_loop(steps: int) -> tuple[Any, list[tuple[float, float]]]:
    warm = optax.linear_schedule(0.0, 3e-2, 3)
    rate = optax.join_schedules([warm, optax.cosine_decay_schedule(3e-2, steps - 3, alpha=0.1)], [3])
    clip, adam = optax.clip_by_global_norm(0.5), optax.adamw(rate, b1=0.9, b2=0.95, weight_decay=0.1)
    params, state, rows = START, (clip.init(START), adam.init(START)), []
    grade = jax.value_and_grad(lambda p, b: quiet(p, FROZEN, b, None)[0])
    for i in range(steps):
        parts, items = [grade(params, b) for b in batches(i)], sum(jnp.asarray(b[2]).sum() for b in batches(i))
        grads = jax.tree.map(lambda a, b, n=items: (a + b) / n, *(g for _, g in parts))
        rows.append((float((parts[0][0] + parts[1][0]) / items), float(optax.tree.norm(grads))))
        grads, first = clip.update(grads, state[0])
        updates, second = adam.update(grads, state[1], params)
        params, state = optax.apply_updates(params, updates), (first, second)
    return params, rows


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_learning_rate_rises_then_falls_to_a_tenth(schedule: str) -> None:
    rates = [float(learning_rates(Plan(steps=10, learning_rate=1.0, warmup=4, schedule=schedule))(i)) for i in range(11)]
    half = 0.55 + 0.45 * np.cos(np.pi * np.arange(7) / 6)
    expected = [0, 0.25, 0.5, 0.75, *(half if schedule == "cosine" else np.ones(7))]
    np.testing.assert_allclose(rates, expected, atol=1e-6)


@pytest.mark.parametrize("parts", [1, 2, 3, 6, 12])
def test_any_cut_into_micro_batches_gives_the_same_gradient(parts: int) -> None:
    """Items are weighted over the whole step, not averaged part by part: the parts' weights differ widely."""
    own = np.random.default_rng(1)
    x, y = own.normal(size=(12, 3)).astype("f"), own.normal(size=12).astype("f")
    weight = np.array([0, 1, 9, 0, 5, 1, 0, 0, 0, 0, 0, 100], "f")
    accumulate, apply = _programs(quiet, optimiser(PLAN))
    total = None
    for part in np.split(np.arange(12), parts):
        total = accumulate(total, START, FROZEN, (x[part], y[part], weight[part]), jax.random.key(0))
    (value, (items, _)), grads = jax.value_and_grad(quiet, has_aux=True)(START, FROZEN, (x, y, weight), None)
    assert float(total[1]) == float(items) == 116
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4), total[0], grads)
    row = apply(total, START, optimiser(PLAN).init(START))[2]
    np.testing.assert_allclose(row["loss"], value / items, rtol=1e-5)
    np.testing.assert_allclose(row["gradient_norm"], optax.tree.norm(grads) / items, rtol=1e-5)


def stopped(folder: Path, at: int, where: str) -> None:
    """Run until step `at` and be killed there, while its batch is made or when it is reported."""

    def made(step: int) -> Sequence[Batch]:
        if where == "batches" and step == at:
            raise KeyboardInterrupt
        return batches(step)

    def report(step: int, row: dict[str, float]) -> None:
        if where == "report" and step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(loss, START, FROZEN, made, PLAN, folder, report)


@pytest.mark.parametrize(("at", "where"), [(0, "report"), (5, "batches"), (11, "report")])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, whole: Result, at: int, where: str) -> None:
    stopped(tmp_path, at, where)
    told: list[int] = []
    result = train(loss, START, FROZEN, batches, PLAN, tmp_path, lambda step, row: told.append(step))
    assert result.resumed_from == at  # each step is saved, and a step that was not reported is not
    assert told == list(range(at, 12))
    assert contents(result) == contents(whole)
    assert {"loss", "size", "items", "gradient_norm", "step"} == set(result.history[0])
    # Nothing is left to do, and that is what a third call does.
    again = train(loss, START, FROZEN, lambda step: pytest.fail("a finished run wants a batch"), PLAN, tmp_path)
    assert contents(again) == contents(whole) and again.seconds >= 0


def test_batches_may_be_made_from_the_arrays_as_they_stand(tmp_path: Path, whole: Result) -> None:
    """Who draws from the model in training sees the arrays of just this step, after a stop too."""
    seen: dict[int, float] = {}
    after: dict[int, float] = {}
    total = lambda trained: float(np.asarray(trained["v"]).sum())  # noqa: E731
    policy = lambda step, trained: seen.update({step: total(trained)})  # noqa: E731
    drawn = lambda step: [(x + seen[step], y, weight) for x, y, weight in batches(step)]  # noqa: E731
    watch = lambda done, trained: after.update({done: total(trained)})  # noqa: E731
    undisturbed = train(loss, START, FROZEN, drawn, PLAN, watch=watch, policy=policy)
    assert list(seen) == list(range(12)) and seen == {0: total(START)} | {step: after[step] for step in range(1, 12)}
    assert contents(undisturbed) != contents(whole)
    train(loss, START, FROZEN, drawn, PLAN, tmp_path, policy=policy, until=5)
    seen.clear()
    result = train(loss, START, FROZEN, drawn, PLAN, tmp_path, policy=policy)
    assert min(seen) == 5 and contents(result) == contents(undisturbed)


def test_stopped_again_and_again(tmp_path: Path, whole: Result) -> None:
    for at in (2, 3, 7):
        stopped(tmp_path, at, "batches")
    assert contents(train(loss, START, FROZEN, batches, PLAN, tmp_path)) == contents(whole)


@pytest.mark.parametrize("kind", ["arrays cut", "notes cut", "notes gone", "both damaged"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path, whole: Result, kind: str) -> None:
    stopped(tmp_path, 6, "batches")
    assert checkpoints.steps(tmp_path) == [5, 6]
    for step in (5, 6) if kind == "both damaged" else (6,):
        newest, notes = tmp_path / f"{step:08d}", tmp_path / f"{step:08d}.json"
        if kind.startswith("notes"):
            notes.unlink() if kind == "notes gone" else notes.write_text(notes.read_text()[:20])
        else:
            for path in newest.rglob("*"):
                if path.is_file():
                    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    # Killed once more: what is saved now must not be pushed out by the damaged later ones.
    if kind == "both damaged":
        stopped(tmp_path, 2, "batches")
        assert checkpoints.steps(tmp_path) == [1, 2]
    result = train(loss, START, FROZEN, batches, PLAN, tmp_path)
    assert result.resumed_from == (2 if kind == "both damaged" else 5)
    assert contents(result) == contents(whole)


def test_not_a_number_stops_and_the_last_good_state_stays(tmp_path: Path) -> None:
    def broken(step: int) -> Sequence[Batch]:
        return [(x, y * np.nan if step == 4 else y, w) for x, y, w in batches(step)]

    with pytest.raises(TrainingError, match="not a number at step 4"):
        train(loss, START, FROZEN, broken, PLAN, tmp_path)
    assert checkpoints.steps(tmp_path) == [3, 4]
    # Mended, it goes on from there and ends where it would have ended.
    fresh = train(loss, START, FROZEN, batches, PLAN)
    result = train(loss, START, FROZEN, batches, PLAN, tmp_path)
    assert (result.resumed_from, contents(result)) == (4, contents(fresh))


def test_a_step_whose_gradient_is_not_finite_changes_nothing() -> None:
    accumulate, apply = _programs(quiet, optimiser(PLAN))
    x, y, weight = batches(0)[0]
    state = optimiser(PLAN).init(START)
    bad = accumulate(None, START, FROZEN, (x, y * np.inf, weight), jax.random.key(0))
    params, new, row = apply(bad, START, state)
    jax.tree.map(np.testing.assert_array_equal, (params, new), (START, state))
    assert not np.isfinite(row["gradient_norm"])


def test_a_loss_that_runs_away_stops() -> None:
    """Ten times the usual loss for `patience` steps stops; a single bad batch does not."""
    plan = replace(PLAN, steps=40, learning_rate=0.0, patience=3)

    def spiking(steps: range) -> Any:
        return lambda i: [(x, y + 30 if i in steps else y, w) for x, y, w in batches(i)]

    with pytest.raises(TrainingError, match="run away at step 22"):
        train(loss, START, FROZEN, spiking(range(20, 40)), plan)
    assert len(train(loss, START, FROZEN, spiking(range(20, 22)), plan).history) == 40


def test_metrics_of_every_step_are_reported_once() -> None:
    told: list[dict[str, float]] = []
    plan = replace(PLAN, checkpoint_seconds=60)
    result = train(loss, START, FROZEN, batches, plan, report=lambda step, row: told.append({"step": step, **row}))
    assert told == result.history and [row["step"] for row in told] == list(range(12))
    assert all(row["items"] == sum(b[2].sum() for b in batches(i)) for i, row in enumerate(told))


def test_no_array_is_left_behind_by_a_step() -> None:
    counts: list[int] = []
    plan = replace(PLAN, steps=40)
    train(loss, START, FROZEN, batches, plan, report=lambda step, row: counts.append(len(jax.live_arrays())))
    assert len(set(counts[5:-1])) == 1 and counts[-1] <= counts[5], counts  # the last is told after the loop


def test_order_shows_every_row_once_an_epoch() -> None:
    seen = order(10, 3.5, seed=7)
    epochs = [seen[i : i + 10] for i in range(0, 30, 10)]
    assert len(seen) == 35 and all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(seen[30:])) == 5
    assert len({tuple(epoch) for epoch in epochs}) == 3  # shuffled anew for each


def test_order_is_a_pure_function_of_the_seed() -> None:
    assert order(50, 2.0, seed=3) == order(50, 2.0, seed=3 + 2**32) != order(50, 2.0, seed=4)
    assert order(50, 3.0, seed=3)[:100] == order(50, 2.0, seed=3)  # a longer training begins as the shorter one
    assert order(3, 0.1, seed=0)  # never nothing
