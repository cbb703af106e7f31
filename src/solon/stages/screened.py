"""What the safety classifier says of all that a finished run was trained on. It changes nothing: a report of what went in.

`sift` looks at sources before the trainings and leaves rows out; this looks afterwards at the rows that the trainings kept,
whatever made them: demonstrations, transcripts, revisions, answers, and of every pair the chosen and the rejected reply.
Rejected replies are harmful more often, on purpose: from them a model learns what not to say, so they are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial

from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.errors import MissingError
from solon.core.records import Conversation, Message, as_messages
from solon.evals import statistics as stats
from solon.safety.classifier import Classifier
from solon.stages.runs import Run

VERSION = 1
SHARD = 64
WORST = 5
"""Rows of each training that are named."""


def screened(store: Store, run: Run, classifier: Classifier) -> Artifact:
    """`rows.jsonl` (each trained row's harm, severity and flag by training, side and id, without texts) and `figures.json` (see
    `figures`). Raises `MissingError` for a run that has no trainings yet."""
    if not run.models:
        raise MissingError(f"the run {run.id} has trained nothing yet", fix="let it end: solon align RECIPE goes on where it stopped")
    return store.make("screened", VERSION, {"classifier": classifier.card}, run.models, partial(_build, store, run.models, classifier))


def _build(store: Store, models: Mapping[str, str], classifier: Classifier, draft: Draft) -> None:
    asked = [one for role, id in models.items() for one in trained(role, store.get(id))]
    with draft.progress.task("screening", len(asked), "row") as advance:

        def make(part: Sequence[Record]) -> list[Record]:
            out = []
            for row in part:
                out.append({name: row[name] for name in ("training", "side", "id")} | _worst(classifier, row["replies"]))
                advance(1)
            return out

        rows = draft.in_shards("rows", asked, SHARD, make)
    draft.write_rows("rows", rows)
    found = figures(rows, classifier.card)
    draft.write("figures.json", found)
    draft.metric("screened", found["scored"] / found["n"], n=found["n"], unit="share", how=f"rows of all trainings that {classifier.card} scored")
    for one in found["trainings"]:
        if one["flagged"]:
            ci = [one["flagged"]["low"], one["flagged"]["high"]]
            draft.metric(f"flagged {one['training']} {one['side']}", one["flagged"]["value"], n=one["scored"], ci=ci, unit="share",
                         how=f"by {classifier.card}; {one['flagged']['how']}")  # fmt: skip


def trained(role: str, one: Artifact) -> Iterator[Record]:
    """The rows that a training kept, with the replies that it learned, each in its context: a supervised row's assistant turns,
    a rollout's reply, or of a pair first the better and then the worse by its label."""
    for row in one.rows("rows"):
        if row.get("dropped"):
            continue
        if "p_first" in row:
            sides = ("first", "second") if row["p_first"] >= 0.5 else ("second", "first")
            for side, name in zip(("chosen", "rejected"), sides, strict=True):
                yield {"training": role, "side": side, "id": row["id"], "replies": [(*as_messages(row["prompt"]), Message("assistant", row[name]))]}
        else:
            turns = as_messages(row["messages"]) if "messages" in row else (*as_messages(row["prompt"]), Message("assistant", row["reply"]))
            yield {"training": role, "side": "reply", "id": row["id"], "replies": learned(turns, row.get("learn"))}


def learned(turns: Conversation, last: int | None = None) -> list[Conversation]:
    """The conversation up to each assistant turn that is learned: all, or the `last` so many."""
    ends = [place + 1 for place, turn in enumerate(turns) if turn.role == "assistant"]
    return [turns[:end] for end in (ends if last is None else ends[-last:])]


def _worst(classifier: Classifier, replies: Sequence[Conversation]) -> Record:
    """The most harmful of a row's replies; of a row without one nothing is known."""
    if not replies:
        return {"harm": None, "severity": None, "flagged": None, "truncated": None}
    scores = classifier.score(replies)
    worst = max(scores, key=lambda one: one.harm)
    return {
        "harm": worst.harm, "severity": worst.severity, "flagged": any(one.flagged for one in scores), "truncated": any(one.truncated for one in scores),
    }  # fmt: skip


def figures(rows: Sequence[Record], card: str) -> Record:
    """`{"classifier", "n", "scored", "screened", "trainings": [...]}`; of each training and side `n` rows, `scored` of them,
    `screened` in words, the share `flagged` with its exact interval, mean `severity` with its interval (None where no row was
    scored), `truncated`: how many have an end that was not read, and the `worst` rows by id."""
    sides = dict.fromkeys((row["training"], row["side"]) for row in rows)
    each = [_of_one(training, side, [row for row in rows if (row["training"], row["side"]) == (training, side)]) for training, side in sides]
    n, scored = len(rows), sum(one["scored"] for one in each)
    return {"classifier": card, "n": n, "scored": scored, "screened": f"{scored} of {n}", "trainings": each}


def _of_one(training: str, side: str, rows: Sequence[Record]) -> Record:
    known = [row for row in rows if row["harm"] is not None]
    worst = sorted(known, key=lambda row: (-row["harm"], row["id"]))[:WORST]
    return {
        "training": training, "side": side, "n": len(rows), "scored": len(known), "screened": f"{len(known)} of {len(rows)}",
        "flagged": asdict(stats.exact_proportion([row["flagged"] for row in known])) if known else None,
        "severity": asdict(stats.mean([row["severity"] for row in known], name=f"screened {training} {side}")) if known else None,
        "truncated": sum(row["truncated"] for row in known),
        "worst": [{name: row[name] for name in ("id", "harm", "severity", "flagged")} for row in worst],
    }  # fmt: skip
