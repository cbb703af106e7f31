"""Blind rating as files: a batch is drawn into a folder, ratings are read against it, and what they say is written out.

The folder holds `tasks.jsonl` (what raters get), `key.jsonl` (which is kept from them) and `batch.json` (seed, source and
hashes). A batch whose files were changed is refused.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from solon.constitution.judging import Judge, Question
from solon.constitution.store import Book, purpose
from solon.core.artifacts import Artifact, Draft, Record, Store, file_digest, write_rows, write_text
from solon.core.errors import ConfigError, DataError, MissingError, StorageError
from solon.core.records import LabelledPair, as_json, as_messages
from solon.curate import catalogue, forms, rows
from solon.evals import rating
from solon.evals.rating import Batch, Key, Pair, Rating, Task, Verdict, Who
from solon.evals.statistics import settle
from solon.stages import runs

FILES = ("tasks.jsonl", "key.jsonl")
FORM = 2
KEPT, VERSION = "rated", 2  # equal and empty replies count
"""The stage and version of a verdict that is kept."""


def pairs(store: Store, source: str, other: str | None = None, kind: str | None = None) -> tuple[list[Pair], Record]:
    """The pairs of a source, and what the source was. Equal and empty replies are among them: they are shown to nobody and
    count as ties and losses (`rating.settled`).

    `source` is a file or named set of preference pairs, or an artifact of pairs. With `other`, both are what models
    replied when they were evaluated (`RUN:role`, or ids of artifacts), and replies to the same item are paired; `kind`
    chooses items of one kind (red_team, benign, helpful, paraphrase)."""
    if other is not None:
        found, facts = _evaluated(store, source, other, kind)
    elif (store.root / "artifacts" / source / "evidence.json").exists():
        found = [_of_row(row) for row in store.get(source).rows("rows") if not row.get("dropped")]
        facts = {"source": source}
    else:
        found, facts = _of_source(source)
    if all(rating.settled(one) for one in found):
        raise DataError(f"{source} holds no two replies that differ", got=f"{len(found)} pairs, all equal or empty")
    return found, facts


def draw(folder: Path, given: Sequence[Pair], facts: Mapping[str, Any], seed: int, **settings: Any) -> Batch:
    """Draw a batch (`rating.draw`) and write it, whole or not at all. Raises `StorageError` where the folder exists."""
    batch = rating.draw(given, seed, **settings)
    if folder.exists():
        raise StorageError(f"the folder {folder} exists", fix="name a new one: a batch is never drawn over")
    aside = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        write_rows(aside / FILES[0], [{**asdict(task), "prompt": as_json(task.prompt)} for task in batch.tasks])
        write_rows(aside / FILES[1], [_key_row(batch, key) for key in batch.keys])
        hashes = {name: file_digest(aside / name) for name in FILES}
        about = {"form": FORM, "seed": seed, **facts, "raters": batch.raters, "tasks": len(batch.tasks), "settled": batch.settled, "sha256": hashes}
        write_text(aside / "batch.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n")
        aside.rename(folder)
    except OSError as error:
        raise StorageError(f"the folder {folder} cannot be written", got=error, fix="name another with --out") from error
    return batch


def load(folder: Path) -> Batch:
    """A batch as it was drawn. Raises `MissingError` where there is none, `DataError` where it was changed."""
    if not (folder / "batch.json").is_file():
        raise MissingError(f"there is no batch in {folder}", expected="a folder made by `solon rate draw`")
    try:
        about = json.loads((folder / "batch.json").read_text("utf-8"))
        if about["form"] != FORM:
            fix = "draw another batch: this one does not say what was left out of it"
            raise DataError(f"{folder} was drawn by another version of Solon", got=f"form {about['form']}", expected=f"form {FORM}", fix=fix)
        for name in FILES:
            if file_digest(folder / name) != about["sha256"][name]:
                raise DataError(f"{folder / name} was changed after it was drawn", fix="restore it, or draw another batch")
        tasks, keys = ([row for _, row in rows.read(folder / name)] for name in FILES)
        known = {row["item"]: _pair_of(row, task) for row, task in zip(keys, tasks, strict=True) if not row["check"]}
        return Batch(
            about["seed"], tuple(Task(row["task"], as_messages(row["prompt"]), row["a"], row["b"]) for row in tasks),
            tuple(Key(row["task"], row["item"], row["swapped"], row["repeats"], row["check"]) for row in keys),
            known, about["raters"], about["settled"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{folder} is no batch that can be read", got=repr(error), fix="draw another batch") from error


def ratings(paths: Sequence[Path]) -> list[Rating]:
    """Ratings of JSONL, JSON, CSV or Parquet files: `task`, `rater`, `kind`, `choice`, perhaps marks such as
    `a_helpfulness`. Raises `DataError` that names the row."""
    found = []
    for path in paths:
        for place, row in rows.read(path):
            task, rater, kind, choice = (_text(place, row, name) for name in ("task", "rater", "kind", "choice"))
            if choice not in rating.CHOICES:
                raise DataError(f"{place}: the field 'choice' makes no choice", got=choice, expected="a, b or tie")
            found.append(Rating(task, rater, kind, choice, _marks(place, row)))
    return found


def judged(batch: Batch, judge: Judge, name: str, book: Book) -> tuple[list[Record], int]:
    """A model's ratings of a batch, as rows of a rater `name` of kind `model:NAME`, and how many tasks it gave no opinion of.
    It sees what every rater sees, each task in both orders: where they disagree it says tie. Raises `ConfigError` where the
    batch is for people."""
    if batch.raters == "human":
        raise ConfigError("this batch is for people, and no model may rate it", got=f"model:{name}", fix="draw one with --raters any or model")
    principle = purpose(book)
    made = judge.prefer([Question(one.task, one.prompt, one.a, one.b, principle) for one in batch.tasks])
    found = [(task.task, settle(one.p_forward, 1 - one.p_backward)) for task, one in zip(batch.tasks, made, strict=True) if one.p_forward is not None and one.p_backward is not None]
    words = {1.0: "a", 0.0: "b", 0.5: "tie"}
    return [{"task": task, "rater": name, "kind": f"model:{name}", "choice": words[outcome]} for task, outcome in found], len(made) - len(found)


def keep(store: Store, folder: Path, files: Sequence[Path], verdict: Verdict) -> Artifact:
    """The verdict on an accepted batch of two evaluated models' replies as an artifact (`verdict.json`), so that a release can
    rest on it. Raises `DataError` for a rejected batch, `ConfigError` where the replies are not of two evaluations."""
    if not verdict.accepted:
        raise DataError("this batch was rejected, so no release can rest on it", got="; ".join(verdict.reasons), fix="have it rated again")
    about = json.loads((folder / "batch.json").read_text("utf-8"))
    if not about.get("other"):
        expected = "a batch of `solon rate draw RUN:base RUN:aligned`"
        raise ConfigError(f"{folder} does not compare two evaluated models", got=about.get("source"), expected=expected)
    settings = {name: about[name] for name in ("kind", "seed", "settled", "sha256")} | {"ratings": sorted(file_digest(path) for path in files)}

    def build(draft: Draft) -> None:
        draft.write("verdict.json", asdict(verdict))
        draft.kept = verdict.items
        found = verdict.preference
        if found:
            draft.metric("preference for the second", 0.5 + found.difference, n=found.n, ci=[0.5 + found.low, 0.5 + found.high], unit="share", how=found.test)
        draft.facts |= {"rater_kind": verdict.rater_kind, "writers": about["writers"]}

    return store.make(KEPT, VERSION, settings, {"first": about["source"], "second": about["other"]}, build)


def exported(batch: Batch, given: Sequence[Rating], verdict: Verdict, form: str) -> list[Record]:
    """Rows for other programs. `ratings`: every rating with its hidden part, for looking into a batch that was rejected
    too. `preferences`: the majority's choices as `{"prompt", "chosen", "rejected", ...}`, which recipes read; items
    without a majority are left out. Raises `DataError` where preferences are asked of a rejected batch."""
    if form == "ratings":
        return [_rating_row(batch, one, verdict) for one in given]
    if form != "preferences":
        raise ConfigError("a batch is exported as one of two things", got=form, expected="preferences or ratings")
    if not verdict.accepted:
        fix = "have it rated again; `--as ratings` writes the single ratings out"
        raise DataError("this batch was rejected, so nothing can be learned from it", got="; ".join(verdict.reasons), fix=fix)
    counted = [one.name for one in verdict.raters if not one.excluded]
    made = []
    for one in rating.outcomes(batch, given, counted):
        if one.p_first == 0.5:
            continue
        pair, first = batch.pairs[one.item], one.p_first > 0.5
        texts = (pair.first, pair.second) if first else (pair.second, pair.first)
        made.append({
            "id": one.item, "prompt": as_json(pair.prompt), "chosen": texts[0], "rejected": texts[1], "kind": "rated",
            "rater_kind": verdict.rater_kind, "chosen_writer": pair.writers[not first], "share": max(one.p_first, 1 - one.p_first),
            "votes": f"{one.first} first, {one.second} second, {one.ties} ties",
        })  # fmt: skip
    if not made:
        raise DataError("no item has a majority", fix="collect an odd number of raters, or other pairs")
    return made


def write(path: Path, made: Sequence[Record]) -> None:
    """Rows as JSONL or CSV, by the file's ending, whole or not at all; in CSV lists are JSON."""
    if path.suffix == ".jsonl":
        write_rows(path, made)
    elif path.suffix == ".csv":
        out = io.StringIO()
        table = csv.DictWriter(out, fieldnames=list(dict.fromkeys(name for row in made for name in row)), lineterminator="\n")
        table.writeheader()
        for row in made:
            table.writerow({k: v if isinstance(v, str | int | float) else json.dumps(v, ensure_ascii=False) for k, v in row.items()})
        write_text(path, out.getvalue())
    else:
        raise ConfigError("the file's ending says no format", got=path.name, expected=".jsonl or .csv")


