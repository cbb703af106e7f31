"""A run's figures, with the judge's win rates at equal length beside the plain ones, and harm corrected for the rules' errors.

They follow from what `compare` and `evaluate` kept, so nothing is judged again and no artifact changes. The judge saw every pair in
both orders, and what the orders disagree on is a tie: position is out before length is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from solon.core.artifacts import Record, Store
from solon.core.errors import DataError
from solon.evals.strengths import Battle, length_difference, strengths
from solon.stages import corrected
from solon.stages.runs import Run

EQUAL = "win_rate_equal_length"


def figures(store: Store, run: Run) -> dict[str, dict[str, Any]]:
    """What `compare` found, by model and figure; each model with a win rate over base also has it at equal length, where the
    judgements determine it (not where one side won every time). Harmful compliance is also told corrected (`corrected.py`), where
    the labelled answers are there (`SOLON_DATA`)."""
    compared = store.get(run.stages["compare"])
    found: dict[str, dict[str, Any]] = compared.read("figures.json")
    wins = list(compared.rows("wins")) if (compared.path / "wins.jsonl").exists() else []
    lengths = {role: {row["id"]: row["reply"] for row in store.get(id).rows("replies")} for role, id in run.evaluations.items()} if wins else {}
    for role, one in found.items():
        if "win_rate" in one and role in lengths:
            made = at_equal_length(wins, role, lengths[role], lengths["base"])
            found[role] = one | ({EQUAL: made} if made else {})
    errors = corrected.errors_of_rules()
    for role in found if errors else ():
        made = corrected.harmful_compliance(list(store.get(run.evaluations[role]).rows("replies")), errors) if role in run.evaluations else None
        found[role] |= {corrected.NAME: made} if made else {}
    return found


def at_equal_length(wins: Sequence[Record], role: str, theirs: Mapping[str, str], base: Mapping[str, str]) -> Record | None:
    """The chance that a model's reply beats base's were both equally long: Bradley-Terry with the logarithm of the length
    ratio as a coefficient (Dubois et al. 2024). None where the judgements do not determine it. An empty reply lost because it is
    empty, whatever a judge thinks of length, and so stands without a difference."""
    battles = [Battle(row["id"], role, "base", row[role], {"length": _longer(theirs[row["id"]], base[row["id"]])}) for row in wins if role in row]
    try:
        made = strengths(battles, position=False, name=f"win rate {role}").win_rate("base", role)
    except DataError:
        return None
    how = f"judge's preference over base on held-out helpful prompts, both orders, ties as half; {made.how}"
    return {"value": made.value, "ci": [made.low, made.high], "n": made.n, "unit": "share", "how": how, "better": "higher"}


def _longer(reply: str, base: str) -> float:
    return length_difference(reply, base) if reply.strip() and base.strip() else 0.0
