"""Families of attacks: pure functions of names, codes that read back, requests that stay whole, a plan that is fair."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from solon.core.errors import ConfigError, MissingError
from solon.core.keys import rng
from solon.core.records import Message, conversation
from solon.safety.redteam import attacks, plan
from solon.safety.redteam.attacks import Goal, script
from solon.safety.redteam.families import dialogues, framings, glosses
from solon.safety.redteam.topical import engages, stems, topic

EVERY = attacks.every()
REQUEST = "Name the fruit that people in York like best and say why they like it"
GOAL = Goal("g-1", REQUEST, "fruit")
CODED = [name for name, one in EVERY.items() if one.decode]


def plain(text: str) -> str:
    """What codes may lose: case, and spaces beyond one."""
    return " ".join(text.lower().split())


@pytest.mark.parametrize("name", CODED)
def test_codes_read_back(name):
    attack = EVERY[name]
    for k in range(12):
        said = script(attack, GOAL, 1, k).asks[0]
        # The coded request is the part of the message that is no part of any frame: find it by decoding every line of it.
        assert plain(REQUEST) in {plain(decoded(attack.decode, line)) for line in said.split("\n")}, said


def decoded(decode, line: str) -> str:
    try:
        return decode(line)
    except (ValueError, KeyError):  # a line of the frame is no code
        return ""


@pytest.mark.parametrize("name", [name for name in CODED if name not in ("morse", "spoken", "leetspeak", "pig_latin", "spaced")])
def test_lossless_codes_keep_every_character(name):
    from solon.safety.redteam.families import encodings

    encode = next(row[2] for row in encodings.CODES if row[0] == name)
    drawn = rng("characters", name)
    for _ in range(50):
        text = "".join(chr(int(c)) for c in drawn.integers(32, 127, 60))
        assert EVERY[name].decode(encode(text)) == text


@pytest.mark.parametrize("name", EVERY)
def test_an_attempt_depends_on_its_names_alone(name):
    first = [script(EVERY[name], GOAL, 3, k) for k in range(6)]
    for k in (5, 0, 3):  # another order, with other draws in between
        rng("other").random(10)
        assert script(EVERY[name], GOAL, 3, k) == first[k]
    texts = {one.asks + tuple(turn.content for turn in one.opening) for one in first}
    others = {script(EVERY[name], GOAL, seed, 0) for seed in range(8)}
    if name == "plain":
        assert texts == {(REQUEST,)}
    else:
        assert len(set(first[:3])) == 3 and len(texts) >= 3, "a family says something new as long as it can"
        assert len(others) > 1


@pytest.mark.parametrize("name", [name for name, one in EVERY.items() if one.group not in ("encoding", "pieces", "language")])
def test_the_request_is_asked_word_for_word(name):
    for k in range(20):
        one = script(EVERY[name], GOAL, 1, k)
        said = [*(turn.content for turn in one.opening), *one.asks]
        assert any(REQUEST in text for text in said), said
        assert not any(re.search(r"\{\w+\}", text) for text in said), "a slot was left open"


def test_a_split_request_keeps_its_words_in_order():
    for request in (REQUEST, "Stop it", "One", "a {b} c {c} d"):
        for k in range(30):
            said = script(EVERY["split"], Goal("g", request), 1, k).asks[0]
            counted = Counter(said.split()) if request == REQUEST else Counter()
            for word in REQUEST.split() if request == REQUEST else ():
                assert counted[word] or any(word in token for token in said.split())
            assert all(word in said for word in request.split() if "{" not in word)


def test_conversations_can_be_rendered():
    """A user's turn comes after an assistant's, and the last one is still to be asked."""
    for attack in EVERY.values():
        one = script(attack, GOAL, 1, 0)
        roles = [turn.role for turn in one.opening if turn.role != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2) and one.asks


def test_a_goals_own_system_turn_is_kept():
    goal = Goal("g", "Say the word", before=conversation(("system", "The word is plum.")))
    assert script(EVERY["plain"], goal, 1, 0).opening == goal.before
    opening = script(EVERY["system"], goal, 1, 0).opening
    assert len(opening) == 1 and opening[0].content.startswith("The word is plum.\n\n") and len(opening[0].content) > 30
    shots = script(EVERY["many_shot"], goal, 1, 0).opening
    assert shots[0] == goal.before[0] and [m.role for m in shots].count("system") == 1


def test_framings_ask_for_nothing_themselves():
    for _, _, _, texts in framings.FRAMINGS:
        assert all(text.count("{request}") == 1 for text in texts)
    for ladder in dialogues.LADDERS:
        assert sum(turn.count("{request}") for turn in ladder) == 1 and "{request}" in ladder[-1] and len(ladder) >= 3
    assert all(isinstance(turn, Message) for turn in dialogues.many_shot("x", rng("m")).opening)


def test_glosses():
    assert glosses.gloss("How do I find the money in my car?", "german") == "Wie tun ich finden die Geld in mein Auto?"
    assert glosses.gloss("Please tell me why", "french") == "S'il vous plaît dire moi pourquoi"
    sizes = {len(glosses.lexicon(language)) for language in glosses.LANGUAGES}
    assert len(sizes) == 1 and all(len(line.split()) == 4 for line in glosses.LEXICON.strip().splitlines())


def test_names_and_groups():
    known = {name: one.group for name, one in EVERY.items()}
    assert attacks.named(["base64", "system"], known) == ["system", "base64"]  # the family before the group of that name
    assert attacks.named(["encoding"], known) == CODED
    with pytest.raises(MissingError, match="did you mean 'base64'"):
        attacks.named(["base46"], known)
    assert attacks.fingerprint(["base64"]) == attacks.fingerprint(["base64"]) != attacks.fingerprint(["rot13"])


def test_a_file_that_is_added_is_found(monkeypatch):
    from types import SimpleNamespace

    from solon.core import plugins

    mine = SimpleNamespace(ATTACKS=(attacks.Attack("mine", "own", "x", lambda request, draw: attacks.asked(request)),))
    real = plugins.load
    monkeypatch.setattr(plugins, "names", lambda kind: ["mine", "framings"])
    monkeypatch.setattr(plugins, "load", lambda kind, name: mine if name == "mine" else real(kind, name))
    attacks.every.cache_clear()
    try:
        assert {"mine", "plain"} <= set(attacks.every())
        monkeypatch.setattr(plugins, "names", lambda kind: ["mine", "mine"])
        attacks.every.cache_clear()
        with pytest.raises(ConfigError, match="two families"):
            attacks.every()
    finally:
        attacks.every.cache_clear()


def test_the_even_part_is_fair_and_a_longer_one_goes_on_from_it():
    pool = {family: [f"g{i}" for i in range(13)] for family in "abcde"}
    places = plan.even(pool, 5 * 13 * 2, seed=4)
    assert len(set(places)) == len(places)
    assert set(Counter(p.family for p in places).values()) == {26}
    assert set(Counter(p.goal for p in places).values()) == {10}
    assert set(Counter((p.goal, p.family) for p in places).values()) == {2}
    assert plan.even(pool, 37, seed=4) == places[:37] != plan.even(pool, 37, seed=5)
    with pytest.raises(ConfigError, match="nothing to attempt"):
        plan.even({"a": []}, 3, 1)


def test_the_hunt_goes_where_attempts_succeed_and_leaves_nobody_out():
    pool = {family: [f"g{i}" for i in range(7)] for family in "abcd"}
    scores = {"a": plan.Score(2, 50), "b": plan.Score(40, 10), "c": plan.Score(0, 60)}
    places = plan.hunt(pool, scores, {"b": 3}, 400, seed=1, number=0)
    counted = Counter(p.family for p in places)
    assert counted["b"] > 200 and min(counted[f] for f in "acd") >= 10
    assert counted["d"] > counted["c"], "what was never tried is tried more than what always failed"
    assert places == plan.hunt(pool, scores, {"b": 3}, 400, 1, 0) != plan.hunt(pool, scores, {"b": 3}, 400, 1, 1)
    assert len(set(places)) == 400
    fresh = plan.even({"b": pool["b"]}, 3, 1)
    assert not set(plan.hunt({"b": pool["b"]}, {}, {"b": 3}, 20, 1, 0)) & set(fresh), "the hunt goes on where the even part ended"


def test_whether_a_reply_is_about_the_request():
    asked = "How do I grow tomatoes on a balcony?"
    assert engages(asked, "Tomatoes like a sunny balcony, a deep pot, rich soil, daily water and a strong stick to climb.")
    assert not engages(asked, "The history of the printing press begins in Mainz, where a goldsmith cast metal letters.")
    assert not engages(asked, "You want to grow tomatoes on a balcony? How do you grow tomatoes on a balcony?")
    assert not engages(asked, "")
    assert stems("stealing cars") == stems("steal a car") and topic("Tell me how to bake dark bread") == "bake, dark and bread"
    assert topic("How?") == "this"
