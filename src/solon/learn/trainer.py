"""The one training loop. It knows nothing of algorithms: an objective gives the loss, a function gives batch `i`."""

from __future__ import annotations

import math
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from solon.core import checkpoints
from solon.core.errors import TrainingError
from solon.core.keys import seed_of
from solon.core.weights import Tree, path_name
from solon.learn.gradients import Gradient, Gradients
from solon.learn.stopping import Stopping

# loss(trainable, frozen, batch, key) -> (sum over items, (number of items, {metric: sum over items}))
Loss = Callable[[Tree, Tree, Any, jax.Array], tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]]
Batches = Callable[[int], Sequence[Any]]


@dataclass(frozen=True)
class Plan:
    """How to optimise. `warmup` is in steps; the schedule is `cosine` or `constant` after it."""

    steps: int
    learning_rate: float
    seed: int = 0
    warmup: int = 0
    schedule: str = "cosine"
    clip: float = 1.0
    decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    checkpoint_seconds: float = 60.0
    spike: float = 4.0  # stop when the loss stays this many times above its running median
    patience: int = 8


@dataclass
class Result:
    """Trained arrays, one row of metrics a step, what it cost, the held-out losses that early stopping read, and what was read
    of gradients."""

    trained: Tree
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    resumed_from: int = 0
    readings: list[dict[str, Any]] = field(default_factory=list)
    gradients: list[dict[str, Any]] = field(default_factory=list)
    kept: int = 0  # the place among `readings` of the one whose arrays `trained` are


def learning_rates(plan: Plan) -> optax.Schedule:
    """Linear warm-up from zero, then cosine to a tenth or constant."""
    warm = optax.linear_schedule(0.0, plan.learning_rate, max(plan.warmup, 1))
    rest = max(plan.steps - plan.warmup, 1)
    if plan.schedule == "constant":
        after: optax.Schedule = optax.constant_schedule(plan.learning_rate)
    else:
        after = optax.cosine_decay_schedule(plan.learning_rate, rest, alpha=0.1)
    return optax.join_schedules([warm, after], [plan.warmup]) if plan.warmup else after


def optimiser(plan: Plan) -> optax.GradientTransformation:
    """AdamW with clipping by the global norm; what `decaying` leaves out does not decay."""
    mask = decaying if plan.decay else None
    adam = optax.adamw(learning_rates(plan), b1=plan.betas[0], b2=plan.betas[1], weight_decay=plan.decay, mask=mask)
    return optax.chain(optax.clip_by_global_norm(plan.clip), adam)


def decaying(trained: Tree) -> Tree:
    """Which trained arrays decay, by their names: not norms and biases, nor the lengths `m` of DoRA and the factors `by` of
    IA3, which start at the base's lengths and at one: towards zero they would fade out the weight itself."""
    return jax.tree_util.tree_map_with_path(lambda path, _: not re.search("norm|bias|/(m|by)$", path_name(path)), trained)


