"""In which order rows are trained on: a pure function of the seed, so that a resumed run sees the same."""

from __future__ import annotations


def order(count: int, epochs: float, seed: int) -> list[int]:
    """Row numbers: all rows once an epoch, shuffled anew for each."""
    import grain

    stream = grain.MapDataset.range(count).shuffle(seed=seed % 2**32).repeat()
    return [int(stream[j]) for j in range(max(1, round(count * epochs)))]
