"""`solon gate`: a phase is ready when all that is declared is there and shown, and a frozen baseline cannot be changed unseen."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from solon.core.errors import ConfigError, DataError, MissingError
from solon.stages.readiness import PHASES, against, freeze, readiness


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
    for wrong in (("ssl",), ("sl", "nowhere"), ("sl", run.id, "--freeze", tmp_path / "b.json"), ("sl", run.id, "--freeze", "x", "--against", "y")):
        code, out, err = call(*wrong)
        assert code == 2 and not out and "Traceback" not in err
