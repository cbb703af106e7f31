"""Drawing replies inside a stage: conversations in, texts out, with progress and a key for every reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from solon.core.artifacts import Draft, digest
from solon.core.config import Config
from solon.core.records import Conversation, Reply, Sample, as_json
from solon.generate.engine import Engine, Request
from solon.text.template import encode_chat

SHARD = 128  # rows that a killed run can lose


class Draw(Config):
    """How replies are sampled. Temperature 1 without truncation is the paper's; small models need it lower."""

    temperature: float = Field(1.0, ge=0, le=5)
    top_k: int = Field(0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, lt=1)
    max_tokens: int = Field(80, ge=1)


def digest_of(prompts: Sequence[Sample]) -> str:
    """What an artifact records of the prompts that it was made from: their words too, since somebody who corrects a row of a
    file keeps its id."""
    return digest([[one.id, as_json(one.prompt), dict(one.tags)] for one in prompts])


def replies(
    engine: Engine, draft: Draft, conversations: Sequence[Conversation], keys: Sequence[tuple[Any, ...]], draw: Draw,
    max_tokens: int | None = None, advance: Any = None,
) -> list[Reply]:  # fmt: skip
    """One reply to each conversation; `keys` name their randomness."""
    settings = draw.model_dump() | ({"max_tokens": max_tokens} if max_tokens else {})
    requests = [
        Request(encode_chat(engine.tokenizer, one, add_generation_prompt=True), key=key, **settings)
        for one, key in zip(conversations, keys, strict=True)
    ]
    drawn = engine.sample(requests, advance)
    draft.tokens += sum(len(reply.tokens) for reply in drawn)
    return drawn


def whole(reply: Reply) -> str:
    """The reply's text without an unfinished last sentence, where it was cut off by the token limit."""
    text = reply.text.strip()
    if reply.finish == "stop":
        return text
    ends = [i for i, c in enumerate(text) if c in ".!?\n" and i > len(text) // 3]
    return text[: ends[-1] + 1].strip() if ends else text
