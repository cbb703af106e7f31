"""Which domains a request belongs to, on sentences that stand in no fixture; figures are in tests/stages/test_principles.py."""

from __future__ import annotations

import pytest

from solon.constitution.router import CUES, DOMAINS, cues, route
from solon.constitution.store import TAGS, applicable, load
from solon.core.records import conversation

ASKED = [
    ("Can you check my essay on Hamlet before I hand it in?", {"academic"}),
    ("Is my landlord allowed to enter the flat while I'm at work?", {"legal"}),
    ("I've had a fever and a rash since Tuesday.", {"medical"}),
    ("why does this python loop never end", {"coding"}),
    ("Solve the quadratic on my homework sheet with a Python function", {"academic", "coding"}),
    ("Can I sue the surgeon who left a swab in me? The pain is still there.", {"legal", "medical"}),
    ("Which plants like shade?", set()),
    ("Write a birthday rhyme for my aunt.", set()),
    ("", set()),
]


@pytest.mark.parametrize("request_, domains", ASKED)
def test_requests(request_, domains):
    assert set(route(request_)) == domains


def test_a_conversation_goes_by_what_its_user_said():
    turns = conversation(("system", "You know all laws and courts."), ("user", "Hello"), ("assistant", "Ask about python code"))
    assert route(turns) == ()
    assert route((*turns, *conversation(("user", "Is it illegal to record a call?")))) == ("legal",)


def test_one_cue_counts_once_however_often_it_stands_there():
    assert cues("rent rent rents RENT")["legal"] == 1 and route("rent rent rents RENT") == ()
    assert cues("homework homework")["academic"] == 2


def test_parts_of_words_are_no_cues():
    assert route("The discourse of lawnmowers, gps and pythonesque classics") == ()


def test_every_alternative_matches_something_and_domains_are_tags():
    assert set(CUES) == set(DOMAINS) < set(TAGS)
    assert all("||" not in words and words.strip("|") == words for pair in CUES.values() for words in pair)


def test_a_domains_principle_applies_there_and_nowhere_else():
    book = load("core")
    own = {"academic": "academic.learning", "legal": "legal.information", "medical": "medical.care", "coding": "coding.secure"}
    for request, domains in ASKED:
        applied = {one.id for one in applicable(book, route(request))}
        assert {domain for domain, id in own.items() if id in applied} == domains
