"""Preference pairs: two replies of the SL-CAI model to each prompt, and the principle by which they will be compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic import Field

from solon.constitution import store as books
from solon.constitution.store import Book
from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.config import Config
from solon.core.records import Sample, as_json
from solon.generate.engine import Engine
from solon.stages.models import adapted
from solon.stages.sampling import SHARD, Draw, replies, whole

VERSION = 2  # replies are drawn in the training type


class Pairs(Config):
    """How many red-team, look-alike and helpful prompts get a pair of replies."""

    red_team: int = Field(128, ge=0)
    benign: int = Field(64, ge=0)
    helpful: int = Field(64, ge=0)
    draw: Draw = Draw()


def pairs(store: Store, config: Pairs, book: Book, model: Artifact, prompts: Sequence[Sample], seed: int) -> Artifact:
    """Rows `{"id", "prompt", "first", "second", "principle", "kind"}`; equal replies are dropped."""
    settings = {**config.model_dump(mode="json"), "seed": seed, "book": book.hash, "ids": [one.id for one in prompts]}
    build = partial(_build, config, book, model, list(prompts), seed)
    return store.make("pairs", VERSION, settings, {"model": model.id}, build)


def _build(config: Pairs, book: Book, model: Artifact, prompts: Sequence[Sample], seed: int, draft: Draft) -> None:
    engine = Engine(adapted(model, work="batches"))
    with draft.progress.task("pairs", 2 * len(prompts) * config.draw.max_tokens, "tok") as advance:
        again = lambda part: shard(config, book, engine, part, seed, draft, advance)  # noqa: E731
        draft.write_rows("rows", draft.in_shards("rows", prompts, SHARD, again))


def shard(
    config: Pairs, book: Book, engine: Engine, part: Sequence[Sample], seed: int, draft: Draft, advance: Any
) -> list[Record]:
    twice = [one.prompt for one in part for _ in range(2)]
    keys = [("pair", seed, one.id, place) for one in part for place in range(2)]
    texts = [whole(reply) for reply in replies(engine, draft, twice, keys, config.draw, advance=advance)]
    rows = []
    for place, one in enumerate(part):
        first, second = texts[2 * place], texts[2 * place + 1]
        row: Record = {
            "id": one.id, "prompt": as_json(one.prompt), "first": first, "second": second,
            "principle": books.draw(book, seed, one.id, "pair").id, "kind": one.tags.get("kind", ""), "book": book.hash,
        }  # fmt: skip
        if not first or not second:
            row["dropped"] = "an empty reply"
        elif first == second:
            row["dropped"] = "both replies are the same"
        rows.append(row)
    return rows
