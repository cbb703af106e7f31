"""What a training costs a step: numbers that are trained, bytes, floating-point operations and seconds.

Bytes and operations are those of XLA's own analysis of the compiled step. It counts the body of a loop once, however often it
runs, and layers are a loop; so operations are those of one layer and of two, unrolled, and the rest follows, since every
layer does the same.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.artifacts import Record
from solon.core.bits import sliceable
from solon.core.quantise import size
from solon.core.weights import Tree, unstack
from solon.learn import lora, trainer
from solon.learn.objectives import sft
from solon.models.architecture import Architecture
from solon.models.load import Model
from solon.stages.fit import Fit
from solon.text.batches import Batch

LINES, LENGTH = 2, 256  # of the step that is analysed and timed; all its tokens are learned, in one chunk of the loss


def full_batch(vocab: int) -> Batch:
    """A batch without filling, of tokens drawn evenly."""
    count = LINES * LENGTH
    tokens = np.random.default_rng(0).integers(0, vocab, (LINES, LENGTH), dtype=np.int32)
    positions = np.broadcast_to(np.arange(LENGTH, dtype=np.int32), tokens.shape)
    owner = np.repeat(np.arange(LINES, dtype=np.int32), LENGTH)
    last = np.arange(1, LINES + 1, dtype=np.int32) * LENGTH - 1
    ones = np.ones(count, np.float32)
    place = np.arange(count, dtype=np.int32)
    return Batch(tokens, np.ones_like(tokens), positions, place, np.roll(tokens.reshape(-1), -1), owner, ones, last)


@dataclass(frozen=True)
class Step:
    """One way of training, ready to be timed: the compiled gradient, the compiled update, and what they are given."""

    gradient: Any
    update: Any
    trained: Tree
    frozen: Tree
    state: Any
    batch: Batch

    def run(self) -> float:
        """Seconds that one step takes."""
        begin = time.monotonic()
        total, grads = self.gradient(self.trained, self.frozen, self.batch)
        jax.block_until_ready(self.update(grads, self.state, self.trained))
        return time.monotonic() - begin


def prepared(model: Model, config: Fit) -> tuple[Step, Record]:
    """A step of this fine-tuning, and its costs that need no clock."""
    arch = model.arch
    params = attached(arch, config.frozen(model), config)
    trained, frozen = lora.adapter(params, config.targets), sliceable(lora.emptied(params, config.targets))
    del params
    optimise = trainer.optimiser(trainer.Plan(steps=10, learning_rate=config.learning_rate, decay=config.decay))
    state = optimise.init(trained)
    batch = full_batch(arch.vocab)

    def gradient(trained: Tree, frozen: Tree, batch: Batch) -> Any:
        return jax.value_and_grad(lambda t: sft.loss(arch, lora.put(frozen, t), batch, remat=config.remat)[0])(trained)

    def update(grads: Tree, state: Any, trained: Tree) -> Any:
        changes, new = optimise.update(grads, state, trained)
        return jax.tree.map(jnp.add, trained, changes), new

    first = jax.jit(gradient).lower(trained, frozen, batch).compile()
    second = jax.jit(update).lower(trained, state, trained).compile()
    count = sum(x.size for x in jax.tree.leaves(trained))
    memory = {"weights": size(frozen), "trained": size(trained), "gradients": size(trained), "optimiser": size(state)}
    analysis: Any = first.memory_analysis()
    memory["activations"] = int(analysis.temp_size_in_bytes)
    memory["new"] = size(trained) + size(state)  # the update keeps the old ones until it is done
    costs: Record = {"parameters": count, "optimiser_bytes": size(state), "memory": memory, "peak_bytes": sum(memory.values())}
    costs["flops_per_token"] = flops(model, config) / (LINES * LENGTH)
    return Step(first, second, trained, frozen, state, batch), costs


def attached(arch: Architecture, params: Tree, config: Fit) -> Tree:
    return lora.attach(
        arch, params, rank=config.rank, alpha=config.alpha, seed=0, targets=config.targets, kind=config.kind, ranks=config.ranks,
    )  # fmt: skip


def flops(model: Model, config: Fit) -> float:
    """Floating-point operations of one gradient, by XLA's count of the compiled program."""
    one, two = (_flops_of(model, config, layers) for layers in (1, 2))
    return one + (model.arch.layers - 1) * (two - one)


def _flops_of(model: Model, config: Fit, layers: int) -> float:
    arch = replace(model.arch, layers=layers, local_layers=model.arch.local_layers[:layers])
    cut = {**model.params, "blocks": jax.tree.map(lambda x: jax.ShapeDtypeStruct((layers, *x.shape[1:]), x.dtype), model.params["blocks"])}
    plain = config.model_copy(update={"ranks": {}})
    params = jax.eval_shape(lambda p: attached(arch, config.frozen(replace(model, arch=arch, params=p)), plain), cut)
    trained = lora.adapter(params, config.targets)

    def gradient(trained: Tree, params: Tree, batch: Batch) -> Any:
        def loss(trained: Tree) -> jax.Array:
            whole = lora.put(params, trained)
            return sft.loss(arch, {**whole, "blocks": unstack(whole["blocks"], layers)}, batch, remat=config.remat)[0]

        return jax.value_and_grad(loss)(trained)

    analysis: Any = jax.jit(gradient).lower(trained, params, full_batch(arch.vocab)).compile().cost_analysis()
    return float(analysis["flops"])


def timed(steps: Mapping[str, Step], rounds: int, advance: Any) -> dict[str, list[float]]:
    """Seconds a step of every way of training, round after round, each round in another order; the first is not counted."""
    names = list(steps)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            taken = steps[name].run()
            if turn:
                seconds[name].append(taken)
        advance(1)
    return seconds


def speeds(seconds: Mapping[str, Sequence[float]], against: str) -> dict[str, Record]:
    """Tokens a second of each way, and its seconds over those of `against` in the same round, as the median of rounds."""
    tokens = LINES * LENGTH
    return {
        name: {
            "seconds": statistics.median(own), "tokens_per_second": tokens / statistics.median(own), "rounds": len(own),
            "ratio": statistics.median([a / b for a, b in zip(own, seconds[against], strict=True)]),
            "ratios": [a / b for a, b in zip(own, seconds[against], strict=True)],
        }
        for name, own in seconds.items()
    }  # fmt: skip


@contextmanager
def resident_peak() -> Iterator[list[int | None]]:
    """The largest resident memory of this process within the block, bytes; None where the system keeps no such count that
    can be set back (Linux does)."""
    found: list[int | None] = [None]
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        yield found
        return
    yield found
    lines = Path("/proc/self/status").read_text().splitlines()
    found[0] = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)