def _evaluated(store: Store, a: str, b: str, kind: str | None) -> tuple[list[Pair], Record]:
    sides = [_evaluation(store, name) for name in (a, b)]
    first, second = ({row["id"]: row for row in store.get(id).rows("replies") if kind in (None, row["kind"])} for id in sides)
    both = [id for id in first if id in second and first[id]["prompt"] == second[id]["prompt"]]
    if not both:
        raise DataError(f"{a} and {b} share no items", got=f"kind {kind}" if kind else f"{len(first)} and {len(second)} replies")
    made = [Pair(id, as_messages(first[id]["prompt"]), first[id]["reply"], second[id]["reply"], (a, b)) for id in both]
    return made, {"source": sides[0], "other": sides[1], "writers": [a, b], "kind": kind}


def _evaluation(store: Store, name: str) -> str:
    """The id of the evaluation that `RUN:role` or an id names."""
    run, colon, role = name.partition(":")
    if not colon:
        found = store.get(name)
        if found.stage != "evaluate":
            raise ConfigError(f"{name} holds no replies to compare", got=found.stage, expected="an artifact of evaluate, or RUN:role")
        return found.id
    evaluations = runs.find(store, run).evaluations
    if role not in evaluations:
        raise MissingError(f"the run {run} has no evaluation of {role!r}", expected=", ".join(evaluations) or "none yet")
    return evaluations[role]


