"""Walking back from a row that a model was trained on to everything that made it what it is."""

from __future__ import annotations

import difflib
from typing import Any

from solon.constitution import store as books
from solon.constitution.store import Book
from solon.core.artifacts import Artifact, Record, Store
from solon.core.errors import MissingError, SolonError
from solon.stages.runs import Run


def trace(store: Store, run: Run, row_id: str) -> Record:
    """The row's prompt, first reply, critiques and revisions with their principles, pair, label, judge and sources.

    `row_id` is a row (`rt-0012/1`) or a prompt (`rt-0012`, with all rows made of it). Raises `MissingError` with the
    nearest ids."""
    trained = {role: list(store.get(id).rows("rows")) for role, id in run.models.items()}
    prompt_id = _prompt_id(row_id, trained)
    found = [
        {"role": role, "artifact": run.models[role], **_fate(row)}
        for role, rows in trained.items()
        for row in rows
        if row["id"] == row_id or prompt_id == row_id == row["id"].rpartition("/")[0] or row["id"] == prompt_id
    ]
    book = _book(run)
    revised = _row(store, run, "revise", prompt_id)
    answered = _row(store, run, "answers", row_id)
    pair = _pair(store, run, row_id, prompt_id)
    shown: Record = {"row": row_id, "prompt_id": prompt_id, "trained": found}
    first = revised or pair or answered or next(row for rows in trained.values() for row in rows if row["id"] == row_id)
    shown["prompt"] = first["prompt"] if "prompt" in first else first["messages"][:-1]
    if revised:
        shown["first"] = revised["first"]
        shown["rounds"] = [{"round": i, **_round(one, book)} for i, one in enumerate(revised["rounds"])]
    elif not pair:
        shown["reply"] = first["messages"][-1]["content"]
    if pair:
        shown["pair"] = _labelled(pair, book)
        shown["judge"] = _judge(store.get(run.stages["certify"]))
    return {**shown, "sources": _sources(store, run, bool(revised), bool(answered), bool(pair), found)}


def trained_rows(store: Store, run: Run) -> list[Record]:
    """Every row that a model of the run was trained on: `{"role", "id", "source", "request"}`, in the order of training."""
    return [
        {"role": role, "id": row["id"], "source": row.get("source", ""), "request": _request(row)}
        for role, id in run.models.items()
        for row in store.get(id).rows("rows")
    ]


def _request(row: Record) -> str:
    asked = [turn["content"] for turn in (row["prompt"] if "prompt" in row else row["messages"]) if turn["role"] == "user"]
    return asked[-1] if asked else ""


def _prompt_id(row_id: str, trained: dict[str, list[Record]]) -> str:
    """The prompt behind a row; a prompt's own id stands for all its rows."""
    rows = {row["id"] for many in trained.values() for row in many}
    prompts = rows | {id.rpartition("/")[0] for id in rows if "/" in id}
    if row_id not in prompts:
        near = difflib.get_close_matches(row_id, sorted(prompts), n=5, cutoff=0.4) or sorted(prompts)[:5]
        raise MissingError(f"no model of this run was trained on a row {row_id!r}", fix="near it: " + ", ".join(near))
    before = row_id.rpartition("/")[0]
    return before if row_id in rows and before else row_id


def _fate(row: Record) -> Record:
    """What a training stage noted of its row."""
    return {name: row[name] for name in ("id", "source", "tokens", "principle", "dropped") if name in row}


def _row(store: Store, run: Run, stage: str, id: str) -> Record | None:
    return next((row for row in store.get(run.stages[stage]).rows("rows") if row["id"] == id), None)


def _pair(store: Store, run: Run, row_id: str, prompt_id: str) -> Record | None:
    """The pair that was asked for, or of several pairs of the prompt the one that was learned."""
    rows = store.get(run.stages["feedback"]).rows("rows")
    ours = [row for row in rows if row["prompt_id"] == prompt_id]
    asked = [row for row in ours if row["id"] == row_id] + [row for row in ours if not row.get("dropped")] + ours
    return asked[0] if asked else None


def _book(run: Run) -> Book | None:
    """The book of the run, or None where it cannot be had any more as it was."""
    try:
        book = books.load(run.recipe["constitution"])
    except SolonError:
        return None
    return book if book.hash == run.book else None


def _principle(id: str, book: Book | None) -> Record:
    return {"principle": id, "text": book.principle(id).text if book else "(the constitution has changed since)"}


def _round(one: Record, book: Book | None) -> Record:
    return {**_principle(one["principle"], book), **{name: one[name] for name in ("critique", "revision", "fate")}}


def _labelled(pair: Record, book: Book | None) -> Record:
    kept = ("first", "second", "p_first", "p_forward", "p_backward", "judge", "dropped")
    return {**_principle(pair["principle"], book), **{name: pair[name] for name in kept if name in pair}}


def _judge(labels: Artifact) -> Record:
    """The judge that labelled and what its certificate says."""
    facts = labels.evidence["facts"]
    one = labels.read("certificates.json")[facts["place"]]
    return {"name": facts["judge"], "accepted": facts["accepted"], "certificate": {
        name: one[name] for name in ("accuracy", "bar", "n", "note")}}  # fmt: skip


def _sources(store: Store, run: Run, revised: bool, answered: bool, pair: bool, found: list[Record]) -> Record:
    """The artifacts on the way, and where the prompt was read from."""
    stages = [name for name, there in (("revise", revised), ("answers", answered), ("pairs", pair), ("feedback", pair)) if there]
    made: dict[str, Any] = {name: run.stages[name] for name in stages}
    inputs = {id: store.get(id).evidence["inputs"] for id in made.values()}
    digests: dict[str, str] = next((store.get(id).evidence["config"].get("data", {}) for id in run.evaluations.values()), {})
    data = [{"name": name, "sha256": sha} for name, sha in digests.items() if name in run.recipe["data"].values()]
    models = {one["role"]: one["artifact"] for one in found}
    return {"models": models, "stages": made, "inputs": inputs, "constitution": f"{run.recipe['constitution']} {run.book}", "data": data}
