"""The helpfulness mix of SL-CAI: the helpful model's own answers to harmless prompts (cai-method 1.7)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic import Field

from solon.constitution.clean import clean
from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.config import Config
from solon.core.records import Message, Sample, as_json
from solon.generate.engine import Engine
from solon.stages.models import adapted
from solon.stages.sampling import SHARD, Draw, digest_of, replies, whole

VERSION = 2  # replies are drawn in the training type


class Answers(Config):
    """How many helpful prompts and harmless look-alikes are answered and how often, and how many demonstrations join
    them in the mixture."""

    helpful: int = Field(128, ge=0)
    benign: int = Field(64, ge=0)
    samples: int = Field(1, ge=1)
    demonstrations: int = Field(100, ge=0)
    draw: Draw = Draw()


def answers(store: Store, config: Answers, model: Artifact, prompts: Sequence[Sample], seed: int) -> Artifact:
    """Rows `{"id", "messages", "source"}` ready for fine-tuning."""
    settings = {**config.model_dump(mode="json"), "seed": seed, "asked": digest_of(prompts)}
    build = partial(_build, config, model, list(prompts), seed)
    return store.make("answers", VERSION, settings, {"model": model.id}, build)


def _build(config: Answers, model: Artifact, prompts: Sequence[Sample], seed: int, draft: Draft) -> None:
    engine = Engine(adapted(model, work="batches"))
    asked = [(one, number) for one in prompts for number in range(config.samples)]
    with draft.progress.task("helpful answers", len(asked) * config.draw.max_tokens, "tok") as advance:
        again = lambda part: shard(config, engine, part, seed, draft, advance)  # noqa: E731
        draft.write_rows("rows", draft.in_shards("rows", asked, SHARD, again))


def shard(
    config: Answers, engine: Engine, part: Sequence[tuple[Sample, int]], seed: int, draft: Draft, advance: Any
) -> list[Record]:
    keys = [("answer", seed, one.id, number) for one, number in part]
    drawn = replies(engine, draft, [one.prompt for one, _ in part], keys, config.draw, advance=advance)
    rows: list[Record] = []
    for (one, number), reply in zip(part, drawn, strict=True):
        text, fault = clean(whole(reply), part="revision")
        row: Record = {"id": f"{one.id}/{number}", "messages": as_json((*one.prompt, Message("assistant", text)))}
        rows.append({**row, "source": "answers", **({"dropped": fault} if fault else {})})
    return rows
