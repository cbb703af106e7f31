"""From token rows to the arrays of one step: packed, with only the places that are scored listed.

All batches of a run share one `Shape`, so that one compiled program serves them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from solon.core.errors import DataError
from solon.text.packing import lines_of, pack
from solon.text.template import Tokens


class Batch(NamedTuple):
    """Packed rows `[b t]` and, flattened over them, the places whose next token is scored.

    `place_n` points into `b * t`; `target_n` is the token to predict there; `sequence_n` is the row it belongs to;
    `weight_n` is what the place counts in a loss: its row's weight, 0 for filling. `last_s` is the place of each row's last token.
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
    """Lines of a batch, tokens of a line, room for scored tokens and for rows."""

    lines: int
    length: int
    scored: int
    rows: int


def batch(rows: Sequence[Tokens], shape: Shape) -> Batch:
    """Pack rows into one batch of the given shape. A row's tokens see only that row."""
    packed = pack(rows, shape.length, keep_unlearned=True)
    if len(packed) > shape.lines or len(rows) > shape.rows or packed.cut:
        raise DataError("the rows do not fit the batch", got=f"{len(rows)} rows, {len(packed)} lines", expected=shape)
    spare = ((0, shape.lines - len(packed)), (0, 0))
    tokens, segments, positions = (np.pad(x, spare) for x in (packed.tokens_bt, packed.segments_bt, packed.positions_bt))
    owner = packed.row_of_bt.reshape(-1)
    target_places = np.flatnonzero(packed.learn_bt)
    filling = (0, shape.scored - len(target_places))
    place, target, sequence = (
        np.pad(x.astype(np.int32), filling)
        for x in (target_places - 1, tokens.reshape(-1)[target_places], owner[target_places])
    )
    weight = np.pad(np.array([row.weight for row in rows], np.float32)[owner[target_places]], filling)
    last = np.zeros(shape.rows, np.int32)
    last[owner[owner >= 0]] = np.flatnonzero(owner >= 0)  # the last assignment of a row wins
    return Batch(tokens, segments, positions, place, target, sequence, weight, last)


def shape_of(groups: Sequence[Sequence[Tokens]], length: int) -> Shape:
    """The smallest shape into which every group of rows fits, with lines of at most `length` tokens: attention costs by the
    length of a line, so lines are no longer than the longest row needs. Raises when a row is longer than `length`."""
    length = line_length([row for group in groups for row in group], length)
    lines = max(len(lines_of([len(row.ids) for row in group], length)) for group in groups)
    scored = max(sum(sum(map(bool, row.learn[1:])) for row in group) for group in groups)
    return Shape(lines, length, -(-max(scored, 1) // 128) * 128, max(map(len, groups)))


def fits(rows: Sequence[Tokens], shape: Shape) -> bool:
    """Whether `batch` can hold these rows."""
    if len(rows) > shape.rows or max((len(row.ids) for row in rows), default=0) > shape.length:
        return False
    scored = sum(sum(map(bool, row.learn[1:])) for row in rows)
    return scored <= shape.scored and len(lines_of([len(row.ids) for row in rows], shape.length)) <= shape.lines


def line_length(rows: Sequence[Tokens], most: int) -> int:
    """The longest row's length, rounded up to a multiple of 128 but never above `most`."""
    longest = max((len(row.ids) for row in rows), default=0)
    if longest > most:
        raise DataError("a row is longer than a line of the batch", got=longest, expected=f"at most {most} tokens")
    return min(-(-max(longest, 1) // 128) * 128, most)


def in_groups(items: Sequence[Sequence[Tokens]], length: int, lines: int) -> list[list[int]]:
    """Numbers of consecutive items, cut so that each group fills at most `lines` lines of `length` tokens. An item is one
    row or more that stay together, as the two replies of a pair do."""
    groups: list[list[int]] = []
    current: list[int] = []
    for i in range(len(items)):
        trial = [*current, i]
        if current and len(lines_of([len(row.ids) for j in trial for row in items[j]], length)) > lines:
            groups.append(current)
            trial = [i]
        current = trial
    return [*groups, current] if current else groups


def filled(items: Sequence[Sequence[Tokens]], most: int, per_group: int) -> list[list[int]]:
    """Numbers of consecutive items in groups of about `per_group`: as many as fill the lines that so many average items
    need. Groups of a fixed number would all be computed at the size of the largest, a third of it filling."""
    if not items:
        return []
    length = line_length([row for item in items for row in item], most)
    tokens = sum(len(row.ids) for item in items for row in item)
    return in_groups(items, length, -(-tokens * per_group // (len(items) * length)))
