"""From token rows to the arrays of one training step: packed, with only the learned places scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from solon.core.errors import DataError


class Row(NamedTuple):
    """One token sequence: ids, which of them are learned, and the number by which the objective knows it."""

    ids: Sequence[int]
    learn: Sequence[bool]


class Batch(NamedTuple):
    """Packed rows `[b t]` and, flattened over them, the places whose next token is scored.

    `place_n` points into `b * t`; `sequence_n` names the row that a scored token belongs to; `weight_n` is 0 for
    filling. `last_s` is the place of each row's last token.
    """

    tokens_bt: np.ndarray
    segments_bt: np.ndarray
    positions_bt: np.ndarray
    place_n: np.ndarray
    target_n: np.ndarray
    sequence_n: np.ndarray
    weight_n: np.ndarray
    last_s: np.ndarray


class Shape(NamedTuple):
    """Sizes that every batch of a run shares, so that one program serves all."""

    lines: int
    length: int
    scored: int
    rows: int


def place(lengths: Sequence[int], length: int) -> list[tuple[int, int]]:
    """First-fit-decreasing: the (line, offset) of each row in lines of `length` tokens."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    filled: list[int] = []
    places = [(0, 0)] * len(lengths)
    for i in order:
        line = next((j for j, used in enumerate(filled) if used + lengths[i] <= length), len(filled))
        if line == len(filled):
            filled.append(0)
        places[i] = (line, filled[line])
        filled[line] += lengths[i]
    return places


def pack(rows: Sequence[Row], shape: Shape) -> Batch:
    """Put rows into one batch of the given shape. A row's tokens see only that row."""
    places = place([len(row.ids) for row in rows], shape.length)
    if places and max(line for line, _ in places) >= shape.lines:
        raise DataError("rows do not fit the batch", got=f"{len(rows)} rows", expected=f"{shape.lines} lines")
    tokens = np.zeros((shape.lines, shape.length), np.int32)
    segments, positions = np.zeros_like(tokens), np.zeros_like(tokens)
    columns: list[list[int]] = [[], [], []]
    last = np.zeros(shape.rows, np.int32)
    for number, (row, (line, start)) in enumerate(zip(rows, places, strict=True)):
        n = len(row.ids)
        span = slice(start, start + n)
        tokens[line, span], segments[line, span], positions[line, span] = row.ids, number + 1, np.arange(n)
        flat = line * shape.length + start
        last[number] = flat + n - 1
        for i in range(1, n):
            if row.learn[i]:
                for column, value in zip(columns, (flat + i - 1, row.ids[i], number), strict=True):
                    column.append(value)
    scored = len(columns[0])
    filled = [np.pad(np.array(c, np.int32), (0, shape.scored - scored)) for c in columns]
    weight = np.pad(np.ones(scored, np.float32), (0, shape.scored - scored))
    return Batch(tokens, segments, positions, filled[0], filled[1], filled[2], weight, last)


def shape_of(groups: Sequence[Sequence[Row]], length: int) -> Shape:
    """The smallest shape into which every group of rows fits; raises when one row is longer than `length`."""
    longest = max((len(row.ids) for group in groups for row in group), default=0)
    if longest > length:
        raise DataError("a row is longer than the training length", got=longest, expected=f"at most {length} tokens")
    lines = max(1 + max(line for line, _ in place([len(r.ids) for r in g], length)) for g in groups)
    scored = max(sum(map(bool, row.learn[1:])) for group in groups for row in [_joined(group)])
    return Shape(lines, length, -(-max(scored, 1) // 128) * 128, max(map(len, groups)))


def _joined(group: Sequence[Row]) -> Row:
    learn = [False]
    for row in group:
        learn.extend(row.learn[1:])
    return Row([], learn)


def order(count: int, per_step: int, epochs: float, seed: int) -> tuple[int, Callable[[int], list[int]]]:
    """Number of steps, and the rows of step `i`: shuffled anew each epoch, a pure function of the seed and `i`."""
    import grain

    per_step = min(per_step, count)
    steps = max(1, round(count * epochs / per_step))
    stream = grain.MapDataset.range(count).shuffle(seed=seed % 2**32).repeat()
    return steps, lambda i: [int(stream[j]) for j in range(i * per_step, (i + 1) * per_step)]
