"""The whole method on a tiny random model: what it makes, what it keeps, and what it can prove afterwards."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest

from solon import pipeline
from solon.core.artifacts import Store, file_digest
from solon.core.errors import MissingError, SolonError
from solon.stages import _guard_data, guard
from solon.stages.evidence import commands
from solon.stages.recipe import load
from solon.stages.runs import find
from solon.stages.trace import trace
from solon.stages.verify import verify

ROLES = ["base", "helpful", "sl", "aligned"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def run(store, recipe_file):
    return pipeline.align(str(recipe_file), [], store)


def changed(before, after):
    """The roles whose artifact is another one."""
    return {role for role, id in before.artifacts.items() if after.artifacts[role] != id}


def test_it_makes_four_models_and_the_report(run, store):
    page = (store.root / run.id / "report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    report = json.loads((store.root / run.id / "report.json").read_text())
    assert list(report["models"]) == ROLES and set(run.models) == set(ROLES[1:])
    for figures in report["models"].values():
        assert {"harmful_compliance", "over_refusal", "bleu", "multiple_choice", "perplexity"} <= set(figures)
        for figure in figures.values():
            assert figure["n"] > 0 and len(figure["ci"]) == 2 and isinstance(figure["value"], float)
    for pair in report["pairs"]:
        assert pair["test"] and 0 <= pair["p"] <= 1 and "effect" in pair
    assert report["verdict"]["release"] is False and report["verdict"]["conditions"]
    assert report["lineage"] and report["revisions"] and report["certificate"]
    assert not run.reused


def test_a_second_call_makes_nothing(run, store, recipe_file, monkeypatch):
    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("solon.learn.trainer.train", never)
    again = pipeline.align(str(recipe_file), [], store)
    assert again.artifacts == run.artifacts and set(again.reused) == set(run.artifacts.values())


def test_verify_replays_it(run, store):
    found = verify(store, run, steps=2, samples=4)
    assert found["ok"], [one for one in found["checks"] if not one["same"]]
    what = {(one["role"], one["what"]) for one in found["checks"]}
    assert {(role, "first 2 training steps") for role in run.models} <= what
    assert {(role, "replies") for role in ("revise", "answers", "pairs", "evaluate base", "evaluate aligned")} <= what


def test_verify_names_what_was_changed(run, store):
    early = store.get(run.models["sl"]).path / "early.json"
    kept = early.read_text()
    early.write_text(kept.replace("a", "b"))
    found = verify(store, run, steps=0, samples=0)
    early.write_text(kept)
    wrong = [one for one in found["checks"] if not one["same"]]
    assert not found["ok"] and [one["role"] for one in wrong] == ["sl"] and "early.json" in wrong[0]["note"]


def test_verify_sees_through_a_forgery(run, store):
    """Files and hashes changed together: only the replay can tell."""
    one = store.get(run.models["helpful"])
    files = {name: (one.path / name).read_text() for name in ("history.json", "evidence.json")}
    history = one.read("history.json")
    history[0]["loss"] -= 1e-4
    (one.path / "history.json").write_text(json.dumps(history))
    forged = json.loads(files["evidence.json"])
    next(o for o in forged["outputs"] if o["path"] == "history.json")["sha256"] = file_digest(one.path / "history.json")
    (one.path / "evidence.json").write_text(json.dumps(forged))
    try:
        found = verify(store, replace(run, models={"helpful": one.id}, stages={}, evaluations={}), steps=1, samples=0)
    finally:
        for name, text in files.items():
            (one.path / name).write_text(text)
    assert [(c["what"], c["same"]) for c in found["checks"]] == [("files", True), ("first 1 training steps", False)]
    assert "the loss of step 1" in found["checks"][1]["note"]


def test_trace_walks_back(run, store):
    rows = [row["id"] for row in store.get(run.models["aligned"]).rows("rows") if not row.get("dropped")]
    id = next(id for id in rows if id.startswith("rt-"))
    found = trace(store, run, id)
    assert found["prompt"][0]["content"].startswith("Help me") and found["first"]
    assert len(found["rounds"]) == 2 and found["rounds"][0]["text"] and "critique" in found["rounds"][0]
    assert 0 <= found["pair"]["p_first"] <= 1 and found["pair"]["text"]
    assert found["judge"]["name"] and found["judge"]["accepted"] in (True, False)
    assert found["sources"]["stages"]["revise"] == run.stages["revise"]
    assert any(one["role"] == "aligned" for one in found["trained"])
    with pytest.raises(MissingError, match="near it: .*rt-"):
        trace(store, run, "rt-9999")
    for row in store.get(run.models["sl"]).rows("rows"):
        assert trace(store, run, row["id"])["trained"]


def test_commands_look_back(run, store, solon):
    shown = solon("show", "latest:aligned", "--runs", store.root, "--json")
    assert shown.code == 0 and json.loads(shown.out)["parameters"] > 0
    shown = solon("verify", "latest", "--steps", 0, "--samples", 0, "--runs", store.root, "--json")
    assert shown.code == 0 and json.loads(shown.out)["ok"]
    row = next(store.get(run.models["sl"]).rows("rows"))["id"]
    assert solon("trace", "latest", row, "--runs", store.root).code == 0
    listed = solon("trace", "latest", "--runs", store.root)
    assert listed.code == 0 and all(f"{role}: " in listed.out for role in ("helpful", "sl", "aligned"))
    every = json.loads(solon("trace", "latest", "--runs", store.root, "--json").out)
    assert row in {one["id"] for one in every} and all(one["request"] for one in every)
    shown = solon("trace", "latest", "nobody", "--runs", store.root)
    assert shown.code == 2 and "near it" in shown.err


def test_a_changed_key_redoes_only_what_depends_on_it(run, store, recipe_file):
    after = pipeline.align(str(recipe_file), ["dpo.beta=0.2"], store)
    assert changed(run, after) == {"aligned", "evaluate aligned", "compare"}
    assert find(store, "latest").id == after.id != run.id


EVIDENCE = "evidence={redteam: 24, suites: {swaps: 1, unanswerable: 4}, classify: true}"


@pytest.mark.slow
def test_it_gathers_the_evidence_that_a_release_asks_for(run, store, recipe_file, solon, word_classifier, monkeypatch):
    """No stage changes, and the commands that the plan names find all of it made."""
    monkeypatch.delenv("SOLON_DATA", raising=False)
    word_classifier("the", "ri")
    after = pipeline.align(str(recipe_file), [EVIDENCE], store)
    assert after.artifacts == run.artifacts and after.id != run.id
    report = json.loads((store.root / after.id / "report.json").read_text())
    assert set(report["red_team"]["total"]) == {"base", "aligned"} and report["red_team"]["families"] and report["red_team"]["pair"]
    assert {row["suite"] for row in report["bias"]["rows"]} == {"swaps"} and report["bias"]["rows"][0]["models"].keys() == {"base", "aligned"}
    assert {row["suite"] for row in report["calibration"]["rows"]} == {"unanswerable"}
    conditions = {one["key"]: one for one in report["verdict"]["conditions"]}
    assert conditions["classifier"]["measured"] != "not measured" and "card-of-the-test" in conditions["classifier"]["measured"]
    before = sorted(path.name for path in (store.root / "artifacts").iterdir())
    for command in commands(load(recipe_file, [EVIDENCE]).evidence, after.id):
        shown = solon(*command.split()[1:], "--runs", store.root, "--json")
        assert shown.code == (1 if " release " in command else 0) and "Traceback" not in shown.err, shown.err
    assert sorted(path.name for path in (store.root / "artifacts").iterdir()) == before


@pytest.mark.slow
def test_it_measures_the_guard(run, store, recipe_file, word_classifier, monkeypatch):
    monkeypatch.delenv("SOLON_DATA", raising=False)
    word_classifier("bomb", "kill", "the")
    for name in ("requests", "replies", "injections", "fitting_texts"):
        whole = getattr(_guard_data, name)()
        some = [row for key in dict.fromkeys((row.side, row.harmful) for row in whole) for row in [r for r in whole if (r.side, r.harmful) == key][:12]]
        some += [] if any(row.harmful for row in some) else [replace(some[0], id=f"own-{side}", harmful=True, side=side) for side in ("choose", "report")]
        monkeypatch.setattr(_guard_data, name, partial(list, some))
    after = pipeline.align(str(recipe_file), ["evidence.guard=true"], store)
    found = store.get(guard.measure(guard.Measuring(), f"{after.id}:aligned", store).id)
    assert found.evidence["inputs"]["model"] == after.models["aligned"]
    conditions = {one["key"]: one for one in json.loads((store.root / after.id / "report.json").read_text())["verdict"]["conditions"]}
    assert found.id in conditions["guard"]["measured"]


@pytest.mark.slow
def test_harm_is_sifted_and_scored_where_it_is_asked_for(run, store, recipe_file, word_classifier):
    own = word_classifier("ri")
    after = pipeline.align(str(recipe_file), ["sift.bar=0.5", "evaluate.harm=true", "lessons.demonstrations=24"], store)
    sifted = store.get(after.stages["sift"])
    dropped = {row["id"] for row in sifted.rows("rows") if row.get("dropped")}
    learned = {row["id"] for row in store.get(after.models["helpful"]).rows("rows")}
    assert dropped and not dropped & learned and {row["id"] for row in sifted.rows("rows")} & learned
    for row in store.get(after.evaluations["aligned"]).rows("replies"):
        assert row["harm"] == pytest.approx(own.score([row["reply"]])[0].harm)
    report = json.loads((store.root / after.id / "report.json").read_text())
    stage = next(one for one in report["stages"] if one["stage"] == "sift")
    assert sum(stage["rows_dropped"].values()) == len(dropped) and report["models"]["aligned"]["harm"]["n"] == 8
    assert "harm above 0.5" in (store.root / after.id / "report.html").read_text()
    assert verify(store, after, steps=1, samples=2)["ok"]


def test_wrong_evidence_is_told_before_anything_is_made(store, recipe_file, solon, monkeypatch):
    monkeypatch.delenv("SOLON_DATA", raising=False)
    before = sorted(store.root.glob("*/*"))
    for wrong, says in (("biased: 3", "bias"), ("swaps: 2000", "smaller than"), ("bbq: 10", "SOLON_DATA"), ("swaps: 0", "greater than")):
        shown = solon("align", recipe_file, f"evidence={{suites: {{{wrong}}}}}", "--runs", store.root)
        assert shown.code == 2 and says in shown.err and "Traceback" not in shown.err, (wrong, shown.err)
    assert sorted(store.root.glob("*/*")) == before


@pytest.mark.slow
def test_no_judge_reaches_the_bar(run, store, recipe_file, solon):
    overrides = ["feedback.below=stop", "feedback.bar=1.0", 'feedback.judges=[{"kind": "self"}]']
    shown = solon("align", recipe_file, *overrides, "--runs", store.root)
    assert shown.code == 2 and "no judge reached the bar" in shown.err and "feedback.below" in shown.err
    assert "Traceback" not in shown.err
    with pytest.raises(SolonError):
        pipeline.align(str(recipe_file), overrides, store)
