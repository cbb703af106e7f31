"""Rows of tokens into arrays of one length, several rows to a line. Rows never see each other, because every
place carries the number of its row in the line (segment) and its position in the row."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from solon.core.errors import DataError
from solon.text.template import Tokens

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Packed:
    """Lines of `t` places. `learn_bt[b, t]` says whether *predicting* `tokens_bt[b, t]` is learned, so it is false at the
    first place of every row: pair it with the logits of place `t - 1`."""

    tokens_bt: np.ndarray  # int32
    learn_bt: np.ndarray  # bool
    segments_bt: np.ndarray  # int32: 0 is padding, then 1, 2, ... in each line
    positions_bt: np.ndarray  # int32: from 0 in each row
    row_of_bt: np.ndarray  # int32: index into the rows that were given, -1 for padding
    cut: int = 0  # rows that were longer than a line
    cut_tokens: int = 0  # tokens lost by that
    dropped: dict[int, str] = field(default_factory=dict)  # row index to the reason

    def __len__(self) -> int:
        return len(self.tokens_bt)

    def row_of(self, line: int, place: int) -> int | None:
        """The index of the row that a place belongs to; None for padding."""
        row = int(self.row_of_bt[line, place])
        return None if row < 0 else row

    @property
    def fill(self) -> float:
        """The share of places that hold a token."""
        return float((self.segments_bt > 0).mean()) if self.segments_bt.size else 0.0

    @property
    def learned(self) -> int:
        """The number of tokens to be predicted."""
        return int(self.learn_bt.sum())


def pack(rows: Sequence[Tokens], length: int, pad_id: int = 0, keep_unlearned: bool = False) -> Packed:
    """Pack rows first-fit-decreasing: the longest first, each into the first line with room; equals in given order.

    A row longer than `length` is cut at its end and counted; one with nothing left to learn is dropped with the reason
    (unless `keep_unlearned`). The same rows give the same arrays on every machine."""
    kept, dropped, cut, lost = _fitting(rows, length, keep_unlearned)
    order = sorted(kept, key=lambda row: -_size(rows[row], length))
    return _filled(
        rows, _first_fit(order, [_size(row, length) for row in rows], length), length, pad_id, cut, lost, dropped
    )


def _size(row: Tokens, length: int) -> int:
    return min(len(row.ids), length)


def _fitting(rows: Sequence[Tokens], length: int, keep_unlearned: bool) -> tuple[list[int], dict[int, str], int, int]:
    """The rows to keep, the others with the reason, how many rows were cut, and how many tokens that cost."""
    if length < 2:
        raise DataError("a line needs at least two places", got=length)
    kept: list[int] = []
    dropped: dict[int, str] = {}
    cut = lost = 0
    for number, row in enumerate(rows):
        if len(row.ids) != len(row.learn):
            raise DataError(
                f"row {number} is broken", got=f"{len(row.learn)} marks", expected=f"{len(row.ids)}, one a token"
            )
        # The first token has nothing before it to be predicted from.
        if not row.ids:
            dropped[number] = "empty"
        elif not any(row.learn[1:length]) and not keep_unlearned:
            dropped[number] = "nothing to learn after the cut" if any(row.learn[1:]) else "nothing to learn"
        else:
            kept.append(number)
            cut += len(row.ids) > length
            lost += max(0, len(row.ids) - length)
    return kept, dropped, cut, lost


def lines_of(sizes: Sequence[int], length: int) -> list[list[int]]:
    """Row numbers line by line, as `pack` places rows of these sizes."""
    return _first_fit(sorted(range(len(sizes)), key=lambda row: -sizes[row]), sizes, length)


def _first_fit(order: Sequence[int], sizes: Sequence[int], length: int) -> list[list[int]]:
    """Lines of row numbers. Lines are grouped by the room they have left, so a row costs one look at each amount of room
    (at most `length`) and not at each line."""
    lines: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    rooms: list[int] = []
    for row in order:
        size = sizes[row]
        fitting = rooms[bisect_left(rooms, size) :]
        room = min(fitting, key=lambda room: by_room[room][0], default=None)
        if room is None:
            lines.append([row])
            line, left = len(lines) - 1, length - size
        else:
            line, left = heapq.heappop(by_room[room]), room - size
            if not by_room[room]:
                del by_room[room]
                rooms.remove(room)
            lines[line].append(row)
        if left not in by_room:
            by_room[left] = []
            rooms.insert(bisect_left(rooms, left), left)
        heapq.heappush(by_room[left], line)
    return lines


def _filled(
    rows: Sequence[Tokens],
    lines: Sequence[Sequence[int]],
    length: int,
    pad_id: int,
    cut: int,
    lost: int,
    dropped: dict[int, str],
) -> Packed:
    import numpy as np

    shape = (len(lines), length)
    tokens_bt, row_of_bt = np.full(shape, pad_id, np.int32), np.full(shape, -1, np.int32)
    segments_bt, positions_bt = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    learn_bt = np.zeros(shape, bool)
    for line, members in enumerate(lines):
        start = 0
        for segment, number in enumerate(members, 1):
            size = _size(rows[number], length)
            place = (line, slice(start, start + size))
            tokens_bt[place] = rows[number].ids[:size]
            learn_bt[place] = rows[number].learn[:size]
            learn_bt[line, start] = False
            segments_bt[place], positions_bt[place], row_of_bt[place] = segment, np.arange(size), number
            start += size
    return Packed(tokens_bt, learn_bt, segments_bt, positions_bt, row_of_bt, cut, lost, dropped)
