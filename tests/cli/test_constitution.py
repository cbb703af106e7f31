"""`solon constitution route` and `test` as a person or a machine calls them."""

from __future__ import annotations

import json

import pytest
import yaml

from solon.constitution import fixtures


@pytest.fixture
def mine(tmp_path):
    """Fixtures of two pillars, one with too few."""
    rows = [one.model_dump(mode="json") for one in fixtures.load() if one.pillar == "legal" or one.id in ("help-01", "help-02")]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(rows))
    return path


def test_route(solon):
    found = json.loads(solon("constitution", "route", "Can I sue my landlord?", "Which plants like shade?", "--json").out)
    assert [one["domains"] for one in found] == [["legal"], []]
    assert [one["principles"] for one in found] == [["legal.information"], []]
    shown = solon("constitution", "route", "I have a fever and write python code")
    assert "medical, coding" in shown.out and "medical.care" in shown.out


def test_test_prints_figures_for_people_and_machines(solon, mine):
    value = json.loads(solon("constitution", "test", "--fixtures", mine, "--json").out)
    row = value["rows"][0]
    assert (value["book"], value["judge"], row["pillar"], row["n"]) == ("core", "cues", "legal", 2 * row["broken"])
    assert {"auc", "sensitivity", "specificity", "pairs", "length_auc"} <= set(row)
    assert value["left_out"]["privacy"] == "no fixtures" and "held out" in value["left_out"]["help"] and value["kinds"] == []
    assert {one["set"] for one in value["router"]} == {"requests", "fixtures", "ordinary"}
    shown = solon("constitution", "test", "--fixtures", mine)
    assert "sensitivity" in shown.out and "not measured: privacy" in shown.out and "ordinary" in shown.out


def test_mistakes(solon, mine):
    for arguments, said in (
        (["--judge", "prob"], "did you mean 'probe'"),
        (["--judge", "probe"], "name one with --model"),
        (["--model", "smollm2-135m-instruct"], "reads no model"),
        (["--fixtures", "nowhere.yaml"], "no file of fixtures"),
    ):
        shown = solon("constitution", "test", *arguments)
        assert shown.code == 2 and said in shown.err and not shown.out
