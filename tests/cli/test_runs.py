"""Looking back at runs: made by hand here, so that the commands are tested without a training run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from solon.core.artifacts import Store

CONDITIONS = [
    {"name": "complies less", "required": "lower than base", "measured": "-3 points", "status": "missed"},
    {"name": "perplexity", "required": "below", "measured": "", "status": "not measured"},
    {"name": "over-refusal", "required": "at most +10", "measured": "+1 points", "status": "pass"},
]


@pytest.fixture
def run(tmp_path):
    """A finished run of two artifacts, and an unfinished one with another seed."""
    from solon.stages.runs import Run, now

    store = Store(tmp_path / "runs")

    def build(draft):
        draft.write_rows("rows", [{"id": "a"}, {"id": "b", "dropped": "empty"}])
        draft.tokens = 1234

    def judged(draft):
        draft.write("figures.json", {"aligned": {"harmful": {"value": 0.25, "ci": [0.1, 0.4], "n": 40}}})

    helpful = store.make("sft", 1, {"rank": 4}, {"model": "tiny@1"}, build)
    figures = store.make("compare", 1, {}, {"helpful": helpful.id}, judged)
    recipe = {"model": "tiny", "constitution": "core", "seed": 1, "dpo": {"rank": 4}}
    first = Run("quick-1111", str(store.root / "quick-1111"), recipe, "abc", now()).save()
    done = first.ended(models={"helpful": helpful}, evaluations={}, compare=figures)
    replace(done, verdict={"release": False, "conditions": CONDITIONS}).save()
    (store.root / "quick-1111" / "report.html").write_text("<html>")
    Run("quick-2222", str(store.root / "quick-2222"), recipe | {"seed": 2}, "abc", now()).save()
    return done


def test_no_runs(solon):
    assert "solon align" in solon("runs", "list").out
    assert json.loads(solon("runs", "list", "--json").out) == []
    assert solon("report").code == 2


def test_list(solon, run):
    shown = solon("runs", "list").out
    assert "no (2 conditions not met)" in shown and "not finished" in shown
    assert {one["id"] for one in json.loads(solon("runs", "list", "--json").out)} == {"quick-1111", "quick-2222"}


def test_show_by_beginning(solon, run):
    value = json.loads(solon("runs", "show", "quick-1", "--json").out)
    assert value["parts"][0] | {"seconds": 0} == {
        "role": "helpful", "id": run.models["helpful"], "kept": 1, "dropped": 1, "tokens": 1234, "seconds": 0,
    }  # fmt: skip
    shown = solon("runs", "show").out
    assert "1,234" in shown and "missed" in shown and "not measured" in shown
    assert solon("runs", "show", "nowhere").code == 2
    assert "not finished" in solon("runs", "show", "quick-2222").out


def test_graph(solon, run):
    assert f"<- helpful: helpful  {run.models['helpful']}" in solon("runs", "graph").out
    assert json.loads(solon("runs", "graph", "--json").out)[0]["inputs"] == [{"role": "model", "id": "tiny@1"}]


def test_compare(solon, run):
    shown = solon("runs", "compare", "quick-1111", "quick-2222").out
    assert "seed" in shown and "aligned harmful" in shown and "0.250" in shown
    value = json.loads(solon("runs", "compare", "quick-1111", "quick-2222", "--json").out)
    assert value["recipe"] == {"seed": [1, 2]}


def test_report(solon, run, tmp_path):
    page = tmp_path / "runs" / "quick-1111" / "report.html"
    assert solon("report", "latest", "--path").out == f"{page}\n"
    assert json.loads(solon("report", "quick-1", "--json").out)["report"] == str(page)
    shown = solon("report", "quick-2222")
    assert shown.code == 2 and "no report yet" in shown.err


def test_align_ends_with_the_decision_and_the_report(solon, run, monkeypatch, tmp_path):
    from solon import pipeline
    from solon.stages.runs import find

    seen = []

    def aligned(recipe, overrides, store, progress):
        seen.append((recipe, overrides))
        return find(store, "quick-1111")

    monkeypatch.setattr(pipeline, "align", aligned)
    recipe = tmp_path / "r.yaml"
    recipe.write_text("model: tiny\n")
    shown = solon("align", recipe, "seed=2", "dpo.rank=8")
    assert seen == [(str(recipe), ["seed=2", "dpo.rank=8"])] and shown.code == 0
    assert shown.err.startswith("helpful, sl, dpo: some settings lie outside")
    lines = shown.out.splitlines()
    assert lines[0] == "release: no" and lines[-1].startswith("report: ") and lines[-1].endswith("report.html")
    assert len(lines) == 4  # a condition that was met is not listed
    value = json.loads(solon("align", recipe, "--json").out)
    assert value["verdict"]["release"] is False and value["report_json"].endswith("report.json")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere.yaml",), "there is no file"),
        (("recipe.yaml", "helpful.rnak=3"), "did you mean 'rank'?"),
        (("recipe.yaml", "seed"), "key=value"),
        (("recipe.yaml", "helpful.rank=0"), "helpful.rank"),
    ],
)
def test_a_wrong_recipe_is_refused_before_anything_is_written(solon, tmp_path, arguments, words):
    (tmp_path / "recipe.yaml").write_text("model: smollm2-135m-instruct\n")
    shown = solon("align", tmp_path / arguments[0], *arguments[1:])
    assert shown.code == 2 and words in shown.err and "Traceback" not in shown.err
    assert not list((tmp_path / "runs").rglob("*.json"))


def test_show_tells_what_was_read_of_gradients(solon, run, tmp_path):
    assert "readings of the gradient" not in solon("runs", "show", "quick-1").out
    reading = {"step": 0, "items": 8.0, "norms": {"blocks/q": [3.0, 4.0]}, "noise": 20.0, "signal": 2.0, "cosines": {"a / b": -0.5}}
    (tmp_path / "runs" / "artifacts" / run.models["helpful"] / "gradients.json").write_text(json.dumps([reading]))
    shown = solon("runs", "show", "quick-1").out
    held = [{"step": 4, "loss": 2.5, "harms": [0.25, 0.75], "flagged": 0.5}]
    (tmp_path / "runs" / "artifacts" / run.models["helpful"] / "readings.json").write_text(json.dumps(held))
    shown = solon("runs", "show", "quick-1").out
    assert "4: loss 2.500, harm 0.500, flagged 50%" in " ".join(shown.split())
    assert "helpful: 1 readings of the gradient; noise scale 10 items" in shown and "a / b -0.50" in shown and "0 3, 1 4" in shown
    assert json.loads(solon("runs", "show", "quick-1", "--json").out)["parts"][0]["gradients"] == [reading]


def test_gc_lists_and_deletes_only_when_told(solon, run, tmp_path):
    stale = Store(tmp_path / "runs").make("sl", 1, {}, {"model": "tiny@1"}, lambda draft: None)
    shown = solon("runs", "gc", "--days", 0)
    assert shown.code == 0 and "nothing to free" in shown.out and "the unfinished run quick-2222 may need it" in shown.out
    shown = solon("runs", "gc", "--days", 0, "--drop", "quick-2222")
    assert stale.id in shown.out and "nothing was deleted" in shown.out and stale.path.is_dir()
    value = json.loads(solon("runs", "gc", "--days", 0, "--drop", "quick-2222", "--delete", "--json").out)
    assert value["deleted"] and {one["id"] for one in value["free"]} == {stale.id, "quick-2222"} and not stale.path.exists()
    assert len(json.loads(solon("runs", "list", "--json").out)) == 1 and solon("runs", "show", "quick-1").code == 0
    assert solon("runs", "gc", "--drop", "quick-9999").code == 2
