"""AI feedback prompts: both orders mirror each other, letters are balanced, labels are what the log-probabilities say."""

import math

import pytest

from solon.constitution.compare import clamp, comparison_conversation, few_shot_turns, soft_label
from solon.constitution.judging import Question, both_orders
from solon.constitution.store import load
from solon.core.errors import ConfigError
from solon.core.records import conversation, user

BOOK = load("core")
ASKED = Question("q", user("Hello?"), "FIRST", "SECOND", BOOK.principle("harm.general"))


def test_swapping_swaps_only_the_replies():
    forward, beginning = comparison_conversation(BOOK, ASKED, 1)
    backward, _ = comparison_conversation(BOOK, ASKED, 1, swapped=True)
    assert forward[:-1] == backward[:-1]
    assert "(A) FIRST\n\n(B) SECOND" in forward[-1].content and "(A) SECOND\n\n(B) FIRST" in backward[-1].content
    mirrored = Question("q", ASKED.prompt, "SECOND", "FIRST", ASKED.principle)
    assert comparison_conversation(BOOK, mirrored, 1)[0] == backward
    assert ASKED.principle.comparison_request in forward[-1].content
    assert forward[-2].content.startswith(beginning) and beginning.endswith("(")


def test_the_whole_conversation_is_shown():
    prompt = conversation(("system", "Be brief."), ("user", "Hi"), ("assistant", "Yes?"), ("user", "How?"))
    turns, _ = comparison_conversation(BOOK, Question("q", prompt, "a", "b", ASKED.principle), 1)
    assert "System: Be brief.\n\nUser: Hi\n\nAssistant: Yes?\n\nUser: How?" in turns[-1].content
    assert {turn.role for turn in turns} == {"user", "assistant"}


def test_few_shot_is_balanced_right_and_seeded():
    letters, requests = set(), set()
    for name in range(30):
        turns = few_shot_turns(BOOK, "block", name)
        answers = [turn.content[-2] for turn in turns[1::2]]
        assert sorted(answers) == ["A", "A", "A", "B", "B", "B"]
        for one, asked, letter in zip(BOOK.comparisons, turns[::2], answers, strict=True):
            assert f"({letter}) {one.good}" in asked.content
            assert sum(request in asked.content for request in one.requests) == 1
        letters.add(tuple(answers))
        requests.add(tuple(turn.content for turn in turns))
        assert turns == few_shot_turns(BOOK, "block", name)
    assert len(letters) > 5 and len(requests) > 20
    assert len(few_shot_turns(BOOK, 1, shots=2)) == 4 and few_shot_turns(BOOK, 1, shots=0) == ()


def test_soft_labels():
    assert soft_label(-1.0, -1.0) == 0.5
    assert soft_label(math.log(0.3), math.log(0.1)) == pytest.approx(0.75)
    assert soft_label(-2.0, -5.0) + soft_label(-5.0, -2.0) == pytest.approx(1)
    assert soft_label(0.0, -math.inf) == 1 and soft_label(-math.inf, 0.0) == 0 and soft_label(-5000.0, 0.0) == 0
    assert soft_label(-math.inf, -math.inf) == 0.5


def test_both_orders_cancel_a_bias():
    always_a = both_orders(0.9, 0.9)
    assert always_a.p_first == pytest.approx(0.5)
    assert both_orders(0.8, 0.2).p_first == pytest.approx(0.8)
    assert both_orders(0.8, None).p_first is None and both_orders(None, None).note == "no answer"


def test_clamp():
    assert [clamp(p) for p in (0, 0.45, 1)] == [0.4, 0.45, 0.6]
    assert clamp(1, 0.2, 0.8) == 0.8
    with pytest.raises(ConfigError):
        clamp(0.5, 0.6, 0.7)
