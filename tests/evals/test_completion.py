"""The checks of tasks that IFEval does not have: each with a reply that passes and some that nearly do."""

from __future__ import annotations

import pytest

from solon.core.errors import DataError
from solon.evals.completion import CHECKS, fulfilled

EGGS = {"keys": ["a", "b"], "values": {"a": "Graz"}}
TABLE = {"columns": ["Animal", "Legs"], "rows": 2}
CASES = [
    ("any", {"words": ["jam", "honey"]}, ["Strawberry Jam!", "honey"], ["jams", "nothing"]),
    ("none", {"words": ["nut"]}, ["coconut", "nuts"], ["a nut", "NUT"]),
    ("order", {"words": ["one", "two", "three"]}, ["One, two and three", "two one two three"], ["two one three", "one three", "ones twos threes"]),
    ("order", {"words": ["a:", "b:", "a:"]}, ["A: x\nB: y\nA: z"], ["A: x\nB: y"]),
    ("is", {"texts": ["no"]}, ["No.", "**no**", '"No"'], ["No, it is not.", "yes"]),
    ("starts", {"texts": ["t-1:"]}, ["T-1: hello", "**T-1:** hello"], ["Hello T-1:", "T-12: hello"]),
    ("near", {"number": 6.2, "within": 0.1}, ["It is 6.21 miles", "10 km are 6.2 miles"], ["6.4", "about six"]),
    ("near", {"number": 7}, ["7", "3 + 4 = 7"], ["7.1", "77"]),
    ("lines", {"count": 2}, ["a\n\nb\n"], ["a", "a\nb\nc"]),
    ("numbered", {"count": 3}, ["1. a\n2. b\n3. c", "1) a\n2) b\n3) c", "Steps:\n1. a\n2. b\n3. c"], ["1. a\n2. b", "1. a\n3. b\n2. c", "a\nb\nc", "1. a\n2. b\n3. c\n4. d"]),
    ("numbered", {"count": 0}, ["no list here"], ["1. a"]),
    ("initials", {"letters": "MOON"}, ["My\nold\nowl\nnaps", "**M**y\n\n- Old\nOwl\nNaps"], ["My\nold\nowl", "My\nold\nnew\nowl"]),
    ("keys", EGGS, ['{"a": "graz", "b": 3}', '```json\n{"a": "Graz", "b": null}\n```'], ['{"a": "Graz"}', '{"a": "Linz", "b": 3}', '{"a": "Graz", "b": 3, "c": 1}', "a: Graz", '["a", "b"]']),
    ("table", TABLE, ["| Animal | Legs |\n|---|---|\n| hen | 2 |\n| cow | 4 |", "Animal | Legs\n:--- | ---:\nhen | 2\ncow | 4"],
     ["| Animal | Legs |\n|---|---|\n| hen | 2 |", "| Animal | Legs |\n| hen | 2 |\n| cow | 4 |", "hen 2\ncow 4", "| Legs | Animal |\n|---|---|\n| 2 | hen |\n| 4 | cow |"]),
    ("easy", {"letters": 4.5, "words": 8}, ["The cat sat on the mat. It was warm."], ["Extraordinary aerodynamic considerations.", "the cat " * 10]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), CASES)
def test_each_check(name, arguments, good, bad):
    assert [fulfilled(reply, [(name, arguments)]) for reply in good] == [[True]] * len(good)
    assert [fulfilled(reply, [(name, arguments)]) for reply in bad] == [[False]] * len(bad)
    assert fulfilled("", [(name, arguments)]) == fulfilled(" \n", [(name, arguments)]) == [False]
    assert [fulfilled(f"\n  {reply}\n\n", [(name, arguments)]) for reply in good + bad] == [[True]] * len(good) + [[False]] * len(bad)


def test_every_check_is_tried_and_an_unknown_one_is_refused():
    assert {name for name, *_ in CASES} == set(CHECKS)
    assert fulfilled("Here is the tip. " * 40, [("any", {"words": ["tip"]})]) == [False], "the same words over and over are no reply"
    assert fulfilled("no comma", [("punctuation:no_comma", {}), ("any", {"words": ["comma"]})]) == [True, True]
    with pytest.raises(DataError, match=r"(?s)'ordr'.*'order'"):
        fulfilled("x", [("ordr", {"words": []})])
