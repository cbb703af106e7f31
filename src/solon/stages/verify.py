"""Replaying parts of a run: files against their hashes, first training steps and sampled replies against what was kept.

It says whether the evidence can be made again on this machine. Another kind of processor may round otherwise: then the
replay differs although nothing was tampered with, and the note says where the run was made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from solon.constitution import store as books
from solon.constitution.store import Book
from solon.core.artifacts import Artifact, Draft, Record, Silent, Store, digest, environment
from solon.core.errors import SolonError
from solon.core.records import Sample, as_messages
from solon.generate.engine import Engine
from solon.stages import answers, dpo, evaluate, fit, models, pairs, revise, sft
from solon.stages.runs import Run
from solon.stages.sampling import SHARD

MADE = frozenset({"reply", "label", "reason", "finish", "overlap", "harm", "flagged"})  # what `evaluate` adds to an item


def verify(store: Store, run: Run, steps: int = 2, samples: int = 8) -> Record:
    """`{"ok", "checks": [{"artifact", "role", "what", "n", "same", "note"}]}`. `steps` of every training and `samples`
    rows of the first shard of every sampling stage are made again; 0 leaves them out."""
    checks = [_files(store, role, id) for role, id in run.artifacts.items()]
    whole = {one["role"]: store.get(one["artifact"]) for one in checks if one["same"]}
    jobs: list[tuple[str, str, Callable[[Artifact], Record]]] = []
    if steps:
        jobs += [(role, f"first {steps} training steps", lambda one: _training(one, steps, store)) for role in run.models]
    if samples:
        drawing = [role for role in ("revise", "answers", "pairs", *_evaluations(run)) if role in run.artifacts]
        book = books.load(run.recipe["constitution"])
        jobs += [(role, "replies", lambda one: _drawing(store, run, book, one, samples)) for role in drawing]
    with store.progress.task("replaying", len(jobs), "part") as advance:
        for role, what, job in jobs:
            if role in whole:
                checks.append({"artifact": whole[role].id, "role": role, "what": what, **_tried(job, whole[role])})
            advance(1, role)
    return {"ok": all(one["same"] for one in checks), "checks": checks}


def _evaluations(run: Run) -> list[str]:
    return [f"evaluate {role}" for role in run.evaluations]


def _files(store: Store, role: str, id: str) -> Record:
    """Every file has the hash of the evidence, and the evidence still has the name of its content."""
    found: Record = {"artifact": id, "role": role, "what": "files", "n": 0, "same": False, "note": ""}
    try:
        one = store.get(id)
        one.check()
    except (SolonError, ValueError, KeyError) as error:
        return {**found, "note": str(error).splitlines()[0]}
    recipe = {name: one.evidence[name] for name in ("stage", "version", "config", "inputs")}
    same = id == f"{one.stage}-{digest(recipe)}"
    note = "" if same else "the evidence was changed: its content no longer gives this name"
    return {**found, "n": len(one.evidence["outputs"]), "same": same, "note": note}


def _tried(job: Callable[[Artifact], Record], one: Artifact) -> Record:
    """A part that cannot be replayed is not verified, whatever the reason."""
    try:
        found = job(one)
    except SolonError as error:
        return {"n": 0, "same": False, "note": str(error).splitlines()[0]}
    return found if found["same"] else {**found, "note": "; ".join(filter(None, [found["note"], _elsewhere(one)]))}


def _elsewhere(one: Artifact) -> str:
    then, now = one.evidence["environment"], environment()
    told = [name for name in ("jax", "device", "processor", "kernels") if name in then and then[name] != now[name]]
    return "made elsewhere: " + ", ".join(f"{name} {then[name]} then, {now[name]} now" for name in told) if told else ""


def _training(one: Artifact, steps: int, store: Store) -> Record:
    """Losses of the first steps and the digests of the trained arrays, against the history and `early.json`."""
    if not (one.path / fit.EARLY).exists():
        return {"n": 0, "same": False, "note": "made by a version that kept no digests of early steps"}
    course = dpo.again(one, store.progress) if "labels" in one.evidence["inputs"] else sft.again(one)
    losses, digests = fit.replay(course, steps)
    kept = [row["loss"] for row in one.read("history.json")[:steps]]
    early = one.read(fit.EARLY)
    wrong = [f"the loss of step {i + 1}" for i, (a, b) in enumerate(zip(losses, kept, strict=True)) if a != b]
    wrong += [f"the adapter after step {step}" for step, sha in early.items() if int(step) <= steps and digests.get(step) != sha]
    return {"n": len(losses), "same": not wrong, "note": ", ".join(wrong) + " differs" if wrong else ""}


def _drawing(store: Store, run: Run, book: Book, one: Artifact, samples: int) -> Record:
    """The first shard is drawn whole, since only the same batch gives the same bytes; some rows of it are compared."""
    if one.evidence["config"].get("book", book.hash) != book.hash:
        return {"n": 0, "same": False, "note": "the constitution has changed since"}
    name = "replies" if one.stage == "evaluate" else "rows"
    rows = list(one.rows(name))
    asked = dict.fromkeys(map(_asked, rows))  # a prompt of several pairs is one
    first = set(list(asked)[:SHARD])
    kept = [row for row in rows if _asked(row) in first]
    drawn = SHARDS[one.stage](store, one, book, kept)
    every = max(len(kept) // samples, 1)
    chosen = range(0, len(kept), every)[:samples]
    wrong = [kept[i]["id"] for i in chosen if kept[i] != drawn[i]]
    return {"n": len(chosen), "same": not wrong, "note": f"other text: {', '.join(wrong)}" if wrong else ""}


def _asked(row: Record) -> str:
    """What a shard counts: a row, or the prompt of which several rows are pairs."""
    return str(row.get("prompt_id") or row["id"])


def _engine(store: Store, one: Artifact) -> Engine:
    """The model that drew: an artifact of this store, or a published one (`name@hash`)."""
    source = one.evidence["inputs"]["model"]
    made = (store.root / "artifacts" / source).exists()
    if made:
        return Engine(models.adapted(store.get(source), work="batches"))
    return Engine(models.ready(models.base(models.published_name(one), work="batches")))


def _settings(one: Artifact, kind: Any) -> tuple[Any, int]:
    """The stage's configuration and seed, from the evidence."""
    config = one.evidence["config"]
    return kind.model_validate({name: config[name] for name in kind.model_fields if name in config}), config["seed"]


