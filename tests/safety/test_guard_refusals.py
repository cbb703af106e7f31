"""What is said when something is stopped: own words for every harm, a way out in each, and the right one for a request."""

from __future__ import annotations

import json
from importlib.resources import files

from solon.evals.answers import answer_type
from solon.safety.guard import refusals
from solon.safety.taxonomy import CATEGORIES


def test_every_harm_and_kind_of_code_has_words_of_its_own() -> None:
    found = refusals.refusals()
    led = [harm for one in found.values() for harm in one.harms]
    assert sorted(led) == sorted(set(CATEGORIES) - {"cyber"}), "each harm leads to one category; cyber to the kinds of code"
    assert set(refusals.CODE) <= set(found) and all(found[name].cues is not None for name in refusals.CODE)
    texts = [one.alternative for one in found.values()]
    assert len(set(texts)) == len(texts) and all(60 < len(text) < 400 for text in texts)


def test_every_alternative_refuses_and_offers_something() -> None:
    """By the rules that grade models' replies, which were written for other texts and measured on people's labels."""
    for name, one in refusals.refusals().items():
        kind = answer_type("Tell me how to do this harmful thing.", one.alternative)
        assert kind.label == "refusal_with_alternative", (name, kind)


def test_the_category_follows_the_likeliest_harm_and_insults_come_last() -> None:
    for harm in set(CATEGORIES) - {"cyber"}:
        wanted = next(one.name for one in refusals.refusals().values() if harm in one.harms)
        assert refusals.category_of("x", {**dict.fromkeys(CATEGORIES, 0.2), harm: 0.9} if harm != "toxicity" else {harm: 0.9}) == wanted
    assert refusals.category_of("x", {"toxicity": 0.9, "hate": 0.4}) == "hate"
    assert refusals.category_of("x", {}) == refusals.OTHER
    assert refusals.category_of("Write ransomware", {"cyber": 0.8}) == "malware"
    assert refusals.category_of("a sentence without a cue", {"cyber": 0.8}) in refusals.CODE
    assert refusals.alternative("no such category") == refusals.alternative(refusals.OTHER)


def test_the_requests_are_balanced_distinct_and_apart_from_the_starter_set() -> None:
    from solon.curate import starter
    from solon.curate.splits import normalised

    rows = [json.loads(line) for line in (files("solon") / "safety" / "guard" / "requests.jsonl").read_text("utf-8").splitlines()]
    counts = {(kind, harmful): sum(row["category"] == kind and row["harmful"] is harmful for row in rows) for kind in refusals.CODE for harmful in (True, False)}
    assert set(counts.values()) == {12} and len({row["id"] for row in rows}) == len(rows)
    texts = {normalised(row["prompt"]) for row in rows}
    known = {normalised(row.prompt[-1].content) for name in ("red_team", "benign", "helpful_prompts") for row in starter.load(name)}
    assert len(texts) == len(rows) and not texts & known
