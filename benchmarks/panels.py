"""XLA's product of a few rows with a bf16 matrix beside our kernel's (core/kernels.py): seconds in strict turns, and whether the bits agree.

    make bench BENCH=panels
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.dense import dense
from solon.core.kernels import MANY, InPanels, ready

# Inputs and outputs of SmolLM2-135M: attention, keys, up and down, the table of words.
SHAPES = ((576, 576), (576, 192), (576, 1536), (1536, 576), (576, 49152))
ROWS = (2, 8, 32, 64, 256)
ROUNDS = 15
LAYERS = 8  # as many matrices a call as keep them out of the nearest cache


def main() -> None:
    if not ready(MANY):
        raise SystemExit("the kernel is not for this machine: no compiler, or no bf16 products in AVX-512")
    rng = np.random.default_rng(0)
    all_of = jax.jit(lambda x, matrices: [dense(x, w) for w in matrices])
    print(f"{'rows':>5} {'matrix':>12} {'XLA, ms':>8} {'ours, ms':>8} {'ratio':>6} {'GF/s':>6}  bits")
    for ins, outs in SHAPES:
        count = LAYERS if outs < 10_000 else 1
        plain = [jnp.asarray(rng.normal(size=(ins, outs)), jnp.bfloat16) for _ in range(count)]
        panels = [InPanels.of(w) for w in plain]
        for rows in ROWS:
            x = jnp.asarray(rng.normal(size=(rows, ins)), jnp.float32)
            same = all(np.array_equal(a, b) for a, b in zip(all_of(x, plain), all_of(x, panels), strict=True))
            theirs, ours = (statistics.median(each) / count for each in turns(lambda: all_of(x, plain), lambda: all_of(x, panels)))  # noqa: B023
            rate = 2 * rows * ins * outs / ours / 1e9
            print(f"{rows:5} {f'{ins} x {outs}':>12} {theirs * 1e3:8.3f} {ours * 1e3:8.3f} {theirs / ours:6.2f} {rate:6.0f}  {'the same' if same else 'others'}")


def turns(*works: Callable[[], Any]) -> list[list[float]]:
    """Seconds of each, A B A B."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, taken in zip(works, seconds, strict=True):
            begin = time.perf_counter()
            jax.block_until_ready(work())
            taken.append(time.perf_counter() - begin)
    return seconds


if __name__ == "__main__":
    main()
