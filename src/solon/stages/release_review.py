"""The review of a run: every condition of a release, what was measured of it, and what was waived by whom and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from solon.core.artifacts import Artifact, Record, Store, write_text
from solon.core.errors import ConfigError, SolonError, StorageError, nearest
from solon.stages import release_evidence, release_integrity, release_suites, wins
from solon.stages.release import PASS, WAIVED, Release, condition, of_acceptance, of_recipe
from solon.stages.runs import Run, list_runs, now

WAIVERS = "waivers.json"
SAID = ("condition", "name", "reason", "date", "measured")


def review(store: Store, run: Run, evidence: release_evidence.Evidence | None = None, reviewer: str = "") -> Record:
    """`{"release", "conditions", "waivers", "gates"}`: released only if every condition is met, or was waived by name.

    A condition that nobody measured is not met. `reviewer` is who signs for the safety evidence. Raises `SolonError` for a run that has not ended."""
    if not run.ended_at or "compare" not in run.stages:
        fix = f"solon align recipes/{run.recipe.get('name', 'RECIPE')}.yaml: it goes on where it stopped"
        raise SolonError(f"the run {run.id} has not ended, so there is nothing to review", fix=fix)
    gates = release_integrity.gates(store, run)
    broken = [f"{row['id']}: {row['fault']}" for row in gates if row["fault"]]
    measured = [_broken(broken, run)] if broken else _measured(store, run, evidence, reviewer)
    given = waivers(run)
    conditions = [_waived(one, given) for one in measured]
    release = all(one["status"] in (PASS, WAIVED) for one in conditions)
    return {"release": release, "conditions": conditions, "waivers": given, "gates": gates}


def _broken(broken: Sequence[str], run: Run) -> Record:
    """What is left to say where evidence was changed: its figures count for nothing."""
    told = "; ".join(broken) + "; nothing else was looked at"
    command = f"solon verify {run.id} --steps 0 --samples 0"
    return condition("lineage", "every artifact is as it was made", "all files and links unchanged", told, False, command, waivable=False)


def _measured(store: Store, run: Run, evidence: release_evidence.Evidence | None, reviewer: str) -> list[Record]:
    figures = store.get(run.stages["compare"])
    models, pairs, judge = wins.figures(store, run), figures.read("pairs.json"), judge_of(store, run)
    config = Release.model_validate(run.recipe["release"])
    again = f"solon align recipes/{run.recipe['name']}.yaml"
    found = evidence if evidence is not None else release_evidence.gather(store, run)
    return [
        *of_recipe(config, models, pairs, judge, again),
        *of_acceptance(
            models, pairs, judge, trained(store, run.models.values()), over_seeds(store, run), run.id, again,
            found.people.read("verdict.json") if found.people else None, release_suites.figures(found.suites, "consistency", "aligned"),
        ),
        *release_evidence.of_evidence(config, found, run.id),
        *release_integrity.conditions(store, run, found.artifacts, release_integrity.model_of(run), release_integrity.data_of(store, run)),
        _reviewed(run, reviewer),
    ]  # fmt: skip


def judge_of(store: Store, run: Run) -> Mapping[str, Any]:
    """The certificate of the judge that labelled."""
    certified = store.get(run.stages["certify"])
    found: Mapping[str, Any] = certified.read("certificates.json")[certified.evidence["facts"]["place"]]
    return found


def trained(store: Store, ids: Iterable[str]) -> Record | None:
    """`{"most", "all"}` of trainings: the most weights that one of them trained, and all that the model has. The second follows from what
    fine-tuning counted: six FLOPs a token and weight."""
    most, whole = 0, 0
    for id in ids:
        one = store.get(id)
        most = max(most, _weights(one))
        cost = one.evidence["cost"]
        if cost["flops"] and cost["tokens"]:
            whole = round(cost["flops"] / (6 * cost["tokens"]))
    return {"most": most, "all": whole} if most and whole else None


def _weights(one: Artifact) -> int:
    """Numbers in an adapter's file, from its header alone."""
    from math import prod

    from safetensors import safe_open

    with safe_open(one.path / "adapter.safetensors", framework="numpy") as file:
        return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def over_seeds(store: Store, run: Run) -> list[Record]:
    """The change in harmful compliance of this run and of every finished run that differs in the seed alone, or in what else was
    measured of it, which changes no model."""
    apart = ("seed", "evidence")
    alike = {name: value for name, value in run.recipe.items() if name not in apart}
    out: dict[int, Record] = {}
    for other in [run, *list_runs(store)]:
        same = {name: value for name, value in other.recipe.items() if name not in apart} == alike and other.book == run.book
        if not (same and other.ended_at and "compare" in other.stages) or other.recipe["seed"] in out:
            continue
        try:
            pairs = store.get(other.stages["compare"]).read("pairs.json")
        except (SolonError, OSError, ValueError):
            continue
        pair = next((one for one in pairs if (one["figure"], one["a"], one["b"]) == ("harmful_compliance", "base", "aligned")), None)
        if pair:
            out[other.recipe["seed"]] = {"seed": other.recipe["seed"], "change": pair["value"], "n": pair["n"], "run": other.id}
    return [out[seed] for seed in sorted(out)]


