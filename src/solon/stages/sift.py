"""Gathered rows that the safety classifier holds harmful are not trained on (docs/design/013).

Only what a model is taught to say, or asked in order to help, is looked at. Red-team prompts, labelled pairs and critiques are
harmful on purpose: without them there would be nothing to refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from solon.core.artifacts import Artifact, Draft, Record, Store, digest
from solon.core.errors import DataError
from solon.core.records import Conversation, as_json, as_messages
from solon.evals import statistics as stats
from solon.safety import classifier
from solon.safety.classifier import Classifier
from solon.stages.gather import Gathered
from solon.stages.recipe import Recipe

VERSION = 2  # harm of a reply is what the reply head says
SHARD = 64


def sift(store: Store, plan: Recipe, data: Gathered) -> tuple[Gathered, dict[str, Artifact]]:
    """The data without rows whose harm is above the bar, and `{"sift": artifact}`, whose `rows.jsonl` has each row's harm and
    fate, without texts; nothing is asked and the data stay as they are where the recipe gives no bar.

    A demonstration is scored by its last reply in its context, a prompt by its last turn. Raises `DataError` where a source
    has no row left, `MissingError` where the classifier's encoder can be had from nowhere."""
    config = plan.sift
    if not config.bar:
        return data, {}
    reader, sources = classifier.load(), list(dict.fromkeys(config.sources))
    asked = [{"source": source, "id": one.id, "messages": as_json(_turns(one))} for source in sources for one in getattr(data, source)]
    settings = {**config.model_dump(mode="json"), "classifier": reader.card, "rows": digest(asked)}
    inputs: dict[str, str] = {source: data.digest_of(getattr(plan.data, source)) for source in sources}
    made = store.make("sift", VERSION, settings, inputs, partial(_build, config.bar, reader, asked))
    fates = list(made.rows("rows"))
    left: dict[str, Any] = {}
    for source in sources:
        verdicts = [row for row in fates if row["source"] == source]
        left[source] = [one for one, row in zip(getattr(data, source), verdicts, strict=True) if not row.get("dropped")]
        if verdicts and not left[source]:
            name, got = getattr(plan.data, source), f"all {len(verdicts)} rows above {config.bar:g}"
            raise DataError(f"no training row of {name} is left: the classifier holds all harmful", got=got, fix="raise sift.bar, or look at the rows")
    return replace(data, **left), {"sift": made}


def _turns(one: Any) -> Conversation:
    return one.messages if hasattr(one, "messages") else one.prompt


def _build(bar: float, reader: Classifier, asked: Sequence[Record], draft: Draft) -> None:
    with draft.progress.task("sifting", len(asked), "row") as advance:

        def make(part: Sequence[Record]) -> list[Record]:
            found = reader.score([as_messages(row["messages"]) for row in part], advance)
            return [
                {"source": row["source"], "id": row["id"], "harm": one.harm, "severity": one.severity}
                | ({"dropped": f"{row['source']}: harm above {bar:g} (safety classifier)"} if one.harm > bar else {})
                for row, one in zip(part, found, strict=True)
            ]

        rows = draft.in_shards("rows", asked, SHARD, make)
    draft.write_rows("rows", rows)
    for source in dict.fromkeys(row["source"] for row in rows):
        one = stats.proportion([bool(row.get("dropped")) for row in rows if row["source"] == source])
        draft.metric(f"left out of {source}", one.value, n=one.n, ci=[one.low, one.high], unit="share",
                     how=f"harm above {bar:g} by {reader.card}; {one.how}")  # fmt: skip
