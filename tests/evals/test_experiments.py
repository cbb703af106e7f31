"""Experiments from their log: what counts, what is refused, and that A/A experiments that are always looked at stay quiet."""

from __future__ import annotations

import json

import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner

from solon.cli.program import app
from solon.core.errors import DataError
from solon.core.keys import rng
from solon.evals.experiments import experiment
from solon.evals.sequential import ab


def log(n, better=0.0, name="log", tilt=0.5):
    """Units in order, put into arms by chance; satisfied half of the time, or more often in the treatment."""
    draws = rng("experiment", name)
    rows = []
    for i in range(n):
        arm = "control" if draws.random() < tilt else "treatment"
        glad = float(draws.random() < 0.4 + better * (arm == "treatment"))
        rows.append({"unit": f"u{i}", "arm": arm, "satisfaction": glad, "seconds": 1.0 + i % 3})
    return rows


def read(rows, **settings):
    return experiment(((f"line {i}", row) for i, row in enumerate(rows, 1)), **settings)


def test_the_figures_are_those_of_the_rows():
    rows = log(400, better=0.3)
    found = read(rows)
    sides = {arm: [row["satisfaction"] for row in rows if row["arm"] == arm] for arm in ("control", "treatment")}
    for arm in found.arms:
        assert arm.assigned == arm.metrics["satisfaction"].n == len(sides[arm.name])
        assert arm.metrics["satisfaction"].value == pytest.approx(sum(sides[arm.name]) / len(sides[arm.name]))
        assert 1 < arm.metrics["seconds"].value < 3
    alone = ab([row["arm"] for row in rows], [row["satisfaction"] for row in rows], "control", "treatment")
    assert (found.difference.value, found.p, found.decided) == (alone.mean[-1], alone.p[-1], alone.decided())
    assert found.decided and found.p < 0.05 and "does better" in found.plain and found.difference.low > 0
    assert found.split_p == pytest.approx(binomtest(len(sides["control"]), 400).pvalue)
    turned = read(rows, control="treatment")
    assert turned.difference.value == pytest.approx(-found.difference.value) and "does worse" in turned.plain


def test_a_units_later_outcomes_and_open_ones():
    rows = log(60)
    again = [*rows, {**rows[0], "satisfaction": 1 - rows[0]["satisfaction"]}, {"unit": "late", "arm": "control"}]
    found, plain = read(again), read(rows)
    assert found.repeated == 1 and (found.difference, found.p) == (plain.difference, plain.p)
    assert found.arms[0].assigned == plain.arms[0].assigned + 1 and found.arms[0].metrics == plain.arms[0].metrics


def test_a_a_experiments_are_quiet_at_every_look():
    """100 experiments without a difference, each looked at after every couple: at most one in twenty may ever be decided."""
    decided = sum(read(log(120, name=i)).decided is not None for i in range(100))
    assert binomtest(decided, 100, 0.05, alternative="greater").pvalue > 0.01
    assert sum(read(log(400, better=0.3, name=i)).decided is not None for i in range(10)) >= 8, "and it can find one"


def test_an_uneven_split_gives_no_verdict():
    rows = log(400, better=0.3, tilt=0.3)
    assert read(rows).plain.startswith("no verdict") and "does better" in read(rows, share=0.3).plain


@pytest.mark.parametrize(
    ("change", "settings", "match"),
    [
        (lambda rows: [*rows, {**rows[0], "arm": "treatment" if rows[0]["arm"] == "control" else "control"}], {}, "in two arms"),
        (lambda rows: [*rows, {"unit": "x", "arm": "third"}], {}, "has two arms"),
        (lambda rows: rows, {"control": "contrl"}, "no unit is in the control"),
        (lambda rows: rows, {"metric": "joy"}, "no row has the metric"),
        (lambda rows: rows, {"metric": "seconds"}, "out of range"),
        (lambda rows: [{**rows[0], "satisfaction": "glad"}, *rows[1:]], {}, "is no number"),
        (lambda rows: [{**rows[0], "satisfaction": float("nan")}, *rows[1:]], {}, "out of range"),
        (lambda rows: [{"arm": "control"}], {}, "who was in which arm"),
        (lambda rows: rows, {"share": 1.0}, "is no share"),
    ],
)  # fmt: skip
def test_mistakes(change, settings, match):
    with pytest.raises(DataError, match=match):
        read(change(log(40)), **settings)


def test_the_command(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in log(200, better=0.4)))
    told = CliRunner().invoke(app, ["ab", "report", str(path)])
    assert told.exit_code == 0 and "treatment does better" in told.output and "seconds" in told.output
    found = json.loads(CliRunner().invoke(app, ["ab", "report", str(path), "--json"]).output)
    assert found["p"] < 0.05 and [arm["name"] for arm in found["arms"]] == ["control", "treatment"]
    assert CliRunner().invoke(app, ["ab", "report", str(path), "--control", "nobody"]).exit_code == 2