def _reviewed(run: Run, reviewer: str) -> Record:
    """A person signs for the safety evidence: the name stands in the manifest that the key signs."""
    command = f"solon release {run.id} --reviewer NAME --key KEY"
    told = f"by {reviewer}, {now()} UTC" if reviewer else None
    return condition("review", "a person reviewed the safety evidence", "a name under a signed manifest", told, True, command)


def _waived(one: Record, given: Sequence[Mapping[str, Any]]) -> Record:
    """The condition with its last waiver, if it is not met. A waiver lapses as soon as something else is measured."""
    last = next((waiver for waiver in reversed(given) if waiver["condition"] == one["key"]), None)
    if last is None or last.get("withdrawn") or one["status"] == PASS or not one["waivable"] or last["measured"] != one["measured"]:
        return one
    return {**one, "status": WAIVED, "was": one["status"], "waiver": {name: last[name] for name in ("name", "reason", "date")}}


def waivers(run: Run) -> list[Record]:
    """Everything that was ever waived or withdrawn for this run, in order. Raises `StorageError` where a name or a reason is
    missing."""
    path = Path(run.path) / WAIVERS
    if not path.exists():
        return []
    try:
        found: list[Record] = json.loads(path.read_text("utf-8"))
        whole = all(isinstance(one[name], str) and (one[name].strip() or name == "measured") for one in found for name in SAID)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{WAIVERS} of the run cannot be read", got=repr(error), fix=f"mend or delete {path}") from error
    if not whole:
        raise StorageError(f"{WAIVERS} of the run holds a waiver without a name or a reason", fix=f"mend or delete {path}")
    return found


def waive(run: Run, verdict: Record, keys: Sequence[str], name: str, reason: str, withdrawn: bool = False) -> list[Record]:
    """Add a waiver for each condition, by key or name, to the run. Raises `ConfigError` without a name or reason, for a
    condition that does not exist, cannot be waived or is met."""
    if not name.strip() or not reason.strip():
        missing = "--name" if not name.strip() else "--reason"
        raise ConfigError("a waiver needs the name of who answers for it, and a reason", got=f"no {missing}", fix=f"give {missing}")
    known = {one["key"]: one for one in verdict["conditions"]}
    known_names = {one["name"]: one["key"] for one in verdict["conditions"]}
    added = []
    for given in keys:
        key = known_names.get(given, given)
        if key not in known:
            raise ConfigError(f"there is no condition {given!r}", fix=nearest(given, known))
        if not known[key]["waivable"]:
            raise ConfigError(f"the condition {key!r} cannot be waived", got=known[key]["measured"], fix="restore what was changed, or run the recipe again")
        if known[key]["status"] == PASS and not withdrawn:
            raise ConfigError(f"the condition {key!r} is met: there is nothing to waive", got=known[key]["measured"])
        if withdrawn and known[key]["status"] != WAIVED:
            raise ConfigError(f"the condition {key!r} is not waived", got=known[key]["status"])
        said = {"condition": key, "name": name.strip(), "reason": reason.strip(), "date": now(), "measured": known[key]["measured"]}
        added.append(said | ({"withdrawn": True} if withdrawn else {}))
    every = [*waivers(run), *added]
    write_text(Path(run.path) / WAIVERS, json.dumps(every, indent=1, ensure_ascii=False))
    return every
