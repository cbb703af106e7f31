"""The report: `report.json` for machines and `report.html` for people, put together from artifacts and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import solon
from solon.constitution import store as books
from solon.core.artifacts import Artifact, Record, Store, environment, write_text
from solon.core.errors import SolonError
from solon.stages import release_evidence, release_integrity, release_review, runs, wins
from solon.stages._report_limits import limits
from solon.stages.failures import told as failures_told
from solon.stages.readiness import PHASES, readiness
from solon.stages.release import PASS
from solon.stages.report_page import page

SHOWN = {"red_team": 24, "benign": 16, "helpful": 16}
POINTS = 200  # of a curve
NEXT = 3  # kinds of failure that are told to matter next


def report(store: Store, run: runs.Run) -> runs.Run:
    """Assemble the report of a finished run and write it."""
    return save(run, assemble(store, run))


def save(run: runs.Run, content: Record) -> runs.Run:
    """Write both files into the run's folder and the verdict into the run."""
    folder = Path(run.path)
    write_text(folder / "report.json", json.dumps(content, indent=1, ensure_ascii=False))
    write_text(folder / "report.html", page(content))
    return replace(run, verdict={name: content["verdict"][name] for name in ("release", "conditions")}).save()


def assemble(store: Store, run: runs.Run, reviewer: str = "") -> Record:
    """Everything the report shows, as one JSON value."""
    figures, recipe = store.get(run.stages["compare"]), run.recipe
    evidence = release_evidence.gather(store, run)
    data = release_integrity.data_of(store, run)
    failures = failures_told(store, run)
    content: Record = {
        "title": f"{recipe['name']}: {recipe['model']} raised by the constitution {recipe['constitution']!r}",
        "recipe": recipe["name"], "description": recipe["description"], "date": run.ended_at, "run": run.id, "model": recipe["model"],
        "constitution": _constitution(run), "solon": solon.__version__, "command": f"solon align recipes/{recipe['name']}.yaml",
        "seed": recipe["seed"], "verdict": release_review.review(store, run, evidence, reviewer),
        "models": wins.figures(store, run), "pairs": figures.read("pairs.json"),
        "certificate": store.get(run.stages["certify"]).read("certificates.json"),
        "stages": [_stage(store.get(id), role, run) for role, id in run.artifacts.items()],
        "curves": {role: _curve(store.get(id)) for role, id in run.models.items()},
        **release_evidence.shown(evidence, run.id), "failures": failures, "readiness": _readiness(store, run, failures),
        "samples": _samples(store, run), "revisions": _revisions(store.get(run.stages["revise"])),
        "lineage": runs.graph(store, run),
        "data": {"digests": {one["name"]: one["digest"] for one in data}, "licences": {one["name"]: one["licence"] for one in data}},
        "environment": environment(), "recipe_full": run.recipe,
    }  # fmt: skip
    return {**content, "limits": limits(content, recipe, len(release_review.over_seeds(store, run)))}


def _readiness(store: Store, run: runs.Run, failures: Record) -> Record:
    """What each phase lacks, and the kinds of failure that are surely the most frequent: those of the highest lower ends. How long a
    reply may be is the recipe's doing, so replies that were cut are not among them."""
    lacking = lambda found: [{name: one[name] for name in ("name", "status", "measured", "command")} for one in found["components"] if one["status"] != PASS]  # noqa: E731
    phases = [{**{name: found[name] for name in ("phase", "ready", "met", "declared")}, "lacking": lacking(found)} for found in (readiness(store, run, one) for one in PHASES)]
    kinds = sorted((one for one in failures["kinds"] if one["failed"] and one["name"] != "cut_short"), key=lambda one: -one["share"]["ci"][0])
    return {
        "phases": phases,
        "next": [{**{name: one[name] for name in ("name", "title", "share")}, "command": f"{failures['command']} --kind {one['name']}"} for one in kinds[:NEXT]],
    }  # fmt: skip


def _constitution(run: runs.Run) -> Record:
    """The book of the run; where it has changed since, only its name and hash are known."""
    said = {"name": run.recipe["constitution"], "hash": run.book}
    try:
        book = books.load(run.recipe["constitution"])
    except SolonError:
        return said
    return {**said, "name": book.name, "version": book.version, "principles": len(book.principles)} if book.hash == run.book else said


def _stage(artifact: Artifact, role: str, run: runs.Run) -> Record:
    evidence = artifact.evidence
    cost, rows = evidence["cost"], evidence["data"]
    first = evidence["metrics"][0] if evidence["metrics"] else None
    headline = f"{first['name'].replace('_', ' ')} {first['value']:.3g}" if first else ""
    return {
        "stage": role, "id": artifact.id, "seconds": cost["seconds"], "tokens": cost["tokens"],
        "peak_bytes": cost["peak_bytes"], "rows_kept": rows["kept"], "rows_dropped": rows["dropped"],
        "reused": artifact.id in run.reused, "headline": headline, "metrics": evidence["metrics"],
    }  # fmt: skip


def _curve(artifact: Artifact) -> list[Record]:
    history = artifact.read("history.json")
    every = max(len(history) // POINTS, 1)
    return [{name: value for name, value in row.items() if name != "items"} for row in history[::every]]


def _samples(store: Store, run: runs.Run) -> list[Record]:
    """The first held-out items of each kind with all four models' replies: picked by the recipe's seed, not by hand."""
    by_role = {role: list(store.get(id).rows("replies")) for role, id in run.evaluations.items()}
    out: list[Record] = []
    left = dict(SHOWN)
    for place, row in enumerate(by_role["base"]):
        if left.get(row["kind"], 0) <= 0:
            continue
        left[row["kind"]] -= 1
        rows = {role: many[place] for role, many in by_role.items()}
        out.append(
            {"id": row["id"], "kind": row["kind"], "prompt": row["prompt"][-1]["content"],
             "replies": {role: one["reply"] for role, one in rows.items()},
             "labels": {role: one["label"] for role, one in rows.items()}}
        )  # fmt: skip
    return out


def _revisions(revised: Artifact) -> list[Record]:
    rows: Sequence[Record] = list(revised.rows("rows"))[:12]
    return [
        {"id": row["id"], "prompt": row["prompt"][-1]["content"], "first": row["first"], "rounds": row["rounds"]}
        for row in rows
    ]

