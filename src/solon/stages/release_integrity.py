"""Whether a run's evidence is still what it was: every artifact re-hashed, every link between them followed, weights, data and
licences looked at. Nothing here can be waived but the licences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from solon.core.artifacts import Artifact, Record, Store, digest, seal
from solon.core.errors import SolonError
from solon.curate import catalogue
from solon.stages.release import condition
from solon.stages.runs import Run

KINDS = {
    "demonstrations": "demonstrations", "red_team": "prompts", "benign": "prompts", "helpful": "prompts", "labelled": "labelled_pairs",
    "transcripts": "worked_critiques", "criticised": "labelled_pairs", "multiple_choice": "multiple_choice", "passages": "passages",
    "paraphrases": "paraphrases", "test_red_team": "prompts", "test_benign": "prompts",
}  # fmt: skip
"""What each source of a recipe is read as."""
FREE = re.compile(r"apache|mit\b|bsd|cc0|cc[- ]by(?![- ]*(?:sa[- ]*)?n[cd])|isc\b|unlicense|odc-by|public domain|zlib|postgresql|psf", re.IGNORECASE)
"""Licences under which a model or data may be passed on, also sold, with credit at most."""


def closure(store: Store, ids: Iterable[str]) -> list[str]:
    """These artifacts and everything of this store that they were made from, inputs first."""
    out: dict[str, None] = {}

    def visit(id: str) -> None:
        path = store.root / "artifacts" / id
        if id in out or not path.is_dir():
            return
        try:
            inputs = list(Artifact(id, path).evidence["inputs"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            inputs = []
        for source in inputs:
            if source != id:
                visit(source)
        out[id] = None

    for id in ids:
        visit(id)
    return list(out)


def gates(store: Store, run: Run) -> list[Record]:
    """Every stage of the run with what it starts from and what speaks against its artifact: nothing, if it is sound."""
    faults: dict[str, str] = {}
    out: list[Record] = []
    for role, id in run.artifacts.items():
        one = Artifact(id, store.root / "artifacts" / id)
        faults[id] = one.unsound(whole=True) if one.path.is_dir() else "it is not there"
        inputs = {} if faults[id] else dict(one.evidence["inputs"])
        out.append({"role": role, "id": id, "inputs": inputs, "fault": faults[id]})
    for row in out:
        bad = [name for name, source in row["inputs"].items() if faults.get(source)]
        row["ready"] = not bad and not row["fault"]
        row["waits_for"] = bad
    return out


def faults(store: Store, run: Run, more: Iterable[Artifact] = ()) -> list[str]:
    """Everything that is wrong with the evidence, in words; empty if nothing is."""
    wrong = []
    if run.id.rpartition("-")[2] != digest({"recipe": run.recipe, "book": run.book}, 8):
        wrong.append(f"run.json of {run.id}: the recipe or the constitution in it no longer gives the run's name")
    wanted = [*run.artifacts.values(), *(one.id for one in more)]
    wrong += [f"{id}: it is not there" for id in dict.fromkeys(wanted) if not (store.root / "artifacts" / id).is_dir()]
    seals: dict[str, str] = {}
    for id in closure(store, wanted):
        one = Artifact(id, store.root / "artifacts" / id)
        fault = one.unsound(whole=True)
        if fault:
            wrong.append(f"{id}: {fault}")
            continue
        seals[id] = seal(one.evidence)
        for role, kept in one.evidence.get("seals", {}).items():
            source = one.evidence["inputs"][role]
            if seals.get(source, kept) != kept:
                wrong.append(f"{source}: its evidence.json is not the one that {id} was made from")
    return wrong or _links(store, run)


def _links(store: Store, run: Run) -> list[str]:
    """That the figures are of the evaluations, and the evaluations of the models, that the run names."""
    wrong = []
    made = {role: store.get(id).evidence["inputs"] for role, id in run.evaluations.items()}
    for role, inputs in made.items():
        if role in run.models and inputs["model"] != run.models[role]:
            wrong.append(f"run.json of {run.id}: the evaluation of {role} is of {inputs['model']}")
    figures = store.get(run.stages["compare"]).evidence["inputs"] if "compare" in run.stages else {}
    for role, id in run.evaluations.items():
        if figures.get(role) != id:
            wrong.append(f"run.json of {run.id}: the figures of {role} are of {figures.get(role)}")
    if "feedback" in run.stages and "aligned" in run.models:
        labels = store.get(run.models["aligned"]).evidence["inputs"].get("labels")
        if labels != run.stages["feedback"]:
            wrong.append(f"run.json of {run.id}: the aligned model was trained on {labels}")
    return wrong


def model_of(run: Run) -> Record:
    """`{"name", "licence", "digest"}` of the published model; what cannot be known here is empty."""
    from solon.models import hub
    from solon.models.formats import read

    name = run.recipe["model"]
    entry = hub.CATALOGUE.get(name)
    path = hub.cached(name) if entry else Path(name) if Path(name).exists() else None
    try:
        found = read(path) if path else None
    except SolonError:
        found = None
    licence = entry.licence if entry else found.licence if found else ""
    return {"name": name, "licence": "" if licence == "unknown" else licence, "digest": found.digest if found else ""}


def data_of(store: Store, run: Run) -> list[Record]:
    """Every source that the run read: its name, licence, hash then and hash now (empty where it cannot be read here)."""
    then: Mapping[str, str] = next((store.get(id).evidence["config"].get("data") or {} for id in run.evaluations.values()), {})
    out: dict[str, Record] = {}
    for field, names in run.recipe.get("data", {}).items():
        for name in filter(None, (one.strip() for one in names.split(" + "))):
            if name in out:
                continue
            try:
                found = catalogue.source(name, "all", KINDS[field])
                now, licence = found.digest, found.licence
            except (SolonError, OSError):
                now, licence = "", ""
            out[name] = {"name": name, "licence": licence, "digest": then.get(name, ""), "now": now}
    return list(out.values())


def conditions(store: Store, run: Run, more: Iterable[Artifact], model: Record, data: list[Record]) -> list[Record]:
    """Lineage, sources and licences."""
    more = list(more)
    wrong, count = faults(store, run, more), len(closure(store, [*run.artifacts.values(), *(one.id for one in more)]))
    told = "; ".join(wrong) if wrong else f"{count} artifacts re-hashed, all as they were made"
    verify = f"solon verify {run.id} --steps 0 --samples 0"
    lineage = condition("lineage", "every artifact is as it was made", "all files and links unchanged", told, not wrong, verify, waivable=False)
    return [lineage, _unchanged(store, run, model, data), _licences(model, data)]


def _unchanged(store: Store, run: Run, model: Record, data: list[Record]) -> Record:
    """The published weights and the data are those that the run read; what is not here is said and does not count."""
    name, required = "weights and data are those of the run", "the same hashes"
    base = run.evaluations.get("base")
    kept = store.get(base).evidence["inputs"]["model"].rpartition("@")[2] if base and (store.root / "artifacts" / base).is_dir() else ""
    other = [one["name"] for one in data if one["digest"] and one["now"] and one["now"] != one["digest"]]
    if model["digest"] and kept and not model["digest"].startswith(kept):
        other.insert(0, f"the weights of {model['name']}")
    absent = [one["name"] for one in data if not one["now"]] + ([] if model["digest"] else [model["name"]])
    told = f"changed since: {', '.join(other)}" if other else f"{len(data) + 1 - len(absent)} of {len(data) + 1} sources looked at, unchanged"
    told += f"; not here: {', '.join(absent)}" if absent else ""
    return condition("sources", name, required, told, not other, f"solon align recipes/{run.recipe['name']}.yaml", waivable=False)


def _licences(model: Record, data: list[Record]) -> Record:
    name, required = "licences let it be passed on", "model and data under known licences that allow it"
    table = {model["name"]: model["licence"], **{one["name"]: one["licence"] for one in data}}
    bad = [f"{what}: {licence or 'unknown'}" for what, licence in table.items() if not FREE.search(licence)]
    told = "; ".join(bad) if bad else "; ".join(f"{licence}: {sum(one == licence for one in table.values())}" for licence in dict.fromkeys(table.values()))
    return condition("licences", name, required, told, not bad, f"solon show {model['name']}")