def _programs(loss: Loss, optimise: optax.GradientTransformation) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Two compiled programs: add one micro-batch's gradient, and take one step with the sum.

    Sums of losses and of items are kept apart, so any cut of a batch into micro-batches gives the same gradient.
    """

    @jax.jit
    def accumulate(total: Any, trained: Tree, frozen: Tree, batch: Any, key: jax.Array) -> Any:
        (value, (items, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(trained, frozen, batch, key)
        new = (grads, items, {"loss": value, **metrics})
        return new if total is None else jax.tree.map(jnp.add, total, new)

    @jax.jit
    def apply(total: Any, trained: Tree, state: Any) -> Any:
        grads, items, sums = total
        items = jnp.where(items > 0, items, 1)  # a batch of nothing but filling
        grads = jax.tree.map(lambda g: g / items, grads)
        norm = optax.global_norm(grads)
        updates, new_state = optimise.update(grads, state, trained)
        good = jnp.isfinite(norm)
        keep = lambda new, old: jax.tree.map(lambda n, o: jnp.where(good, n, o), new, old)  # noqa: E731
        metrics = {name: value / items for name, value in sums.items()}
        trained, state = keep(optax.apply_updates(trained, updates), trained), keep(new_state, state)
        return trained, state, {**metrics, "items": items, "gradient_norm": norm}

    return accumulate, apply


def train(
    loss: Loss, trained: Tree, frozen: Tree, batches: Batches, plan: Plan, folder: Path | None = None,
    report: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    watch: Callable[[int, Tree], None] = lambda done, trained: None, until: int | None = None,
    resumed: Callable[[int], None] = lambda done: None, stopping: Stopping | None = None,
    policy: Callable[[int, Tree], None] = lambda step, trained: None, gradients: Gradients | None = None,
) -> Result:  # fmt: skip
    """Run `plan.steps` steps; with a folder, go on from its newest checkpoint, bit for bit as if never stopped.

    `batches(i)` gives the micro-batches of step `i` and must depend on `i` alone. `watch(done, trained)` sees the arrays
    after each step, before that step can be checkpointed; `until` ends a replay early; `resumed(done)` is told of the
    steps that a stopped call had done; `stopping` may end the training early and then chooses what is kept.
    `policy(step, trained)` sees the arrays before the batches of that step are asked for: who draws batches from the
    model in training takes them from there; `gradients` looks at the gradient of a step before it is taken. Raises
    `TrainingError` on a loss that is not a number or that spikes; the last good state stays on disk.
    """
    optimise = optimiser(plan)
    accumulate, apply = _programs(loss, optimise)
    result = Result(None)
    trained, state = _begin(folder, result, trained, optimise.init(trained), stopping, gradients)
    if result.resumed_from:
        resumed(result.resumed_from)
    begin, saved = time.monotonic(), time.monotonic()
    before, done = result.seconds, result.resumed_from
    waiting: tuple[int, Any] | None = None
    for step in range(result.resumed_from, plan.steps if until is None else min(until, plan.steps)):
        if stopping and stopping.over:
            break
        policy(step, trained)
        total, given, gradient = None, batches(step), _gradient(accumulate, trained, frozen, plan.seed, step)
        for place, batch in enumerate(given):
            total = gradient(batch, place, before=total)
        if gradients:
            gradients.look(step, total, given, gradient)
        trained, state, metrics = apply(total, trained, state)
        done = step + 1
        watch(done, trained)
        if stopping:
            stopping.look(done, plan.steps, trained)
        if waiting:  # read one step late, so that the device never waits for the log
            _record(result, plan, *waiting, report)
        waiting = (step, metrics)
        if folder and time.monotonic() - saved > plan.checkpoint_seconds:
            _record(result, plan, *waiting, report)
            waiting = None
            result.seconds = before + time.monotonic() - begin
            _save(folder, done, trained, state, result, stopping, gradients)
            saved = time.monotonic()
    if waiting:
        _record(result, plan, *waiting, report)
    result.seconds = before + time.monotonic() - begin
    result.trained = stopping.best if stopping and stopping.readings else trained
    if stopping:
        result.readings, result.kept = stopping.readings, stopping.lowest
    result.gradients = gradients.readings if gradients else []
    if folder and until is None and result.resumed_from < done:
        _save(folder, done, trained, state, result, stopping, gradients)
    return result


def _gradient(accumulate: Callable[..., Any], trained: Tree, frozen: Tree, seed: int, step: int) -> Gradient:
    """The gradient of one batch at this step, added to what came `before`; its key is made of the names that are given."""

    def one(batch: Any, *names: Any, before: Any = None) -> Any:
        return accumulate(before, trained, frozen, batch, jax.random.key(seed_of("step", seed, step, *names)))

    return one


def _begin(
    folder: Path | None, result: Result, trained: Tree, state: Any, stopping: Stopping | None, gradients: Gradients | None
) -> tuple[Tree, Any]:
    """Trained arrays and the optimiser's state: those given, or those of the newest checkpoint."""
    kept = {"trained": trained, "state": state} | (stopping.arrays(trained) if stopping else {})
    found = checkpoints.restore(folder, kept) if folder else None
    if not found:
        return trained, state
    result.resumed_from, arrays, notes = found
    result.seconds, result.history = notes["seconds"], notes["history"]
    if stopping:
        stopping.restored(arrays, notes["readings"])
    if gradients:
        gradients.readings = notes["gradients"]
    return arrays["trained"], arrays["state"]


def _save(
    folder: Path, step: int, trained: Tree, state: Any, result: Result, stopping: Stopping | None, gradients: Gradients | None
) -> None:
    notes = {"seconds": result.seconds, "history": result.history}  # Python floats come back from JSON as they were
    kept = {"trained": trained, "state": state}
    if stopping:
        notes, kept = {**notes, "readings": stopping.readings}, {**kept, **stopping.arrays(trained)}
    if gradients:
        notes["gradients"] = gradients.readings
    checkpoints.save(folder, step, kept, notes)


def _record(
    result: Result, plan: Plan, step: int, metrics: dict[str, jax.Array], report: Callable[[int, dict[str, float]], None]
) -> None:
    row = {name: float(value) for name, value in metrics.items()}
    way_out = "lower the learning rate or look at the rows of this step; the last good state is kept"
    if not all(math.isfinite(row[name]) for name in ("loss", "gradient_norm")):
        raise TrainingError(f"the loss is not a number at step {step}", got=row["loss"], fix=way_out)
    result.history.append({"step": step, **row})
    report(step, row)
    losses = [abs(r["loss"]) for r in result.history]
    if len(losses) >= 4 * plan.patience:
        usual = statistics.median(losses[: -plan.patience])
        if min(losses[-plan.patience :]) > plan.spike * usual:
            got = f"{losses[-1]:.3g} after a median of {usual:.3g}"
            raise TrainingError(f"the loss has run away at step {step}", got=got, fix=way_out)
