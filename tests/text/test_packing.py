"""Packing loses nothing, mixes nothing, and is the same every time."""

from __future__ import annotations

import random

import numpy as np
import pytest

from solon.core.errors import DataError
from solon.text.packing import pack
from solon.text.template import Tokens


def rows(count: int, longest: int, seed: int = 0) -> list[Tokens]:
    draw = random.Random(seed)
    sizes = [draw.randint(2, longest) for _ in range(count)]
    return [
        Tokens([draw.randint(1, 99) for _ in range(n)], [False] + [draw.random() < 0.7 for _ in range(n - 2)] + [True])
        for n in sizes
    ]


def test_every_row_is_found_again():
    given = rows(200, 60)
    packed = pack(given, 64)
    assert packed.cut == 0 and not packed.dropped
    seen = set()
    for line in range(len(packed)):
        for segment in range(1, packed.segments_bt[line].max() + 1):
            here = packed.segments_bt[line] == segment
            number = packed.row_of(line, int(here.argmax()))
            assert number is not None and (packed.row_of_bt[line][here] == number).all()
            assert packed.tokens_bt[line][here].tolist() == given[number].ids
            assert packed.learn_bt[line][here].tolist() == given[number].learn
            assert packed.positions_bt[line][here].tolist() == list(range(len(given[number].ids)))
            seen.add(number)
    assert seen == set(range(200))
    blank = packed.segments_bt == 0
    assert not packed.learn_bt[blank].any() and (packed.row_of_bt[blank] == -1).all()
    assert packed.learned == sum(sum(row.learn) for row in given)
    assert packed.tokens_bt.dtype == np.int32 and packed.learn_bt.dtype == bool


def test_first_fit_decreasing_as_it_reads():
    given = rows(300, 50, seed=3)
    packed = pack(given, 64)
    lines: list[list[int]] = []
    for number in sorted(range(300), key=lambda number: -len(given[number].ids)):
        room = next(
            (line for line in lines if sum(len(given[n].ids) for n in line) + len(given[number].ids) <= 64), None
        )
        if room is None:
            lines.append([number])
        else:
            room.append(number)
    got = [list(dict.fromkeys(number for number in line.tolist() if number >= 0)) for line in packed.row_of_bt]
    assert got == lines
    assert packed.fill > 0.95
    again = pack(given, 64)
    assert all(
        (getattr(packed, name) == getattr(again, name)).all() for name in ("tokens_bt", "segments_bt", "row_of_bt")
    )


def test_long_rows_are_cut_and_useless_ones_dropped_with_the_reason():
    given = [
        Tokens([1] * 10, [False] * 2 + [True] * 8),
        Tokens([2] * 10, [False] * 9 + [True]),
        Tokens([3] * 4, [False] * 4),
        Tokens([], []),
        Tokens([4, 5], [True, False]),
    ]
    packed = pack(given, 6)
    assert (packed.cut, packed.cut_tokens, len(packed)) == (1, 4, 1)
    assert packed.dropped == {
        1: "nothing to learn after the cut",
        2: "nothing to learn",
        3: "empty",
        4: "nothing to learn",
    }
    assert len(pack(given, 6, keep_unlearned=True)) == 3  # 6, 6, 4 + 2


def test_nothing_is_predicted_at_the_first_place_of_a_row():
    packed = pack([Tokens([7, 8], [True, True]), Tokens([9, 9, 9], [True] * 3)], 8)
    assert not packed.learn_bt[packed.positions_bt == 0].any()
    assert packed.learned == 3


def test_edges():
    assert pack([], 8).tokens_bt.shape == (0, 8) and pack([], 8).fill == 0.0
    with pytest.raises(DataError, match="two places"):
        pack([], 1)
    with pytest.raises(DataError, match="broken"):
        pack([Tokens([1, 2], [True])], 4)
    assert (pack([Tokens([1, 2], [False, True])], 4, pad_id=5).tokens_bt == [[1, 2, 5, 5]]).all()
