"""The words that all parts share. A type used by two folders is defined here, never higher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Conversation = tuple[Message, ...]


def conversation(*turns: tuple[Role, str]) -> Conversation:
    """`conversation(("user", "Hi"), ("assistant", "Hello"))`."""
    return tuple(Message(role, content) for role, content in turns)


def user(prompt: str) -> Conversation:
    """A conversation of one user turn."""
    return (Message("user", prompt),)


def as_messages(turns: Sequence[Mapping[str, str]]) -> Conversation:
    """The records of a JSON list of `{"role", "content"}`."""
    return tuple(Message(turn["role"], turn["content"]) for turn in turns)  # type: ignore[arg-type]


def as_json(turns: Conversation) -> list[dict[str, str]]:
    """The JSON form of a conversation, as every artifact stores it."""
    return [asdict(turn) for turn in turns]


@dataclass(frozen=True)
class Sample:
    """One item of an evaluation: what is asked, what would be right, and where it came from."""

    id: str
    prompt: Conversation
    reference: Any = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Demonstration:
    """A conversation to learn from; only its assistant turns are learned, and they count `weight` times in the loss."""

    id: str
    messages: Conversation
    source: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0


@dataclass(frozen=True)
class Preference:
    """Two replies to one prompt and the probability that the first is the better one."""

    id: str
    prompt: Conversation
    first: str
    second: str
    p_first: float
    principle: str = ""
    source: str = ""


@dataclass(frozen=True)
class LabelledPair:
    """A pair whose better reply is known beforehand, to find out how far a judge can be trusted. `kind` says what makes
    the chosen reply the better one."""

    id: str
    prompt: Conversation
    chosen: str
    rejected: str
    kind: str


@dataclass(frozen=True)
class WorkedCritique:
    """What a fair critic says, by one principle, of the worse reply of a labelled pair (`critique`) and of the better
    one (`keep`). `id` is the pair's."""

    id: str
    principle: str
    critique: str
    keep: str


@dataclass(frozen=True)
class MultipleChoice:
    """A multiple-choice question; `answer` is the place of the right choice, from 0."""

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    topic: str = ""


@dataclass(frozen=True)
class Passage:
    """A stretch of plain text, to measure perplexity on."""

    id: str
    text: str
    genre: str = ""


@dataclass(frozen=True)
class Paraphrase:
    """Several wordings of one request, which deserve the same kind of reply."""

    id: str
    prompts: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a grader says of one reply: a value in [0, 1], a label, and why."""

    value: float
    label: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Reply:
    """One sampled reply with the log-probability of each of its tokens (nats, under the distribution sampled from
    before temperature and truncation)."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]
