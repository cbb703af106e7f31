"""SL-CAI data: a reply, its critique by a drawn principle, and its revision, for `rounds` rounds (cai-method 1.3).

Every round is asked about the prompt and the newest revision alone; critiques are kept for reading, never trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import Field

from solon.constitution import store as books
from solon.constitution.clean import clean
from solon.constitution.critique import critique_conversation
from solon.constitution.revise import revision_conversation
from solon.constitution.router import DOMAINS, ROUTING, route
from solon.constitution.store import Book, Principle
from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.config import Config
from solon.core.records import Conversation, Sample, as_json, as_messages
from solon.generate.engine import Engine
from solon.stages.models import adapted
from solon.stages.sampling import SHARD, Draw, digest_of, replies, whole

VERSION = 2  # replies are drawn in the training type


class Revise(Config):
    """`shots` transcripts are shown before each request; `critique_tokens` and `revision_tokens` bound each text."""

    prompts: int = Field(128, ge=1)
    rounds: int = Field(2, ge=1, le=8)
    shots: int = Field(0, ge=0)
    pillars: tuple[str, ...] = ("harm",)  # principles are drawn from these; none named means the whole book
    draw: Draw = Draw()
    critique_tokens: int = Field(64, ge=8)
    revision_tokens: int = Field(96, ge=8)


def revise(
    store: Store, config: Revise, book: Book, model: Artifact, prompts: Sequence[Sample], seed: int, found_by: Mapping[str, Artifact]
) -> Artifact:  # fmt: skip
    """Rows `{"id", "prompt", "first", "rounds": [{"principle", "critique", "revision", "fate"}], "book"}`. `found_by` are
    the campaigns that some prompts are from, by what the run calls them."""
    chosen = list(prompts)[: config.prompts]
    settings = {**config.model_dump(mode="json"), "seed": seed, "book": book.hash, "asked": digest_of(chosen)}
    if routed(config, book):
        settings["routing"] = ROUTING  # only where it can change a draw: other runs keep their names
    return store.make("revise", VERSION, settings, {"model": model.id, **{name: one.id for name, one in found_by.items()}}, partial(_build, config, book, model, chosen, seed))


def _build(config: Revise, book: Book, model: Artifact, prompts: Sequence[Sample], seed: int, draft: Draft) -> None:
    engine = Engine(adapted(model, work="batches"))
    total = len(prompts) * (config.draw.max_tokens + config.rounds * (config.critique_tokens + config.revision_tokens))
    with draft.progress.task("critique and revision", total, "tok") as advance:
        rows = draft.in_shards(
            "rows", prompts, SHARD, lambda part: shard(config, book, engine, part, seed, draft, advance)
        )
    draft.write_rows("rows", rows)
    fates = [one["fate"] for row in rows for one in row["rounds"]]
    kept = fates.count("kept")
    draft.metric("revisions_kept", kept / max(len(fates), 1), n=len(fates), unit="share", how="passed the cleaning rules")
    draft.facts["fates"] = {fate: fates.count(fate) for fate in sorted(set(fates))}


def shard(
    config: Revise, book: Book, engine: Engine, part: Sequence[Sample], seed: int, draft: Draft, advance: Any
) -> list[Record]:
    keys = [("first", seed, one.id) for one in part]
    drawn = replies(engine, draft, [one.prompt for one in part], keys, config.draw, advance=advance)
    rows: list[Record] = [
        {"id": one.id, "prompt": as_json(one.prompt), "tags": dict(one.tags), "first": whole(reply), "rounds": [],
         "book": book.hash}
        for one, reply in zip(part, drawn, strict=True)
    ]  # fmt: skip
    for number in range(config.rounds):
        _round(config, book, engine, rows, number, seed, draft, advance)
    for row in rows:
        if not any(one["fate"] == "kept" for one in row["rounds"]):
            row["dropped"] = row["rounds"][-1]["fate"]
    return rows


def _round(
    config: Revise, book: Book, engine: Engine, rows: list[Record], number: int, seed: int, draft: Draft, advance: Any
) -> None:
    """One critique and one revision of every row. A revision that must not be used leaves the reply as it was."""
    prompts = [as_messages(row["prompt"]) for row in rows]
    principles = [drawn(config, book, seed, row["id"], number, prompt) for row, prompt in zip(rows, prompts, strict=True)]
    now = [standing(row) for row in rows]
    asked = [
        critique_conversation(book, prompt, reply, principle, config.shots)
        for prompt, reply, principle in zip(prompts, now, principles, strict=True)
    ]
    keys = [("critique", seed, row["id"], number) for row in rows]
    found = replies(engine, draft, asked, keys, config.draw, config.critique_tokens, advance)
    critiques = [clean(reply.text, book, p, "critique")[0] for reply, p in zip(found, principles, strict=True)]
    asked = [
        revision_conversation(book, prompt, reply, principle, critique, config.shots)
        for prompt, reply, principle, critique in zip(prompts, now, principles, critiques, strict=True)
    ]
    keys = [("revision", seed, row["id"], number) for row in rows]
    revised = replies(engine, draft, asked, keys, config.draw, config.revision_tokens, advance)
    for row, principle, critique, reply in zip(rows, principles, critiques, revised, strict=True):
        text, fault = clean(whole(reply), book, principle, "revision")
        row["rounds"].append(
            {"principle": principle.id, "critique": critique, "revision": text, "fate": fault or "kept"}
        )  # fmt: skip


def routed(config: Revise, book: Book) -> bool:
    """Whether prompts are routed: where principles of a domain stand beside others. If a recipe names nothing but domains,
    its author has said what the prompts are about."""
    excluded = books.outside(book, config.pillars)
    return len({set(one.applies_to) <= set(DOMAINS) for one in book.principles if one.id not in excluded}) == 2


def drawn(config: Revise, book: Book, seed: int, id: str, number: int, prompt: Conversation) -> Principle:
    """The principle of one round. What is revised are red-team prompts, so principles for harmful requests apply to all
    of them; those of a domain only to prompts that the router sends there."""
    tags = ("harmful", *route(prompt)) if routed(config, book) else None
    return books.draw(book, seed, id, number, exclude=books.outside(book, config.pillars), tags=tags)


def standing(row: Record) -> str:
    """The reply that the next round is about: the newest usable revision, or the first reply."""
    return next((one["revision"] for one in reversed(row["rounds"]) if one["fate"] == "kept"), row["first"])


def revisions(row: Record) -> list[tuple[int, str]]:
    """Every usable revision of a row with its round: the paper trains on those of all rounds."""
    return [(number, one["revision"]) for number, one in enumerate(row["rounds"]) if one["fate"] == "kept"]
