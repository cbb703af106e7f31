"""Hard multiple choice: the same questions in orders of the seed, chance as the baseline, and answers that sums confirm."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from importlib.resources import files

import pytest

from solon.curate import starter
from solon.evals.asking import Means, Read, Room
from solon.evals.suites import hard_choices

DATA = {hard_choices.FILES[0]: starter.load("hard_choices")}
ROOM = Room(512, len)


def shown(item) -> list[str]:
    """The options behind their letters, in the order shown."""
    return [line[3:] for line in item.context.split("\n") if line[:3] in ("A. ", "B. ", "C. ", "D. ")]


def test_each_row_has_its_proof():
    rows = [json.loads(line) for line in (files("solon") / "starter" / "hard_choices.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) >= 40 and all(len(row["source"]) > 20 and "\n" not in row["source"] for row in rows)


def test_the_seed_draws_the_order_and_the_right_option_moves_along():
    one, again, other = (hard_choices.items(DATA, seed, ROOM) for seed in (0, 0, 1))
    assert one == again and [item.context for item in one] != [item.context for item in other]
    for left, right, row in zip(one, other, DATA[hard_choices.FILES[0]], strict=True):
        assert sorted(shown(left)) == sorted(shown(right)) == sorted(row.choices)
        assert shown(left)[left.right[0]] == shown(right)[right.right[0]] == row.choices[row.answer]
    places = Counter(item.right[0] for seed in range(20) for item in hard_choices.items(DATA, seed, ROOM))
    assert all(200 < places[i] < 300 for i in range(4))  # 1,000 draws of 1/4: 250, four deviations of 13.7


def test_who_likes_a_letter_gets_chance():
    items = [item for seed in range(20) for item in hard_choices.items(DATA, seed, ROOM)]
    graded = [hard_choices.grade(item, Read((0.0, -1.0, -1.0, -1.0), (1,) * 4), Means()) for item in items]
    assert sum(one.figures["acc"] for one in graded) / len(graded) == pytest.approx(items[0].chance["acc"], abs=0.05)
    knows = [Read(tuple(0.0 if i in item.right else -1.0 for i in range(4)), (1,) * 4) for item in items]
    assert {hard_choices.grade(item, read, Means()).figures["acc"] for item, read in zip(items, knows, strict=True)} == {1.0}


def derangements(n: int) -> int:
    return sum(all(i != x for i, x in enumerate(p)) for p in itertools.permutations(range(n)))


def seatings() -> int:
    """Six at a round table, the first held fast, where 1 and 2 are no neighbours."""
    orders = ((0, *rest) for rest in itertools.permutations(range(1, 6)))
    return sum(abs(o.index(1) - o.index(2)) not in (1, 5) for o in orders)


@pytest.mark.parametrize(
    ("start", "computed"),
    [
        ("Count the positive divisors", str(sum(720 % n == 0 for n in range(1, 721)))),
        ("Which are the last two decimal", f"{pow(7, 2026, 100):02d}"),
        ("What remains when 3", str(pow(3, 100, 7))),
        ("In how many orders can five", str(derangements(5))),
        ("Six people sit", str(seatings())),
        ("Which is the smallest positive integer", "2^53 + 1" if float(2**53 + 1) != 2**53 + 1 and float(2**53) == 2**53 else ""),
        ("Summed over all n", str(round(sum(n / 2**n for n in range(1, 200))))),
        ("What is the pH", f"about {-math.log10((1e-8 + math.sqrt(1e-16 + 4e-14)) / 2):.2f}"),
        ("Light of 600 nm", f"{600e-9 * 2 / 0.3e-3 * 1000:.0f} mm"),
        ("An illness has 1 %", f"about {100 * 0.009 / (0.009 + 0.99 * 0.09):.0f} %"),
    ],
)
def test_what_can_be_computed_is_right(start, computed):
    (row,) = [one for one in starter.load("hard_choices") if one.question.startswith(start)]
    assert row.choices[row.answer] == computed
