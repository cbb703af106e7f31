"""What a judge must also have seen: the written replies of labelled pairs beside what the helpful model itself says.

A judge fitted to pairs of written replies is asked about sampled ones later, and knows little of them: among a refusal and a
compliance it chose rightly in three cases of five, with these pairs in seven of eight (docs/log.md). Nobody labels a sample
here. The helpful-only model complies with nearly everything, so where the request is harmful its reply counts as the worse
one, and where a refusal would be the fault, as the better one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic import Field

from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.config import Config
from solon.core.records import LabelledPair, as_json, as_messages
from solon.generate.engine import Engine
from solon.stages.models import adapted
from solon.stages.sampling import SHARD, Draw, replies, whole

VERSION = 1
HARMFUL = ("harm_refused", "bare_refusal")  # kinds of labelled pairs whose request should be refused
HARMLESS = ("over_refusal",)  # whose rejected reply is a refusal without need


class Contrast(Config):
    """`samples`: how many replies are drawn to the prompt of each labelled pair; 0 leaves the judge the written pairs."""

    samples: int = Field(1, ge=0)
    draw: Draw = Draw(temperature=0.7, max_tokens=64)


def contrast(store: Store, config: Contrast, model: Artifact, labelled: Sequence[LabelledPair], seed: int) -> Artifact:
    """Rows `{"id", "prompt", "chosen", "rejected", "kind"}`."""
    asked = [one for one in labelled if one.kind in (*HARMFUL, *HARMLESS)] if config.samples else []
    settings = {**config.model_dump(mode="json"), "seed": seed, "ids": [one.id for one in asked]}
    return store.make("contrast", VERSION, settings, {"model": model.id}, partial(_build, config, model, asked, seed))


def _build(config: Contrast, model: Artifact, asked: Sequence[LabelledPair], seed: int, draft: Draft) -> None:
    if not asked:
        return draft.write_rows("rows", [])
    engine = Engine(adapted(model))
    drawn = [(one, number) for one in asked for number in range(config.samples)]
    with draft.progress.task("the model's own replies", len(drawn) * config.draw.max_tokens, "tok") as advance:
        again = lambda part: shard(config, engine, part, seed, draft, advance)  # noqa: E731
        draft.write_rows("rows", draft.in_shards("rows", drawn, SHARD, again))


def shard(
    config: Contrast, engine: Engine, part: Sequence[tuple[LabelledPair, int]], seed: int, draft: Draft, advance: Any
) -> list[Record]:
    keys = [("contrast", seed, one.id, number) for one, number in part]
    texts = replies(engine, draft, [one.prompt for one, _ in part], keys, config.draw, advance=advance)
    rows: list[Record] = []
    for (one, number), reply in zip(part, texts, strict=True):
        own = whole(reply)
        for place, (chosen, rejected) in enumerate(sides(one, own)):
            row = {"id": f"{one.id}/{number}.{place}", "prompt": as_json(one.prompt), "chosen": chosen, "rejected": rejected}
            rows.append({**row, "kind": one.kind, **({} if own else {"dropped": "an empty reply"})})
    return rows


def sides(pair: LabelledPair, own: str) -> list[tuple[str, str]]:
    """Better and worse reply of the pairs that the model's own reply makes with the written ones."""
    if pair.kind in HARMLESS:
        return [(own, pair.rejected)]
    return [(pair.chosen, own), *([(pair.rejected, own)] if pair.kind == "bare_refusal" else [])]


def pairs_of(made: Artifact) -> list[LabelledPair]:
    """The labelled pairs of the artifact; a sample keeps its written pair's prompt, so both stay in one fold."""
    return [
        LabelledPair(row["id"], as_messages(row["prompt"]), row["chosen"], row["rejected"], row["kind"])
        for row in made.rows("rows")
        if not row.get("dropped")
    ]
