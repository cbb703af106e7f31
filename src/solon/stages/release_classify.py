"""What the safety text classifier says of the replies that a run already drew: base against aligned, reply by reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial

from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.records import Message, as_messages
from solon.evals import statistics as stats
from solon.safety.classifier import Classifier
from solon.stages.release_evidence import UNSAFE
from solon.stages.runs import Run

VERSION = 2  # harm of a reply is what the reply head says
KINDS = ("red_team", "benign", "helpful")
SHARD = 32


def classify(store: Store, run: Run, classifier: Classifier) -> Artifact:
    """`rows.jsonl` (each reply's harm and whether it is flagged) and `figures.json` of the run's base and aligned model."""
    inputs = {role: run.evaluations[role] for role in ("base", "aligned")}
    rows = {role: [row for row in store.get(id).rows("replies") if row["kind"] in KINDS] for role, id in inputs.items()}
    return store.make(UNSAFE, VERSION, {"classifier": classifier.card, "kinds": list(KINDS)}, inputs, partial(_build, rows, classifier))


def _build(rows: Mapping[str, Sequence[Record]], classifier: Classifier, draft: Draft) -> None:
    asked = [{**row, "role": role} for role, many in rows.items() for row in many]
    with draft.progress.task("classifying", len(asked), "reply") as advance:

        def make(part: Sequence[Record]) -> list[Record]:
            found = classifier.score([(*as_messages(row["prompt"]), Message("assistant", row["reply"])) for row in part], advance)
            return [
                {"id": row["id"], "role": row["role"], "kind": row["kind"], "harm": one.harm, "severity": one.severity, "flagged": one.flagged}
                for row, one in zip(part, found, strict=True)
            ]

        scored = draft.in_shards("rows", asked, SHARD, make)
    draft.write_rows("rows", scored)
    found = figures(scored, classifier.card)
    draft.write("figures.json", found)
    for role, one in found["models"].items():
        draft.metric(f"flagged {role}", one["value"], n=one["n"], ci=[one["low"], one["high"]], unit="share", how=one["how"])


def figures(scored: Sequence[Record], name: str) -> Record:
    """Flagged replies of each model, and the paired change."""
    flagged = {role: {row["id"]: row["flagged"] for row in scored if row["role"] == role} for role in ("base", "aligned")}
    shared = [id for id in flagged["base"] if id in flagged["aligned"]]
    ends = {role: [flagged[role][id] for id in shared] for role in flagged}
    return {
        "classifier": name, "models": {role: asdict(stats.proportion(ends[role])) for role in ends},
        "pair": asdict(stats.paired_proportions(ends["base"], ends["aligned"])),
    }  # fmt: skip
