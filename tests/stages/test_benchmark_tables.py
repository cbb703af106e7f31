"""What benchmark artifacts say together, on artifacts whose figures are written by hand."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from solon.core.artifacts import Store
from solon.evals import statistics
from solon.evals.asking import load
from solon.stages._benchmark_tables import across_suites, every_pair, largest_drop, ranking, targets


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


def measured(store, source, values, suite="humaneval", typed="latest:aligned", version=None, seed=0):
    """A benchmark artifact whose main figure has these values, item by item."""
    card = load(suite).CARD
    main = next(iter(card.figures))
    one = statistics.proportion(values)
    told = {"value": one.value, "ci": [one.low, one.high], "n": one.n, "what": "", "share": True, "lower_is_better": False}

    def build(draft):
        draft.write_rows("rows", [{"id": f"i{n}", "figures": {main: x}, "tags": {}} for n, x in enumerate(values)])
        draft.write("card.json", {"suite": suite, **asdict(card)})
        draft.write("figures.json", {"figures": {main: told}})
        draft.facts |= {"suite": suite, "model": typed}

    config = {"suite": suite, "suite_version": load(suite).VERSION if version is None else version, "seed": seed}
    return store.make("benchmark", 1, config, {"model": source}, build)


def test_a_model_is_what_its_artifact_records(store):
    """Two runs' `latest:aligned` are two models, and one model under two names is one."""
    measured(store, "sl-1", [1.0] * 9 + [0.0])
    measured(store, "sl-2", [1.0] * 4 + [0.0] * 6)
    measured(store, "sl-2", [1.0] * 10 + [0.0] * 10, typed="other:aligned", seed=1)
    rows = {row["model"]: row for row in targets(store) if row["goal"] == "HumanEval"}
    assert {name: (row["value"], row["n"]) for name, row in rows.items()} == {"sl-1": (0.9, 10), "sl-2": (0.5, 20)}


def test_of_equally_large_measurements_the_lower_is_taken(store):
    for seed, hits in enumerate((7, 5, 9, 8)):
        measured(store, "sl-1", [1.0] * hits + [0.0] * (10 - hits), seed=seed)
    (row,) = [row for row in targets(store) if row["goal"] == "HumanEval"]
    assert row["value"] == 0.5


def test_what_an_earlier_version_of_a_suite_measured_meets_no_goal(store):
    measured(store, "sl-1", [1.0] * 2000, version=0)
    lines = []
    assert {row["verdict"] for row in targets(store, lines.append)} == {"not measured"}
    assert len(lines) == 1 and "version 0 of humaneval" in lines[0]


def test_strengths_of_two_are_the_log_odds_of_winning(store):
    draw = np.random.default_rng(1)
    a, b = (draw.random(80) < 0.5).astype(float), (draw.random(80) < 0.7).astype(float)
    found = ranking({"a": measured(store, "m-1", a.tolist()), "b": measured(store, "m-2", b.tolist())})
    won, lost = ((b > a).sum(), (b < a).sum())
    ties = 80 - won - lost
    odds = math.log((won + ties / 2) / (lost + ties / 2))
    assert found["models"]["b"]["value"] - found["models"]["a"]["value"] == pytest.approx(odds, abs=1e-6)
    assert found["models"]["a"]["n"] == 80 and found["models"]["b"]["ci"][0] < odds / 2 < found["models"]["b"]["ci"][1]


def test_a_model_that_always_wins_has_no_strength_and_the_reason_is_told(store):
    of = {"a": measured(store, "m-1", [0.0] * 9), "b": measured(store, "m-2", [1.0] * 9)}
    assert ranking(of)["models"] == {} and "no chain of wins" in ranking(of)["why"]
    assert every_pair(of)[0]["effect_ci"][1] == pytest.approx(math.pi)


def test_every_pair_is_corrected_over_all_pairs_and_every_suite_over_all_suites(store):
    draw, changes = np.random.default_rng(3), {}
    for place, suite in enumerate(("humaneval", "mbpp", "gsm8k")):
        hits = {name: (draw.random(60) < share - place / 10).astype(float).tolist() for name, share in (("a", 0.8), ("b", 0.6), ("c", 0.35))}
        changes[suite] = every_pair({name: measured(store, f"m-{name}", values, suite) for name, values in hits.items()})
    for rows in changes.values():
        assert [(row["from"], row["to"]) for row in rows] == [("a", "b"), ("a", "c"), ("b", "c")]
        assert [row["p_holm"] for row in rows] == pytest.approx(multipletests([row["p"] for row in rows], method="holm")[1])
    mains = across_suites(changes)
    for name, method in (("p_holm", "holm"), ("q", "fdr_bh")):
        assert [row[name] for row in mains] == pytest.approx(multipletests([row["p"] for row in mains], method=method)[1])
    apart = [row for row in mains if row["p"] < 0.05 <= row["p_holm"]]
    assert len(mains) == 9 and apart and all("not after correction for 9 comparisons" in row["plain"] for row in apart)
    drop = largest_drop(mains)
    assert (drop["p_holm"], drop["q"]) == next((row["p_holm"], row["q"]) for row in mains if row["suite"] == drop["suite"] and (row["from"], row["to"]) == (drop["from"], drop["to"]))
    assert drop["lost"] == pytest.approx(max(1 - row["b"] / row["a"] for row in mains))
