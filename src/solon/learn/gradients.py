"""What gradients look like while a model is trained: their norm by layer and kind of weight, how noisy they are, and whether
tasks pull the same way. Read every so many steps, before clipping; nothing that is trained changes by it, to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.weights import Tree, path_name

Record = dict[str, Any]
# gradient(batch, *name) -> (sum of the items' gradients, number of items, metrics); the name makes the key of dropout
Gradient = Callable[..., Any]


@dataclass
class Gradients:
    """Takes a reading before step 0, `every`, 2 `every`, ...

    Each costs the gradients of the step's micro-batches once more, where there are two or more, and those of two batches of
    each of the `tasks`. The two are other rows of the same task: the cosine between them says how much of a cosine of 1 the
    noise of such batches leaves.
    """

    every: int
    tasks: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    readings: list[Record] = field(default_factory=list)

    def look(self, step: int, total: Any, batches: Sequence[Any], gradient: Gradient) -> None:
        """Read, if it is time to; `total` is what the step's micro-batches `batches` come to together."""
        if step % self.every:
            return
        grads, items, _ = total
        count = float(items) or 1.0  # a batch of nothing but filling
        norms = {name: np.sqrt(np.asarray(x)) / count for name, x in squares(grads).items()}
        reading: Record = {"step": step, "items": count, "norms": {name: x.tolist() for name, x in norms.items()}}
        parts = [gradient(one, place) for place, one in enumerate(batches)] if len(batches) > 1 else []
        means = [(_length2(grads) / float(n) ** 2, float(n)) for grads, n, _ in parts if float(n) > 0]
        if len(means) > 1:
            reading |= noise([square for square, _ in means], [n for _, n in means], float(sum((x**2).sum() for x in norms.values())))
        if self.tasks:
            made = {name: [gradient(one, name, half)[0] for half, one in enumerate(two)] for name, two in self.tasks.items()}
            reading["cosines"] = {f"{a} / {b}": cosine(made[a], made[b], a == b) for a, b in combinations_with_replacement(made, 2)}
        self.readings.append(reading)


@jax.jit
def squares(grads: Tree) -> dict[str, jax.Array]:
    """Sums of squares by weight, `{"blocks/q": [layers], "embed": scalar, ...}`: the arrays of an adapter count together."""
    found: dict[str, jax.Array] = {}
    for path, g in jax.tree_util.tree_leaves_with_path(grads):
        name = path_name(path)
        stacked = name.startswith("blocks/")
        total = jnp.sum(jnp.square(g.astype(jnp.float32)), axis=tuple(range(int(stacked), g.ndim)))
        weight = name.rpartition("/")[0] or name
        found[weight] = found[weight] + total if weight in found else total
    return found


@jax.jit
def _dot(a: Tree, b: Tree) -> jax.Array:
    return sum((jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)), jnp.float32(0))


def _length2(grads: Tree) -> float:
    return float(_dot(grads, grads))


def noise(squares: Sequence[float], items: Sequence[float], whole: float) -> Record:
    """Estimates, without bias, of the trace of the covariance of an item's gradient (`noise`) and of the square of the true
    gradient (`signal`), after McCandlish et al. 2018 (arXiv 1812.06162), appendix A.1, with small batches of unequal size.

    `squares` are the squared norms of the mean gradients of batches of `items`, and `whole` that of all of them together. The
    expected square of a mean over n items is signal + noise / n. A single pair may well give a negative number.
    """
    small, big = float(np.mean([1 / n for n in items])), 1 / sum(items)
    trace = (float(np.mean(squares)) - whole) / (small - big)
    return {"noise": trace, "signal": whole - trace * big}


def cosine(first: Sequence[Tree], second: Sequence[Tree], same: bool) -> float:
    """The mean cosine between the halves of two tasks, or between the two halves of one. NaN-free: 0 where one is zero."""
    pairs = [(first[0], first[1])] if same else [(a, b) for a in first for b in second]
    lengths = [math.sqrt(_length2(a) * _length2(b)) for a, b in pairs]
    return float(np.mean([float(_dot(a, b)) / length if length else 0.0 for (a, b), length in zip(pairs, lengths, strict=True)]))


def summary(readings: Sequence[Record]) -> Record:
    """Readings in figures: `layers` and `kinds` are root mean squares of norms, `noise_scale` the number of items at which a
    batch's noise is as large as its signal (None where it was not read, or the signal is lost in noise), `items` those of a
    step, `cosines` means."""
    layers: dict[int, list[float]] = {}
    kinds: dict[str, list[float]] = {}
    for one in readings:
        for name, norm in one["norms"].items():
            kinds.setdefault(name.rpartition("/")[2], []).append(float(np.sum(np.square(norm))))
        blocks = [norm for name, norm in one["norms"].items() if name.startswith("blocks/")]
        for layer, square in enumerate(np.square(blocks).sum(0) if blocks else ()):
            layers.setdefault(layer, []).append(float(square))
    read = [one for one in readings if "noise" in one]
    # Each is averaged by itself: a mean of ratios is biased (the same appendix).
    trace, signal = (float(np.mean([one[name] for one in read])) if read else 0.0 for name in ("noise", "signal"))
    middle = lambda many: math.sqrt(float(np.mean(many)))  # noqa: E731
    return {
        "readings": len(readings), "items": float(np.mean([one["items"] for one in readings])),
        "layers": [middle(many) for many in layers.values()], "kinds": {name: middle(many) for name, many in kinds.items()},
        "noise_read": len(read), "noise_scale": trace / signal if signal > 0 and trace > 0 else None,
        "cosines": {pair: float(np.mean([one["cosines"][pair] for one in readings])) for pair in readings[0].get("cosines", {})},
    }  # fmt: skip