def _of_source(source: str) -> tuple[list[Pair], Record]:
    """Named sets, and files with chosen and rejected, or with first and second."""
    if catalogue.kind_of(source) is not None:
        found = catalogue.source(source)
        if found.kind != "labelled_pairs":
            raise ConfigError(f"{source} holds {found.kind}, not pairs", expected="a set of labelled pairs")
        return [_labelled(one) for one in found.rows], {"source": source, "source_sha256": found.digest, "licence": found.licence}
    table = list(rows.read(source))
    hashes = [file_digest(path) for path in rows.files(source)]
    facts = {"source": Path(source).name, "source_sha256": hashes[0] if len(hashes) == 1 else hashes}
    if all("first" in row and "second" in row for _, row in table):
        # Read as preferences, so that prompts are checked as everywhere; `first` and `second` keep their names.
        read = forms.as_preferences([(p, {**row, "chosen": row["first"], "rejected": row["second"]}) for p, row in table])
        writers = [tuple(str(row.get(f"{side}_writer") or side) for side in ("first", "second")) for _, row in table]
        return [Pair(one.id, one.prompt, one.first, one.second, who) for one, who in zip(read, writers, strict=True)], facts  # type: ignore[arg-type]
    return [_labelled(one) for one in forms.as_labelled_pairs(table)], facts


def _labelled(one: LabelledPair) -> Pair:
    return Pair(one.id, one.prompt, one.chosen, one.rejected, ("chosen", "rejected"))


def _of_row(row: Record) -> Pair:
    try:
        return Pair(row["id"], as_messages(row["prompt"]), row["first"], row["second"])
    except KeyError as error:
        raise DataError("this artifact holds no pairs of replies", got=f"no field {error}", expected="an artifact of pairs or feedback") from error


def _key_row(batch: Batch, key: Key) -> Record:
    return {**asdict(key), "writers": list(batch.pairs[key.item].writers)}


def _pair_of(key: Mapping[str, Any], task: Mapping[str, Any]) -> Pair:
    first, second = (task["b"], task["a"]) if key["swapped"] else (task["a"], task["b"])
    return Pair(key["item"], as_messages(task["prompt"]), first, second, tuple(key["writers"]))


def _rating_row(batch: Batch, one: Rating, verdict: Verdict) -> Record:
    key = next(key for key in batch.keys if key.task == one.task)
    pair, role = batch.pairs[key.item], "check" if key.check else "repeat" if key.repeats else "task"
    chosen = "" if key.check else rating.unblinded(batch, one)
    said = {"passed": one.choice == key.check} if key.check else {"chosen": chosen}
    return {
        "task": one.task, "item": key.item, "role": role, "rater": one.rater, "rater_kind": one.kind, "choice": one.choice,
        **said, "first_writer": pair.writers[0], "second_writer": pair.writers[1], **one.scales, "batch_accepted": verdict.accepted,
    }  # fmt: skip


def _text(place: str, row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{place}: the field {name!r} is missing", got=repr(value), expected="task, rater, kind and choice in every row")
    return value.strip()


def _marks(place: str, row: Mapping[str, Any]) -> dict[str, int]:
    """The scales of a row; an empty cell is a mark not given."""
    given = {f"{side}_{scale}": row.get(f"{side}_{scale}") for side in ("a", "b") for scale in rating.SCALES}
    marks = {}
    for name, value in given.items():
        if value in (None, ""):
            continue
        try:
            marks[name] = int(str(value))
        except ValueError:
            raise DataError(f"{place}: the field {name!r} is no mark", got=repr(value), expected="1, 2, 3, 4 or 5") from None
    return marks


__all__ = ["Batch", "Who", "draw", "exported", "judged", "keep", "load", "pairs", "ratings", "write"]
