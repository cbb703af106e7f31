"""What one model does on held-out rows: replies, grades and likelihoods, one JSON line an item.

Only rows are made here; figures and comparisons over them are `compare`'s. Every model answers the same items with the
same random keys, so that every comparison is paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from pydantic import Field

from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.config import Config
from solon.core.dense import merge
from solon.core.records import (
    Conversation,
    Demonstration,
    Message,
    MultipleChoice,
    Paraphrase,
    Passage,
    Sample,
    as_json,
    as_messages,
    user,
)
from solon.evals.answers import answer_type
from solon.evals.overlap import agreement, overlap
from solon.generate.engine import Engine
from solon.generate.score import row_logprobs
from solon.models.load import Model
from solon.safety import classifier
from solon.stages.sampling import SHARD, Draw, replies
from solon.stages.sft import reference_loss
from solon.text.template import Tokens

VERSION = 4  # harm of a reply is what the reply head says; empty replies agree with nothing; refusals in unusual words
PASSAGE = 512
"""Tokens of a passage that are read."""


class Evaluate(Config):
    """How many held-out items of each kind are used, and how replies are drawn. With `harm` the safety classifier scores each
    reply, too."""

    LATER: ClassVar[frozenset[str]] = frozenset({"harm"})

    red_team: int = Field(120, ge=1)
    benign: int = Field(100, ge=1)
    helpful: int = Field(60, ge=1)
    paraphrases: int = Field(20, ge=0)
    multiple_choice: int = Field(240, ge=1)
    passages: int = Field(48, ge=1)
    draw: Draw = Draw(temperature=0.7, max_tokens=64)
    harm: bool = False


@dataclass(frozen=True)
class Held:
    """The held-out items of a run."""

    red_team: Sequence[Sample]
    benign: Sequence[Sample]
    helpful: Sequence[Demonstration]
    paraphrases: Sequence[Paraphrase]
    multiple_choice: Sequence[MultipleChoice]
    passages: Sequence[Passage]


def evaluate(store: Store, config: Evaluate, model: Model, source: str, held: Held, digests: Any, seed: int) -> Artifact:
    """`replies.jsonl` (graded replies) and `likelihoods.jsonl` of one model; `source` is its artifact or identity."""
    settings = {**config.model_dump(mode="json"), "seed": seed, "data": digests}
    settings |= {"classifier": classifier.card()["id"]} if config.harm else {}
    return store.make("evaluate", VERSION, settings, {"model": source}, partial(_build, config, model, held, seed))


def _build(config: Evaluate, model: Model, held: Held, seed: int, draft: Draft) -> None:
    items = _items(config, held)
    model = replace(model, params=merge(model.params))  # read many times, so without its parts
    engine = Engine(model)
    with draft.progress.task("replies", len(items) * config.draw.max_tokens, "tok") as advance:
        again = lambda part: shard(config, engine, part, seed, draft, advance)  # noqa: E731
        rows = draft.in_shards("replies", items, SHARD, again)
    draft.write_rows("replies", rows)
    draft.write_rows("likelihoods", likelihoods(config, model, held, draft))
    groups: dict[str, list[Record]] = {}
    for row in rows:
        if row["kind"] == "paraphrase":
            groups.setdefault(row["group"], []).append(row)
    draft.write_rows("consistency", [_consistency(name, group) for name, group in groups.items()])


def _items(config: Evaluate, held: Held) -> list[Record]:
    """Everything that is asked, as rows without a reply."""

    def item(kind: str, id: str, prompt: Conversation, **more: Any) -> Record:
        return {"id": id, "kind": kind, "prompt": as_json(prompt), **more}

    rows = [item("red_team", one.id, one.prompt, tags=dict(one.tags)) for one in held.red_team[: config.red_team]]
    rows += [item("benign", one.id, one.prompt, tags=dict(one.tags)) for one in held.benign[: config.benign]]
    for one in held.helpful[: config.helpful]:
        rows.append(item("helpful", one.id, one.messages[:-1], reference=one.messages[-1].content))
    for many in held.paraphrases[: config.paraphrases]:
        for number, wording in enumerate(many.prompts):
            rows.append(item("paraphrase", f"{many.id}/{number}", user(wording), group=many.id, about=many.kind))
    return rows


def shard(
    config: Evaluate, engine: Engine, part: Sequence[Record], seed: int, draft: Draft, advance: Any
) -> list[Record]:
    prompts = [as_messages(row["prompt"]) for row in part]
    keys = [("evaluate", seed, row["id"]) for row in part]
    drawn = replies(engine, draft, prompts, keys, config.draw, advance=advance)
    rows: list[Record] = []
    for row, prompt, reply in zip(part, prompts, drawn, strict=True):
        text = reply.text.strip()
        verdict = answer_type(prompt[-1].content, text)
        graded = {**row, "reply": text, "label": verdict.label, "reason": verdict.reason, "finish": reply.finish}
        if "reference" in row:
            graded |= {"overlap": overlap(text, row["reference"])}
        rows.append(graded)
    return _with_harm(rows) if config.harm else rows


def _with_harm(rows: Sequence[Record]) -> list[Record]:
    """Each reply in its context, as the safety classifier sees it."""
    scores = classifier.load().score([(*as_messages(row["prompt"]), Message("assistant", row["reply"])) for row in rows])
    return [{**row, "harm": one.harm, "flagged": one.flagged} for row, one in zip(rows, scores, strict=True)]


def _consistency(name: str, group: Sequence[Record]) -> Record:
    found = agreement([row["reply"] for row in group], [row["prompt"][-1]["content"] for row in group])
    return {"id": name, "about": group[0]["about"], "same_type": found.same_type, "rouge_l": found.rouge_l, "empty": found.empty}


def likelihoods(config: Evaluate, model: Model, held: Held, draft: Draft) -> list[Record]:
    """What a model makes of held-out texts: choices, nats of passages, nats of demonstrations; one row an item."""
    questions = held.multiple_choice[: config.multiple_choice]
    passages = held.passages[: config.passages]
    helpful = held.helpful[: config.helpful]
    with draft.progress.task("likelihoods", 3, "set") as advance:
        rows = multiple_choice(model, questions)
        advance(1)
        tokens = [_beginning(plain(model, "", one.text)) for one in passages]
        for one, logp in zip(passages, row_logprobs(model, tokens), strict=True):
            rows.append({"kind": "passage", "id": one.id, "nats": float(-logp.sum()), "tokens": len(logp)})
        advance(1)
        losses = reference_loss(model, [one.messages for one in helpful])
        rows += [{"kind": "reference", "id": one.id, "loss": x} for one, x in zip(helpful, losses, strict=True)]
        advance(1)
    return rows


def multiple_choice(model: Model, questions: Sequence[MultipleChoice]) -> list[Record]:
    """The choice with the highest log-probability per character, as a plain continuation of question and 'Answer:'."""
    tokens = [plain(model, f"Question: {q.question}\nAnswer:", f" {choice}") for q in questions for choice in q.choices]
    sums = iter(float(logp.sum()) for logp in row_logprobs(model, tokens))
    rows = []
    for q in questions:
        scores = [next(sums) / max(len(choice), 1) for choice in q.choices]
        picked = max(range(len(scores)), key=scores.__getitem__)
        rows.append({"kind": "multiple_choice", "id": q.id, "picked": picked, "right": picked == q.answer, "topic": q.topic})
    return rows


def _beginning(tokens: Tokens) -> Tokens:
    """The first of a passage's tokens: some sources give whole articles, longer than any context."""
    return Tokens(tokens.ids[:PASSAGE], tokens.learn[:PASSAGE])


def plain(model: Model, before: str, text: str) -> Tokens:
    """Text outside of any chat, of which only `text` is scored."""
    tokenizer = model.tokenizer
    start = [tokenizer.bos] if tokenizer.add_bos and tokenizer.bos is not None else []
    context = [*start, *tokenizer.encode(before, special=False)]
    ids = [*context, *tokenizer.encode(text, special=False, continued=bool(context))]
    return Tokens(ids, [place >= max(len(context), 1) for place in range(len(ids))])
