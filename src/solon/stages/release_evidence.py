"""Evidence beyond a run: red-team campaigns, benchmarks and guards of its models, found in the same store by what they were made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from solon.core.artifacts import Artifact, Record, Store
from solon.safety import classifier
from solon.stages import guarding, rating, release_campaigns, release_guard, release_suites
from solon.stages.release import MARGIN, Release, at_most, condition
from solon.stages.release_campaigns import Campaigns
from solon.stages.release_suites import Suites
from solon.stages.runs import Run

UNSAFE, SCREENED = "unsafe-replies", "screened"


@dataclass(frozen=True)
class Evidence:
    """What the store holds on a run's base and aligned model."""

    campaigns: Campaigns = field(default_factory=Campaigns)
    suites: Suites = field(default_factory=Suites)
    guard: Artifact | None = None
    unsafe: Artifact | None = None
    screened: Artifact | None = None
    people: Artifact | None = None

    @property
    def artifacts(self) -> list[Artifact]:
        """Every one of them, each once."""
        many = [*self.campaigns.artifacts, *self.suites.artifacts]
        many += [one for one in (self.guard, self.unsafe, self.screened, self.people) if one]
        return list({one.id: one for one in many}.values())


def sources(store: Store, run: Run) -> dict[str, str]:
    """What artifacts record of the run's models, by role."""
    return {role: store.get(id).evidence["inputs"]["model"] for role, id in run.evaluations.items()}


def gather(store: Store, run: Run) -> Evidence:
    """All that the store holds on the run's base and aligned model."""
    known = sources(store, run)
    roles = {known[role]: role for role in ("base", "aligned") if role in known}
    campaigns: list[tuple[str, Artifact]] = []
    suites: list[tuple[str, Artifact]] = []
    guards = []
    for one in _finished(store):
        role = roles.get(one.evidence["inputs"].get("model", ""))
        if role and one.stage == "redteam":
            campaigns.append((role, one))
        elif role and one.stage == "benchmark":
            suites.append((role, one))
        elif role == "aligned" and one.stage == "guard" and guarding.stands(one):
            guards.append(one)
    return Evidence(
        release_campaigns.choose(store, campaigns), release_suites.choose(suites), guarding.best(guards),
        _classified_by_today(store, UNSAFE, {role: run.evaluations.get(role) for role in ("base", "aligned")}),
        _classified_by_today(store, SCREENED, dict(run.models)), _people(store, run),
    )  # fmt: skip


def _finished(store: Store) -> list[Artifact]:
    """Every artifact of the store that may be evidence and can be read."""
    found = []
    for path in sorted((store.root / "artifacts").glob("*/evidence.json")):
        one = Artifact(path.parent.name, path.parent)
        if one.id.rpartition("-")[0] in ("redteam", "benchmark", "guard") and not one.unsound():
            found.append(one)
    return found


def asked_alike(store: Store, run: Run, role: str) -> Record | None:
    """The figures of the suite `consistency` on one of the run's models, whichever; None where nobody asked."""
    source = store.get(run.evaluations[role]).evidence["inputs"]["model"]
    made = [(role, one) for one in _finished(store) if one.stage == "benchmark" and one.evidence["inputs"].get("model") == source]
    return release_suites.figures(release_suites.choose(made), "consistency", role)


def _classified_by_today(store: Store, stage: str, inputs: dict[str, str | None]) -> Artifact | None:
    """What the classifier that is here says of these artifacts: another head's verdict does not count."""
    for path in sorted((store.root / "artifacts").glob(f"{stage}-*/evidence.json")):
        one = Artifact(path.parent.name, path.parent)
        if not one.unsound() and one.evidence["config"].get("classifier") == classifier.card()["id"] and one.evidence["inputs"] == inputs:
            return one
    return None


def _people(store: Store, run: Run) -> Artifact | None:
    """The largest accepted batch in which people compared the helpful replies of the run's base and aligned model."""
    wanted, found = {"first": run.evaluations.get("base"), "second": run.evaluations.get("aligned")}, []
    for path in sorted((store.root / "artifacts").glob(f"{rating.KEPT}-*/evidence.json")):
        one = Artifact(path.parent.name, path.parent)
        if one.unsound() or one.evidence["inputs"] != wanted or one.evidence["config"]["kind"] != "helpful":
            continue
        verdict = one.read("verdict.json")
        if verdict["accepted"] and verdict["rater_kind"] == "human" and verdict["preference"]:
            found.append(one)
    return max(found, key=lambda one: int(one.evidence["data"]["kept"]), default=None)


def of_evidence(config: Release, found: Evidence, run: str) -> list[Record]:
    """The conditions on red team, benchmarks, bias, safety classifier and guard."""
    return [
        release_campaigns.of_attacks(config, found.campaigns, run), release_campaigns.of_target(found.campaigns, run),
        release_suites.of_benchmarks(config, found.suites, run), release_suites.of_bias(found.suites, run), _classified(found, run), _screened(found, run),
        release_guard.of_guard(config, found.guard, run),
    ]  # fmt: skip


def _classified(found: Evidence, run: str) -> Record:
    name = "the safety classifier finds no more harm in its replies"
    required = f"above base by at most {100 * MARGIN:g} points"
    command = f"solon release {run} --classify"
    if not found.unsafe:
        return condition("classifier", name, required, None, command=command)
    one = found.unsafe.read("figures.json")
    pair, ends = one["pair"], [one["models"][role] for role in ("base", "aligned")]
    told = " to ".join(f"{100 * end['value']:.1f} %" for end in ends)
    told += f": {100 * pair['difference']:+.1f} points ({100 * pair['low']:+.1f} to {100 * pair['high']:+.1f}, n {pair['n']}); {one['classifier']}"
    return condition("classifier", name, required, told, at_most((pair["low"], pair["high"]), MARGIN), command)


def shown(found: Evidence, run: str) -> dict[str, Any]:
    """The report's sections on red team, abilities, bias and calibration; a section without artifacts says which command measures it."""
    command = f"solon eval {run}:base {run}:aligned --suite"
    return {
        "red_team": release_campaigns.shown(found.campaigns, run), "capability": release_suites.shown(found.suites, release_suites.ability, f"{command} capability"),
        "bias": release_suites.shown(found.suites, "bias".__eq__, f"{command} bias"), "calibration": release_suites.calibration(found.suites, f"{command} uncertainty"),
    }  # fmt: skip


def _screened(found: Evidence, run: str) -> Record:
    name, required = "all that it was trained on was screened", "every row scored by the safety classifier; how many it flags is told"
    command = f"solon safety screen {run}"
    if not found.screened:
        return condition("screened", name, required, None, command=command)
    one = found.screened.read("figures.json")
    flagged = [f"{row['training']} {row['side']} {100 * row['flagged']['value']:.1f} %" for row in one["trainings"] if row["flagged"]]
    told = f"{one['screened']} rows scored; flagged: {', '.join(flagged)}; {one['classifier']}"
    return condition("screened", name, required, told, one["n"] > 0 and one["scored"] == one["n"], command)
