"""Reading replies: numbers, answer lines, labelled parts and citations, plain and tricky."""

from __future__ import annotations

import pytest

from solon.evals import reading


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1,250 and $3.50, then -7", [1250, 3.5, -7]), ("It is 42.", [42]), ("no digits, but twenty and seven", [20, 7]), ("", []),
        ("A4 paper", []), ("44m and 250g", [44, 250]), ("3*4=12", [3, 4, 12]), ("12%", [12]), ("10-12", [10, 12]), ("1240 degrees", [1240]), ("**7**", [7]),
        ("1,2 and 3", [1, 2, 3]), ("−5", [-5]), ("7.", [7]), ("it costs 9€", [9]),
    ],
)  # fmt: skip
def test_numbers(text, want):
    assert reading.numbers(text) == want


@pytest.mark.parametrize(
    ("text", "accepted", "want"),
    [
        ("39 euros", ["39"], True), ("24 + 15 = 39.00", ["39"], True), ("39 of 50", ["39"], False), ("thirty", ["30"], True),
        ("139", ["39"], False), ("39.5", ["39"], False), ("", ["39"], False), ("Ottawa", ["ottawa"], True), ("**OTTAWA**", ["ottawa"], True),
        ("Ottawan", ["ottawa"], False), ("1,240", ["1240"], True), ("39 for 5 people", ["39"], True), ("39 (12 more)", ["39"], True), ("not 12 but 39", ["39"], True),
        ("12, not 39", ["39"], False), ("since 12 + 27 = 39", ["39"], True), ("39 because 24 + 15 is 39", ["39"], True),
    ],
)  # fmt: skip
def test_gives(text, accepted, want):
    assert reading.gives(text, accepted) == want


@pytest.mark.parametrize(
    ("reply", "last", "want"),
    [
        ("Ben", True, True), ("Ben is taller than Cleo. So Cleo is second.", True, False), ("Cleo. Ben is taller.", False, False),
        ("Ben. He stands behind Eva.", False, True), ("Ben or Cleo", True, False), ("First Eva, then Ben.\nAnswer: Ben", True, True),
        ("Ben is second.\nAnswer: Cleo", True, False), ("Answer: Ben or Cleo", True, False), ("", True, False), ("Dan", True, False),
        ("Ben, not Cleo", True, True), ("Cleo, not Ben", True, False), ("Not Cleo but Ben", True, False), ("Ben (Eva is taller)", True, True),
        ("**Answer:** **Ben**", True, True), ("The final answer is: Ben.", True, True), ("ben", True, True),
    ],
)  # fmt: skip
def test_concludes_with_a_name(reply, last, want):
    assert reading.concludes(reply, ["Ben"], ["Ben", "Cleo", "Dan", "Eva"], last) == want


def test_concludes_with_a_number():
    assert reading.concludes("3 * 4 = 12, and 20 - 14 = 6", ["6"]) and reading.concludes("Six", ["6"])
    assert reading.concludes("It is 6, not 7", ["6"]) and not reading.concludes("It is 6 or 7", ["6"]), "the last number counts"
    assert reading.concludes("Answer: 6\nI checked it 2 times.", ["6"]) and not reading.concludes("Answer: none, 6 is wrong 7", ["6"])


@pytest.mark.parametrize(
    ("reply", "want"),
    [
        ("Step one.\nAnswer: 6", "6"), ("answer = 6", "6"), ("**Answer:** 6\n\n", "6"), ("Answer: 6\nThat was easy.", None), ("6", None),
        ("The answer is 6", None), ("`Answer: 6`", "6`"), ("", None), ("Answer:", None), ("My answer: blue", "blue"),
    ],
)  # fmt: skip
def test_answer_line(reply, want):
    assert reading.answer_line(reply) == want


@pytest.mark.parametrize(
    ("reply", "want"),
    [
        ("So the answer is 6.", "6."), ("Answer: 6\nThat was easy.", "6"), ("**Answer:** 6", "6"), ("The answer is: blue", "blue"), ("Answer:", None),
        ("I have no answer.", None), ("The answer is 5. No, the answer is 6.", "6."), ("It is 6.", None), ("", None),
    ],
)  # fmt: skip
def test_stated_answer(reply, want):
    assert reading.stated_answer(reply) == want


@pytest.mark.parametrize(
    ("reply", "want"),
    [
        ("First 3 * 4 = 12. Then 20 - 12 = 8.\nAnswer: 8", True), ("Answer: 8", False), ("8", False), ("It is 8 because of it.\nAnswer: 8", False),
        ("1. Take three from five.\n2. Add one to that.\nAnswer: 3", True), ("", False), ("Well. So. Yes.\nAnswer: 3", False),
    ],
)  # fmt: skip
def test_chain(reply, want):
    assert reading.has_chain(reply) == want


@pytest.mark.parametrize(
    ("reply", "want"),
    [
        ("a: 24\nb: 15\nFinal: 39", {"a": "24", "b": "15", "Final": "39"}), ("**a)** 24\n- b. 15\n**Final:** 39", {"a": "24", "b": "15", "Final": "39"}),
        ("A: 24\nPart B: 15\nfinal: 39", {"a": "24", "b": "15", "Final": "39"}), ("a: 24, b: 15", {"a": "24, b: 15"}), ("no parts here", {}), ("", {}),
        ("a) What is it?\nIt is 24.\nFinal: 3", {"a": "What is it?\nIt is 24.", "Final": "3"}), ("a: 1\na: 2", {"a": "2"}), ("a dog\nbe: 2", {}),
        ("Finally: 3", {}), ("a - 24", {"a": "24"}),
    ],
)  # fmt: skip
def test_parts(reply, want):
    assert reading.parts(reply, ["a", "b", "Final"]) == want


@pytest.mark.parametrize(
    ("reply", "want"),
    [
        ("It is 5 [2].", [2]), ("[1][3]", [1, 3]), ("[1, 3] and [3]", [1, 3]), ("[1 and 4]", [1, 4]), ("[passage 2]", [2]), ("(2)", []), ("2", []),
        ("[two]", []), ("", []), ("[ 12 ]", [12]), ("[2", []),
    ],
)  # fmt: skip
def test_citations(reply, want):
    assert reading.citations(reply) == want
    assert not reading.citations(reading.uncited(reply))


def test_holds_finds_an_answer_in_running_words():
    assert reading.holds("It opened in 1926, 115 years on.", ["1926"]) and not reading.holds("It opened in 1927.", ["1926"])
    assert reading.holds("Made of turf, mostly", ["turf"]) and not reading.holds("surf and turfs", ["turf"])
