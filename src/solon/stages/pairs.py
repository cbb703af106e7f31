"""Preference pairs: replies of the SL-CAI model to each prompt, two by two, and the principle by which they will be compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import Any, Literal

from pydantic import Field

from solon.constitution import store as books
from solon.constitution.store import Book
from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.config import Config
from solon.core.records import Sample, as_json
from solon.generate.engine import Engine
from solon.stages.models import adapted
from solon.stages.sampling import SHARD, Draw, digest_of, replies, whole

VERSION = 3  # a row names its prompt


class Pairs(Config):
    """How many red-team, look-alike and helpful prompts get a pair of replies; `pillars` names, by the kind of a prompt, the
    pillars from which its principle is drawn (a kind that is not named: the whole book). Of more than two `replies` to a
    prompt every two make a pair, and the label that is surest is learned (`feedback`)."""

    red_team: int = Field(128, ge=0)
    benign: int = Field(64, ge=0)
    helpful: int = Field(64, ge=0)
    replies: int = Field(2, ge=2, le=8)
    pillars: dict[Literal["red_team", "benign", "helpful"], tuple[str, ...]] = {}
    draw: Draw = Draw()


def pairs(store: Store, config: Pairs, book: Book, model: Artifact, prompts: Sequence[Sample], seed: int) -> Artifact:
    """Rows `{"id", "prompt_id", "prompt", "first", "second", "principle", "kind"}`; equal replies are dropped."""
    settings = {**config.model_dump(mode="json"), "seed": seed, "book": book.hash, "asked": digest_of(prompts)}
    build = partial(_build, config, book, model, list(prompts), seed)
    return store.make("pairs", VERSION, settings, {"model": model.id}, build)


def _build(config: Pairs, book: Book, model: Artifact, prompts: Sequence[Sample], seed: int, draft: Draft) -> None:
    engine = Engine(adapted(model, work="batches"))
    with draft.progress.task("pairs", config.replies * len(prompts) * config.draw.max_tokens, "tok") as advance:
        again = lambda part: shard(config, book, engine, part, seed, draft, advance)  # noqa: E731
        draft.write_rows("rows", draft.in_shards("rows", prompts, SHARD, again))


def shard(
    config: Pairs, book: Book, engine: Engine, part: Sequence[Sample], seed: int, draft: Draft, advance: Any
) -> list[Record]:
    places = range(config.replies)
    asked = [one.prompt for one in part for _ in places]
    keys = [("pair", seed, one.id, place) for one in part for place in places]
    texts = [whole(reply) for reply in replies(engine, draft, asked, keys, config.draw, advance=advance)]
    rows = []
    for number, one in enumerate(part):
        drawn = texts[number * config.replies : (number + 1) * config.replies]
        principle = _principle(config, book, seed, one)
        for a, b in combinations(places, 2):
            row: Record = {
                "id": one.id if config.replies == 2 else f"{one.id}/{a}{b}", "prompt_id": one.id, "prompt": as_json(one.prompt),
                "first": drawn[a], "second": drawn[b], "principle": principle, "kind": one.tags.get("kind", ""), "book": book.hash,
            }  # fmt: skip
            if not drawn[a] or not drawn[b]:
                row["dropped"] = "an empty reply"
            elif drawn[a] == drawn[b]:
                row["dropped"] = "both replies are the same"
            rows.append(row)
    return rows


def _principle(config: Pairs, book: Book, seed: int, one: Sample) -> str:
    """The id of the principle by which the replies to a prompt are compared, drawn by the prompt's name."""
    pillars = config.pillars.get(one.tags.get("kind", ""), ())  # type: ignore[call-overload]
    return books.draw(book, seed, one.id, "pair", exclude=books.outside(book, pillars)).id
