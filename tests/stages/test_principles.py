"""Testing a constitution on fixtures: figures against a reference, held-out sides only, judges, and draws that are routed."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from solon.constitution import fixtures
from solon.constitution import store as books
from solon.constitution.judging import Opinion
from solon.constitution.router import route
from solon.core.errors import ConfigError, DataError
from solon.core.records import user
from solon.curate import starter
from solon.curate.duplicates import leaks
from solon.curate.splits import text_of
from solon.stages import principles, revise

ALL = fixtures.load()
CORE = books.load("core")


@pytest.fixture(scope="module")
def measured():
    return principles.by_cues(ALL)


def row(measured, pillar, part=""):
    return next(one for one in measured["rows"] if (one["pillar"], one["slice"]) == (pillar, part))


def test_sides_share_nothing():
    train, heldout = principles.sides(ALL)
    assert len(train) + len(heldout) == len(ALL)
    assert not leaks([one.prompt for one in train], [one.prompt for one in heldout])
    assert abs(len(heldout) / len(ALL) - principles.HELDOUT) < 0.08


def test_a_copy_of_a_held_out_request_is_not_learned_from():
    train, heldout = principles.sides(ALL)
    known = (heldout[0].model_copy(update={"id": f"copy-{n}", "prompt": heldout[0].prompt + "!" * n + " now" * n}) for n in range(1, 4))
    again = principles.sides([*ALL, *known])[0]
    assert [one.id for one in again] == [one.id for one in train]


def test_every_pillar_is_measured_on_held_out_fixtures(measured):
    heldout = principles.sides(ALL)[1]
    assert not measured["left_out"] and measured["heldout"] == len(heldout)
    whole = [one for one in measured["rows"] if not one["slice"]]
    assert {one["pillar"] for one in whole} == set(CORE.pillars)
    for one in whole:
        assert one["broken"] == sum(fixture.pillar == one["pillar"] for fixture in heldout) >= principles.LEAST
        assert one["auc"]["low"] <= one["auc"]["value"] <= one["auc"]["high"] and one["auc"]["low"] < 1
        assert one["auc"]["value"] > 0.6


def test_the_evaluators_know_more_than_length_does(measured):
    whole = [one for one in measured["rows"] if not one["slice"]]
    assert np.mean([one["auc"]["value"] for one in whole]) > 0.75 > 0.1 + np.mean([one["length_auc"]["value"] for one in whole])


@pytest.mark.parametrize(
    "pillar, part",
    [("harm", "physical"), ("harm", "psychological"), ("harm", "social"), ("honesty", "honesty.truth"), ("fairness", "fairness.groups"),
     ("autonomy", "autonomy.pressure"), ("medical", "diagnosis"), ("coding", "coding.secure"), ("legal", "")],
)  # fmt: skip
def test_breaches_are_flagged_more_often_than_replies_that_keep(measured, pillar, part):
    one = row(measured, pillar, part)
    assert one["sensitivity"]["value"] > 1 - one["specificity"]["value"]
    assert one["pairs"]["value"] > 0.5


def test_auc_is_that_of_the_reference_with_ties():
    p = np.random.default_rng(3).integers(0, 5, (17, 2)) / 5
    found = principles._auc(p, "test")
    assert found["value"] == pytest.approx(roc_auc_score(np.tile([0, 1], 17), p.ravel()))
    assert principles._auc(p[:, ::-1], "test")["value"] == pytest.approx(1 - found["value"])
    assert found["low"] < found["value"] < found["high"] and found["n"] == 34


def test_a_perfect_auc_has_an_honest_interval():
    found = principles._auc(np.array([[0.1, 0.9]] * 8), "test")
    assert (found["value"], found["high"]) == (1, 1) and found["low"] == pytest.approx(0.025 ** (1 / 8))


def test_sorts_of_harm_are_told_apart_better_than_by_chance():
    rows = principles.by_kind(ALL)
    assert [one["set"] for one in rows] == ["fixtures", "red team"]
    for one in rows:
        assert one["right"]["low"] > 1 / 3
        assert sum(sum(line.values()) for line in one["table"].values()) == one["right"]["n"]
    assert principles.by_kind([one for one in ALL if one.pillar != "harm"]) == []


def test_the_router_on_fixtures_and_on_requests_it_was_not_made_with():
    rows = {(one["set"], one["domain"]): one for one in principles.by_router(ALL)}
    for domain in ("academic", "legal", "medical", "coding"):
        assert rows["fixtures", domain]["found"]["value"] >= 0.5 and rows["fixtures", domain]["right"]["value"] >= 0.75
        assert rows["requests", domain]["right"]["value"] >= 0.75  # it misses many, and is seldom wrong
    for name, most in (("requests", 0.1), ("ordinary", 0.15), ("fixtures", 0.15)):
        assert 1 - rows[name, "none"]["found"]["value"] < most
    assert rows["ordinary", "none"]["found"]["n"] >= 60
    assert rows["ordinary", "coding"]["found"]["value"] >= 0.7


def test_the_requests_of_the_last_round_are_new():
    last = [one.prompt for one in fixtures.requests()]
    known = [one.prompt for one in ALL] + [text_of(one) for one in starter.load("helpful_prompts")]
    assert len(last) >= 50 and {one.round for one in fixtures.requests()} == {2}
    assert not leaks(known, last)


def test_the_labels_of_ordinary_requests_are_of_held_out_ones():
    heldout = {one.id: text_of(one) for one in starter.load("helpful_prompts", "heldout")}
    named = principles.UNCLEAR.union(*principles.ORDINARY.values())
    assert named <= set(heldout)
    assert not principles.UNCLEAR & frozenset().union(*principles.ORDINARY.values())


class Oracle:
    """Knows the better reply of the pillars it was told; of others it prefers whichever is shown first."""

    name, fitted_on = "oracle", frozenset()

    def __init__(self, pillars):
        self.good, self.pillars = {one.keeps for one in ALL}, pillars

    def prefer(self, questions, progress=None):
        progress(len(questions), len(questions))
        return [Opinion(0.9 if q.principle.pillar not in self.pillars or q.first in self.good else 0.1) for q in questions]


def test_a_judge_is_measured_on_what_it_has_not_seen(monkeypatch):
    given = {}

    def judge_by(kind, book, options, model, labelled):
        given.update(kind=kind, known={one.id for one in labelled})
        return Oracle({"legal", "harm"})

    monkeypatch.setattr(principles, "judge_by", judge_by)
    done = []
    found = principles.by_judge("probe", None, CORE, ALL, done.append)
    train, heldout = principles.sides(ALL)
    assert given == {"kind": "probe", "known": {one.id for one in train}} and sum(done) == len(heldout)
    shares = {one["pillar"]: one["value"] for one in found["rows"]}
    assert shares["legal"] == shares["harm"] == 1
    assert all(0.3 < share < 0.7 for pillar, share in shares.items() if pillar not in ("legal", "harm"))


def test_judges_and_their_models():
    principles.checked_judge("cues", None)
    principles.checked_judge("probe", "tiny")
    for judge, model, said in (("cues", "tiny", "reads no model"), ("self", None, "none was given"), ("prob", None, "did you mean 'probe'")):
        with pytest.raises(ConfigError, match=said):
            principles.checked_judge(judge, model)


def test_too_few_fixtures(measured):
    with pytest.raises(DataError, match="too few fixtures"):
        principles.sides(ALL[:1])
    few = principles.by_cues([*(one for one in ALL if one.pillar == "legal"), *(one for one in ALL if one.pillar == "help")][:33])
    assert few["left_out"].keys() == {"help"} and {one["pillar"] for one in few["rows"]} == {"legal"}


PROMPTS = starter.load("red_team")[:120]


def test_draws_from_one_pillar_are_what_they_were_before_there_was_a_router():
    """The quickstart names the pillar `harm`: not one of its draws may change."""
    config = revise.Revise(pillars=("harm",))
    outside = [one.id for one in CORE.principles if one.pillar != "harm"]
    for number in range(2):
        for one in PROMPTS:
            drawn = revise.drawn(config, CORE, 1, one.id, number, one.prompt)
            assert drawn == books.draw(CORE, 1, one.id, number, exclude=outside)


def test_with_the_whole_book_a_domains_principle_is_drawn_only_in_its_domain():
    config = revise.Revise(pillars=())
    assert revise.routed(config, CORE) and not revise.routed(revise.Revise(), CORE)
    asked = [(one.id, user(one.prompt)) for one in ALL]
    domains = {"academic", "legal", "medical", "coding"}
    drawn = [(route(prompt), revise.drawn(config, CORE, 1, id, number, prompt).pillar) for id, prompt in asked for number in range(3)]
    inside = [pillar for routed, pillar in drawn if pillar in domains and pillar in routed]
    assert len(inside) > 5
    assert not [pillar for routed, pillar in drawn if pillar in domains and pillar not in routed]


def test_a_recipe_of_domains_only_is_not_routed():
    config = revise.Revise(pillars=("legal",))
    assert revise.drawn(config, CORE, 1, "x", 0, user("Which plants like shade?")).id == "legal.information"
