"""The limits of a report are those of what stands in it."""

from __future__ import annotations

from typing import Any

import pytest

from solon.stages._report_limits import limits

RECIPE = {"data": {"red_team": "starter:red_team", "demonstrations": "shared:dolly + starter:demonstrations", "test_red_team": ""}}
NONE = {"command": "solon eval"}


def report(**more: Any) -> dict[str, Any]:
    return {"models": {"aligned": {}}, "verdict": {"conditions": []}, "red_team": NONE, "capability": NONE, "bias": NONE, "calibration": NONE} | more


def test_one_seed_and_no_attack_are_limits_only_where_they_are() -> None:
    told = " ".join(limits(report(), RECIPE, 1))
    assert "One seed:" in told and "nobody attacked the model" in told and "same sources as training rows" in told
    attacked = {"total": {"aligned": {"n": 6000}}, "families": [{}] * 40, "guarded": None}
    told = " ".join(limits(report(red_team=attacked), RECIPE, 3))
    assert "One seed" not in told and "Of 3 seeds" in told and "nobody attacked" not in told and "6,000 judged attempts of 40 families" in told
    guarded = {"total": {}, "families": [], "guarded": {"total": {"aligned": {"n": 90}}}}
    assert "90 judged attempts of some families and behind its guard" in " ".join(limits(report(red_team=guarded), RECIPE, 2))


def test_held_out_requests_of_another_source_are_said_to_be_so() -> None:
    told = " ".join(limits(report(), {"data": RECIPE["data"] | {"test_red_team": "shared:harmbench"}}, 2))
    assert "come from shared:harmbench" in told and "same sources" not in told and "Only 2 seeds" in told


@pytest.mark.parametrize(("n", "small"), [(40, True), (400, False)])
def test_small_suites_and_unmeasured_ones_are_named(n: int, small: bool) -> None:
    rows = {"rows": [{"suite": "confidence", "models": {"base": {"n": n}, "aligned": {"n": n}}}]}
    told = " ".join(limits(report(calibration=rows), RECIPE, 1))
    assert (f"confidence (n {n})" in told) == small and "Nobody measured attacks, benchmarks of ability, bias in" in told


def test_the_judge_and_the_data_are_limits_where_they_are_used() -> None:
    bare = " ".join(limits(report(), {"data": {"red_team": "shared:harmbench", "test_red_team": ""}}, 1))
    assert "win rate" not in bare and "language model" not in bare
    won = report(models={"aligned": {"win_rate": {}}})
    assert "No people compared" in " ".join(limits(won, RECIPE, 1)) and "starter:demonstrations, starter:red_team" in " ".join(limits(won, RECIPE, 1))
    rated = won | {"verdict": {"conditions": [{"key": "people", "measured": "80 %"}]}}
    assert "People rated" in " ".join(limits(rated, RECIPE, 1))
