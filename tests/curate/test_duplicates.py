"""Near duplicates and leaks are found, and rows that merely begin alike are not."""

from __future__ import annotations

import pytest

from solon.curate.duplicates import Leak, distinct, leaks, near_duplicates, similarity
from solon.curate.splits import normalised, side

TEXTS = [
    "How do I bake bread at home?",
    "Who painted the ceiling?",
    "how do i bake BREAD at home",
    "How do I bake bread at home today?",
]


def test_near_duplicates_are_pairs_with_their_similarity():
    found = near_duplicates(TEXTS)
    assert [(first, second) for first, second, _ in found] == [(0, 2), (0, 3), (2, 3)]
    assert found[0][2] == 1.0
    assert found[1][2] == similarity(TEXTS[0], TEXTS[3])
    assert distinct(TEXTS) == [0, 1]


def test_leaks_say_how_they_match():
    found = leaks([TEXTS[0], TEXTS[1], "Something else entirely"], [TEXTS[2], TEXTS[1], TEXTS[3]])
    assert [(leak.train, leak.heldout, leak.match) for leak in found] == [
        (0, 0, "normalised"),
        (0, 2, "near"),
        (1, 1, "exact"),
    ]
    assert isinstance(found[0], Leak)


def test_no_pair_above_the_threshold_is_missed_against_all_pairs():
    words = "when where how why bread water stone light do does can make find keep cold warm".split()
    texts = [" ".join(words[(row * step) % len(words)] for step in range(1, 9)) for row in range(1, 60)]
    found = {(first, second) for first, second, _ in near_duplicates(texts)}
    pairs = ((first, second) for second in range(len(texts)) for first in range(second))
    assert found == {(first, second) for first, second in pairs if similarity(texts[first], texts[second]) >= 0.6}


def test_short_and_empty_texts():
    assert near_duplicates(["", "a", "a", "b"]) == [(1, 2, 1.0)]
    assert near_duplicates([]) == []
    assert leaks([], ["a"]) == []
    assert leaks(["a"], []) == []


def test_a_side_depends_on_the_words_only():
    assert normalised("  Don\u2019t  PANIC, it's_ok! ") == "dont panic its ok"
    assert side("Don't panic", 0.5) == side("dont   PANIC!", 0.5)
    texts = [f"row {number}" for number in range(2000)]
    assert sum(side(text, 0.3) == "heldout" for text in texts) / 2000 == pytest.approx(0.3, abs=0.04)
    assert all(side(text, 0.5) == "heldout" for text in texts if side(text, 0.3) == "heldout")
