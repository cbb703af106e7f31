"""Runs: which artifacts belong together, where their report is, and how to look back at them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from solon.constitution.store import Book
from solon.core.artifacts import Artifact, Record, Store, digest, write_text
from solon.core.errors import MissingError, StorageError, nearest
from solon.stages.recipe import Recipe


@dataclass(frozen=True)
class Run:
    """One carrying-out of a recipe. `models` maps roles to training artifacts, `stages` the other stages to theirs."""

    id: str
    path: str
    recipe: Record
    book: str
    started: str
    ended_at: str = ""
    models: dict[str, str] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    evaluations: dict[str, str] = field(default_factory=dict)
    reused: tuple[str, ...] = ()
    verdict: Record = field(default_factory=dict)

    def save(self) -> Run:
        """Write `run.json`."""
        try:
            Path(self.path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the folder {self.path} cannot be made", got=error, fix="name another with --runs") from error
        write_text(Path(self.path) / "run.json", json.dumps(asdict(self), indent=1, ensure_ascii=False))
        return self

    def ended(
        self, models: Mapping[str, Artifact], evaluations: Mapping[str, Artifact], **stages: Artifact
    ) -> Run:
        """The run with all its artifacts."""
        ids = lambda many: {name: one.id for name, one in many.items()}  # noqa: E731
        every = [*models.values(), *evaluations.values(), *stages.values()]
        return replace(
            self, models=ids(models), stages=ids(stages), evaluations=ids(evaluations), ended_at=now(),
            reused=tuple(one.id for one in every if one.reused),
        ).save()  # fmt: skip

    @property
    def artifacts(self) -> dict[str, str]:
        """All artifacts by what they are called in the run."""
        return {**self.models, **self.stages, **{f"evaluate {role}": id for role, id in self.evaluations.items()}}


def now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())


def begin(store: Store, plan: Recipe, book: Book) -> Run:
    """A run is named by its recipe and book: the same command continues or repeats the same run."""
    recipe = plan.model_dump(mode="json")
    id = f"{plan.name}-{digest({'recipe': recipe, 'book': book.hash}, 8)}"
    path = store.root / id
    if (path / "run.json").exists():
        return replace(load(path), started=now())
    return Run(id, str(path), recipe, book.hash, now()).save()


def load(path: Path) -> Run:
    content = json.loads((path / "run.json").read_text())
    return Run(**{**content, "path": str(path), "reused": tuple(content["reused"])})


def list_runs(store: Store) -> list[Run]:
    """The newest first."""
    found = [load(file.parent) for file in store.root.glob("*/run.json")]
    return sorted(found, key=lambda run: (run.ended_at or run.started, run.id), reverse=True)


def find(store: Store, name: str) -> Run:
    """A run by id, by the beginning of one, or `latest` (the one that ended last)."""
    known = list_runs(store)
    if name == "latest":
        known = [run for run in known if run.ended_at] or known
    else:
        known = [run for run in known if run.id == name] or [run for run in known if run.id.startswith(name)]
    if not known:
        ids = [run.id for run in list_runs(store)]
        raise MissingError(f"there is no run {name!r}", fix=nearest(name, ids) if ids else "begin with: solon align RECIPE")
    return known[0]


def graph(store: Store, run: Run) -> list[Record]:
    """Every artifact of the run with what it was made from: `{"id", "stage", "role", "inputs": [{"role", "id"}]}`."""
    out = []
    for role, id in run.artifacts.items():
        evidence = store.get(id).evidence
        inputs = [{"role": name, "id": source} for name, source in evidence["inputs"].items()]
        out.append({"id": id, "role": role, "stage": evidence["stage"], "inputs": inputs})
    return out


def compare(store: Store, a: Run, b: Run) -> Record:
    """Where two runs differ in recipe and artifacts, and their figures side by side."""
    recipes = {run.id: _flat(run.recipe) for run in (a, b)}
    keys = sorted({*recipes[a.id], *recipes[b.id]})
    changed = {key: [recipes[run.id].get(key) for run in (a, b)] for key in keys}
    figures: Record = {}
    for run in (a, b):
        if "compare" not in run.stages:
            continue
        for role, values in store.get(run.stages["compare"]).read("figures.json").items():
            for name, figure in values.items():
                shown = f"{figure['value']:.3f} [{figure['ci'][0]:.3f}, {figure['ci'][1]:.3f}] n {figure['n']}"
                figures.setdefault(f"{role} {name}", {})[run.id] = shown
    same = sorted(role for role in a.artifacts if a.artifacts[role] == b.artifacts.get(role))
    return {
        "runs": [a.id, b.id], "recipe": {key: pair for key, pair in changed.items() if pair[0] != pair[1]},
        "shared_artifacts": same, "figures": figures,
    }  # fmt: skip


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix[:-1]: value}
    out: dict[str, Any] = {}
    for name, inner in value.items():
        out |= _flat(inner, f"{prefix}{name}.")
    return out