def _draft() -> Draft:
    """Nothing is written when a shard is drawn again."""
    return Draft("replay", Path(), Silent())


def _nothing(*_: Any) -> None:
    return None


def _revised(store: Store, one: Artifact, book: Book, rows: Sequence[Record]) -> list[Record]:
    config, seed = _settings(one, revise.Revise)
    part = [Sample(row["id"], as_messages(row["prompt"]), None, row["tags"]) for row in rows]
    return revise.shard(config, book, _engine(store, one), part, seed, _draft(), _nothing)


def _answered(store: Store, one: Artifact, book: Book, rows: Sequence[Record]) -> list[Record]:
    config, seed = _settings(one, answers.Answers)
    cut = [(row, *row["id"].rsplit("/", 1)) for row in rows]
    part = [(Sample(id, as_messages(row["messages"][:-1])), int(number)) for row, id, number in cut]
    return answers.shard(config, _engine(store, one), part, seed, _draft(), _nothing)


def _paired(store: Store, one: Artifact, book: Book, rows: Sequence[Record]) -> list[Record]:
    config, seed = _settings(one, pairs.Pairs)
    once = {row["prompt_id"]: row for row in rows}
    part = [Sample(id, as_messages(row["prompt"]), None, {"kind": row["kind"]}) for id, row in once.items()]
    return pairs.shard(config, book, _engine(store, one), part, seed, _draft(), _nothing)


def _evaluated(store: Store, one: Artifact, book: Book, rows: Sequence[Record]) -> list[Record]:
    config, seed = _settings(one, evaluate.Evaluate)
    part = [{name: value for name, value in row.items() if name not in MADE} for row in rows]
    return evaluate.shard(config, _engine(store, one), part, seed, _draft(), _nothing)


SHARDS: dict[str, Callable[[Store, Artifact, Book, Sequence[Record]], list[Record]]] = {
    "revise": _revised, "answers": _answered, "pairs": _paired, "evaluate": _evaluated,
}  # fmt: skip
