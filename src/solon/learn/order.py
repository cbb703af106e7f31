"""Which rows a training step sees: a pure function of the seed and the step, so that a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Callable


def order(count: int, per_step: int, epochs: float, seed: int) -> tuple[int, Callable[[int], list[int]]]:
    """Number of steps, and the row numbers of step `i`: all rows once an epoch, shuffled anew for each."""
    import grain

    per_step = min(per_step, count)
    steps = max(1, round(count * epochs / per_step))
    stream = grain.MapDataset.range(count).shuffle(seed=seed % 2**32).repeat()
    return steps, lambda i: [int(stream[j]) for j in range(i * per_step, (i + 1) * per_step)]
