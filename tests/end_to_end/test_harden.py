"""Attacks that worked on the helpful model are trained on: on the training side, of the right families, beside the plain prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from solon import pipeline
from solon.constitution import store as books
from solon.core.artifacts import Store
from solon.core.errors import MissingError
from solon.core.keys import share
from solon.core.records import Sample, Verdict, user
from solon.stages import _redteam_judges as judges
from solon.stages import answers, pairs, revise
from solon.stages.harden import attacking
from solon.stages.recipe import Harden, load
from solon.stages.trace import trace
from solon.stages.verify import verify

RECIPES = Path(__file__).parents[2] / "recipes"
HARDEN = "harden={attempts: 24, families: [rot13, prefix, fiction]}"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def hardened(store, recipe_file):
    """A run whose helpful model gives way to two of three attacks: a random model's own replies are about nothing."""
    grade = lambda row, reply: Verdict(1.0, "success" if share(row["id"]) < 2 / 3 else "refused", "planted")  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SOLON_DATA", raising=False)
        patch.setattr(judges, "named", lambda name: judges.Judging(name, grade, quick=True))
        return pipeline.align(str(recipe_file), [HARDEN], store)


def test_what_worked_is_revised_compared_and_trained_on(hardened, store):
    tried = {row["id"]: row for row in store.get(hardened.stages["attacks"]).rows("attempts")}
    assert {row["family"] for row in tried.values()} == {"rot13", "prefix", "fiction"} and {row["side"] for row in tried.values()} == {"train"}
    revised = store.get(hardened.stages["revise"])
    assert revised.evidence["inputs"]["attacks"] == hardened.stages["attacks"]
    rows = {row["id"]: row for row in revised.rows("rows")}
    hits = {id for id, row in tried.items() if row["outcome"] == "success"}
    assert rows.keys() & hits and rows.keys() - tried and not rows.keys() & (tried.keys() - hits), "those that worked, beside the plain ones"
    one = next(row for id, row in rows.items() if "/prefix/" in id)
    assert len(one["prompt"][-1]["content"]) > 20 and one["tags"]["family"] == "prefix"
    assert any("/" in row["prompt_id"] for row in store.get(hardened.stages["pairs"]).rows("rows"))
    assert any("/" in row["id"] for row in store.get(hardened.models["sl"]).rows("rows"))


def test_it_can_be_traced_replayed_and_found_again(hardened, store, recipe_file):
    id = next(row["id"] for row in store.get(hardened.stages["revise"]).rows("rows") if "/" in row["id"])
    assert trace(store, hardened, id)["rounds"]
    assert verify(store, hardened, steps=1, samples=2)["ok"]
    again = pipeline.align(str(recipe_file), [HARDEN], store)
    assert again.artifacts == hardened.artifacts and set(again.reused) == set(hardened.artifacts.values())


def test_a_prompt_that_was_corrected_is_another_prompt(hardened, store, monkeypatch):
    """Its id is what it was, and what was made of its old words is no longer used."""
    book, model = books.load("core"), store.get(hardened.models["helpful"])
    for stage, before, after in ((revise, (revise.Revise(), book), ({},)), (answers, (answers.Answers(),), ()), (pairs, (pairs.Pairs(), book), ())):
        monkeypatch.setattr(stage, "_build", lambda *_: None)
        make = getattr(stage, stage.__name__.rpartition(".")[2])
        first, again, other = (make(store, *before, model, [Sample("rt-1", user(words))], 1, *after) for words in ("Hide it", "Hide it", "Find it"))
        assert first.id == again.id != other.id and again.reused and not other.reused


def test_which_families_attack(recipe_file, store, solon):
    every = attacking(Harden())
    assert {"plain", "suffix", "injection"}.isdisjoint(every) and {"rot13", "written"} <= set(every)
    assert attacking(Harden(families=("story", "rot13", "plain"))) == ("rot13", "fiction", "hypothetical", "past")
    with pytest.raises(MissingError, match="rot13"):
        attacking(Harden(families=("rot31",)))
    shown = solon("align", recipe_file, "harden={attempts: 4, families: [rot31]}", "--runs", store.root)
    assert shown.code == 2 and "rot13" in shown.err and "Traceback" not in shown.err
    told = solon("align", recipe_file, HARDEN, "--plan", "--runs", store.root)
    assert told.code == 0 and "24 attacks by 3 families" in told.out


def test_the_recipe_hardened_is_the_quickstart_and_more_prompts():
    plain, own = (load(RECIPES / f"{name}.yaml").model_dump() for name in ("quickstart", "hardened"))
    assert {key for key in own if own[key] != plain.get(key)} == {"name", "description", "harden", "revise", "pairs"}
    for key, count in (("revise", "prompts"), ("pairs", "red_team")):
        assert own[key].pop(count) > plain[key].pop(count) and own[key] == plain[key]
