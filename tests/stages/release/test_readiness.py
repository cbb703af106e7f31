"""`solon gate`: a phase is ready when all that is declared is there and shown, and a frozen baseline cannot be changed unseen."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from solon.core.artifacts import Artifact
from solon.core.errors import ConfigError, DataError, MissingError
from solon.stages.readiness import PHASES, against, freeze, readiness

READ = Artifact.read


def lacking(found):
    return {one["key"]: one["status"] for one in found["components"] if one["status"] != "pass"}


@pytest.mark.parametrize("phase", PHASES)
def test_a_whole_phase_is_ready(store, run, phase):
    found = readiness(store, run, phase)
    assert found["ready"] and found["score"] == 1 and found["declared"] == len(found["components"]) > len(PHASES[phase][1])


def test_what_lacks_is_named_and_counted(store, run, bring):
    without = replace(run, stages={name: id for name, id in run.stages.items() if name != "screen"})
    found = readiness(store, without, "sl")
    assert not found["ready"] and lacking(found) == {"screen": "not measured", "judge": "not measured", "harm-falls": "not measured"}
    assert found["score"] == pytest.approx(9 / 12) and readiness(store, without, "sft")["ready"], "another phase does not need it"
    begun = replace(run, models={}, stages={}, evaluations={})
    assert readiness(store, begun, "rl")["met"] == 0
    worse = bring(3)
    assert lacking(readiness(store, worse, "rl")) == {"harm-falls": "missed"}
    with pytest.raises(ConfigError, match="no phase"):
        readiness(store, run, "ssl")


@pytest.mark.parametrize(
    ("figure", "missed", "not_shown", "keys"),
    [
        ("win_rate", (None, 0.72), (None, 0.76), {"preferred"}), ("helpfulness", (0.5, 0.57), (0.5, 0.61), {"helpfulness"}),
        ("harmful_compliance", (0.4, 0.48), (0.4, 0.44), {"harm"}), ("harm", (0.4, 0.48), (0.4, 0.44), {"classifier"}),
        ("over_refusal", (0.05, 0.18), (0.05, 0.14), {"look-alikes"}), ("multiple_choice", (0.5, 0.45), (0.5, 0.48), {"knowledge"}),
        ("passage_loss", (3.9, 4.2), (3.9, 4.09), {"language"}), ("consistency", (0.8, 0.87), (0.8, 0.91), {"consistency"}),
    ],
)  # fmt: skip
def test_the_acceptance_figures_of_fine_tuning_are_judged_by_their_intervals(store, tables, run, monkeypatch, figure, missed, not_shown, keys):
    """On the helpful model, whatever the aligned one does."""
    for ends, wanted in ((missed, "missed"), (not_shown, "not shown"), (None, "not measured")):
        models, pairs = tables(**({figure: ends} if ends else {}))
        if ends is None:
            models = {role: {name: one for name, one in many.items() if name != figure} for role, many in models.items()}
            pairs = [one for one in pairs if one["figure"] != figure]
        good, same = tables()
        models["aligned"], pairs = good["aligned"], [one for one in pairs if one["b"] == "helpful"] + [one for one in same if one["b"] != "helpful"]
        monkeypatch.setattr("solon.stages.wins.figures", lambda store, run, models=models: models)
        monkeypatch.setattr(Artifact, "read", lambda self, name, pairs=pairs, read=READ: pairs if name == "pairs.json" else read(self, name))
        found = readiness(store, run, "sft")
        assert lacking(found) == dict.fromkeys(keys, wanted) and not found["ready"]


def test_what_would_measure_the_classifiers_opinion_is_told(store, run, monkeypatch):
    monkeypatch.setattr("solon.stages.release._find", lambda *_: None)
    found = {one["key"]: one for one in readiness(store, run, "sft")["components"]}["classifier"]
    assert found["status"] == "not measured" and found["command"] == "solon align recipes/tiny.yaml evaluate.harm=true"


def test_a_changed_artifact_shuts_the_gate_and_what_starts_from_it(store, run):
    path = store.get(run.models["helpful"]).path / "rows.jsonl"
    path.write_text(path.read_text() + "{}\n")
    found = lacking(readiness(store, run, "sl"))
    assert found["helpful"] == found["gate"] == found["revise"] == "missed" and found["judge"] == "not measured"
    told = next(one for one in readiness(store, run, "sl")["components"] if one["key"] == "gate")["measured"]
    assert told == "waits for helpful"


def test_a_baseline_is_frozen_once_and_cannot_be_changed(store, run, bring, tmp_path):
    path = tmp_path / "baseline.json"
    made = freeze(store, run, path)
    assert made["model"] == "nowhere/model@0123" and made["figures"]["harmful_compliance"]["value"] == 0.9
    with pytest.raises(ConfigError, match="never written over"):
        freeze(store, run, path)
    found = against(store, bring(2), path)
    assert found["comparable"] and found["baseline"] == made["sha256"] and found["figures"]["harmful_compliance"]["aligned"]["value"] == 0.2
    other = json.loads(path.read_text())
    for change in ({"figures": {}}, {"model": "another@0"}, {"sha256": "0" * 64}):
        path.write_text(json.dumps(other | change))
        with pytest.raises(DataError, match="changed after it was frozen"):
            against(store, run, path)
    path.write_text("[]")
    with pytest.raises(DataError, match="no baseline"):
        against(store, run, path)
    with pytest.raises(MissingError):
        against(store, run, tmp_path / "nowhere.json")


def test_a_baseline_on_other_data_is_not_comparable(store, run, tmp_path):
    from solon.core.artifacts import digest
    from solon.stages.readiness import FROZEN

    made = freeze(store, run, tmp_path / "baseline.json")
    made["data"] = made["data"] | {"starter:benign": "0"}
    made["sha256"] = digest({name: made[name] for name in FROZEN}, 64)
    (tmp_path / "other.json").write_text(json.dumps(made))
    found = against(store, run, tmp_path / "other.json")
    assert not found["comparable"] and found["why"] == "other data: starter:benign"


def test_the_command(store, run, bring, capsys, tmp_path):
    from solon.cli import main

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(one) for one in ("gate", *arguments, "--runs", store.root)])
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    code, out, _ = call("sl", run.id, "--freeze", tmp_path / "b.json")
    assert code == 0 and f"sl of {run.id}: ready" in out and "12 of 12 components (100 %)" in out and "frozen: " in out
    code, out, _ = call("rl", bring(3).id, "--against", tmp_path / "b.json")
    assert code == 1 and "these lack: the aligned model complies less" in out and "the same model and data" in out
    code, out, _ = call("sft", replace(run, id="tiny-begun", path=str(store.root / "tiny-begun"), models={}, stages={}, evaluations={}).save().id)
    assert code == 1 and "measures the safety classifier finds no more harm in its replies: solon align recipes/tiny.yaml evaluate.harm=true" in out
    for wrong in (("ssl",), ("sl", "nowhere"), ("sl", run.id, "--freeze", tmp_path / "b.json"), ("sl", run.id, "--freeze", "x", "--against", "y")):
        code, out, err = call(*wrong)
        assert code == 2 and not out and "Traceback" not in err
