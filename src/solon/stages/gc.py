"""What a folder of runs could do without: variants that no run refers to any more, and what is left of finished work.

Kept is everything that a run refers to, all that it was made from, whatever was not made by a recipe (red teaming, sweeps,
benchmarks: somebody asked for each by name) with all that this was made from, what is young, what cannot be read, and what is
being made. A run that has not ended names no artifacts yet, so while there is one nothing is taken from under it.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from solon.core.artifacts import Artifact, Record, Store, locked
from solon.core.errors import ConfigError, MissingError, SolonError, StorageError, nearest
from solon.stages.runs import list_runs

OF_A_RECIPE = frozenset({
    "sift", "helpful", "gate", "certify", "revise", "screen", "answers", "sl", "pairs", "feedback", "dpo", "evaluate", "compare",
})  # fmt: skip
TAIL = re.compile(r"-([0-9a-f]{12})(?![0-9a-f])")  # of an artifact's name, whatever stands before it in a text
DAYS = 7.0
FREED = "freed"  # folders on their way out, so that none is ever half there under its name


def plan(store: Store, dropped: Sequence[str] = (), days: float = DAYS) -> Record:
    """What would go and why the rest stays: `{"free": [{"kind", "id", "bytes"}], "kept": {artifact: reason}, "bytes": in all}`.

    `dropped` names runs, artifacts and drafts that are no longer wanted. What a dropped run used goes however young it is; with
    a dropped artifact goes all that was made from it. Raises `MissingError` for a name that is not here, and `ConfigError` for
    an artifact that something kept needs."""
    runs = {Path(run.path).name: run for run in list_runs(store)}
    found, drafts = _folders(store, "artifacts"), _folders(store, "drafts")
    for name in dropped:
        if name not in {*runs, *found, *drafts}:
            raise MissingError(f"there is no run, artifact or draft {name!r}", fix=nearest(name, [*runs, *found, *drafts]))
    sources = {id: _named(path / "evidence.json", found) - {id} for id, path in found.items()}
    named = {id: {one for path in (store.root / id).rglob("*.json") for one in _named(path, found)} for id in runs}
    wanted = {id: f"run {run} refers to it" for run, ids in named.items() if run not in dropped for id in ids}
    unwanted = _with_lineage({id: "" for run, ids in named.items() if run in dropped for id in ids}, sources).keys()
    given_up = {id for id in found if _with_lineage({id: ""}, sources).keys() & set(dropped)}
    unfinished = [id for id, run in runs.items() if id not in dropped and not run.ended_at]
    for id in found.keys() - given_up - wanted.keys():
        reason = _reason(found[id], unfinished, 0 if id in unwanted else days)
        wanted |= {id: reason} if reason else {}
    kept = _with_lineage(wanted, sources)
    for name in set(dropped) & kept.keys():
        raise ConfigError(f"{name} cannot be dropped", got=kept[name], fix="drop what needs it as well, or leave it")
    # What was made from others goes before them, so that a stop half-way leaves nothing without its sources.
    gone = sorted(found.keys() - kept.keys(), key=lambda id: (-_depth(id, sources), id))
    paths = [("run", store.root / id) for id in runs if id in dropped] + [("artifact", found[id]) for id in gone]
    paths += [("draft", path) for id, path in drafts.items() if id in dropped or (id in found and not Artifact(id, found[id]).unsound())]
    paths += [(FREED, path) for path in sorted((store.root / FREED).glob("*"))]
    free = [{"kind": kind, "id": path.name, "bytes": _bytes(path)} for kind, path in paths]
    return {"free": free, "kept": dict(sorted(kept.items())), "bytes": sum(one["bytes"] for one in free)}


def collect(store: Store, made: Record) -> None:
    """Delete what a plan frees. Raises `SolonError`, with nothing deleted, where a process is making something here."""
    busy = [lock.stem for lock in sorted((store.root / "drafts").glob("*.lock")) if locked(lock)]
    if busy:
        raise SolonError("another process is at work in this folder", got=", ".join(busy[:3]), fix="wait for it, then run this again")
    folders = {"run": store.root, "artifact": store.root / "artifacts", "draft": store.root / "drafts", FREED: store.root / FREED}
    aside = store.root / FREED
    try:
        for one in made["free"]:
            aside.mkdir(exist_ok=True)
            path = folders[one["kind"]] / one["id"]
            if one["kind"] != FREED:
                path = path.rename(aside / f"{one['kind']}-{one['id']}")
            path.unlink() if path.is_symlink() else shutil.rmtree(path)
        if aside.exists():
            aside.rmdir()
    except OSError as error:
        raise StorageError("a folder could not be deleted", got=error, fix="see who owns it, then run the same command again") from error


def _reason(path: Path, unfinished: Sequence[str], days: float) -> str:
    """Why an artifact that no run refers to is kept for its own sake; empty if it is not."""
    if Artifact(path.name, path).unsound():
        return "it cannot be read, or was changed"
    if path.name.rpartition("-")[0] not in OF_A_RECIPE:
        return "it was asked for by itself"
    if unfinished:
        return f"the unfinished run {unfinished[0]} may need it"
    return f"it is younger than {days:g} days" if time.time() - path.stat().st_mtime < days * 86400 else ""


def _folders(store: Store, where: str) -> dict[str, Path]:
    return {path.name: path for path in sorted((store.root / where).glob("*-*")) if path.is_dir() and not path.is_symlink()}


def _named(path: Path, found: Mapping[str, Path]) -> set[str]:
    """Artifacts that a file names anywhere: as an input, in its settings, in what it says."""
    tails = {id[-12:]: id for id in found}
    try:
        return {tails[tail] for tail in TAIL.findall(path.read_text("utf-8", errors="replace")) if tail in tails}
    except OSError:
        return set()


def _with_lineage(kept: Mapping[str, str], sources: Mapping[str, set[str]]) -> dict[str, str]:
    """These artifacts and all that they were made from."""
    out, waiting = dict(kept), list(kept)
    while waiting:
        id = waiting.pop()
        for source in sorted(sources.get(id, ())):
            if source not in out:
                out[source] = f"{id} was made from it"
                waiting.append(source)
    return out


def _depth(id: str, sources: Mapping[str, set[str]]) -> int:
    return 1 + max((_depth(source, sources) for source in sources[id]), default=0)


def _bytes(path: Path) -> int:
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file() and not one.is_symlink())
