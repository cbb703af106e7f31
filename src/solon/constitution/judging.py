"""What every judge is asked and what it answers. The judges themselves are in `judges/`, one file each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from solon.constitution.store import Book, Principle
from solon.core.errors import ConfigError
from solon.core.records import Conversation, as_json

if TYPE_CHECKING:
    from solon.models.load import Model

Progress = Callable[[int, int], None]
"""Called with how many are done, and how many there are."""


@dataclass(frozen=True)
class Question:
    """Two replies to one prompt, to be compared by one principle."""

    id: str
    prompt: Conversation
    first: str
    second: str
    principle: Principle


@dataclass(frozen=True)
class Labelled:
    """Two replies of which people said which is better; `kind` is what the pair tests, such as `over_refusal`."""

    id: str
    prompt: Conversation
    better: str
    worse: str
    kind: str
    principle: Principle

    def question(self, better_first: bool) -> Question:
        """The pair as a question, with the better reply at the given place."""
        first, second = (self.better, self.worse) if better_first else (self.worse, self.better)
        return Question(self.id, self.prompt, first, second, self.principle)


@dataclass(frozen=True)
class Opinion:
    """How probable a judge holds it that the first reply is better; None is an abstention, and `note` says why.

    `p_forward` is the probability that it chose the reply shown as (A) when the first was, `p_backward` when the second
    was. A judge without position bias has `p_forward == 1 - p_backward`.
    """

    p_first: float | None
    p_forward: float | None = None
    p_backward: float | None = None
    note: str = ""


def both_orders(p_forward: float | None, p_backward: float | None, note: str = "") -> Opinion:
    """The mean over both orders of showing the replies; an abstention if either is missing."""
    if p_forward is None or p_backward is None:
        return Opinion(None, p_forward, p_backward, note or "no answer")
    return Opinion((p_forward + 1 - p_backward) / 2, p_forward, p_backward, note)


class Judge(Protocol):
    """Says which of two replies is better. `fitted_on` holds the prompts it has learned from (see `prompt_key`)."""

    name: str
    fitted_on: frozenset[str]

    def prefer(self, questions: Sequence[Question], progress: Progress | None = None) -> list[Opinion]:
        """One opinion for each question, in their order."""
        ...


def prompt_key(prompt: Conversation) -> str:
    """16 hexadecimal digits that stand for a prompt: enough to see that two are the same, without keeping the text."""
    return hashlib.sha256(json.dumps(as_json(prompt), ensure_ascii=False).encode()).hexdigest()[:16]


def judge_by(
    kind: str,
    book: Book,
    options: Mapping[str, Any],
    model: Model | None = None,
    labelled: Sequence[Labelled] = (),
) -> Judge:
    """The judge of the file `judges/<kind>.py`, or one that another package adds."""
    from solon.core import plugins

    made: Judge = plugins.load("judges", kind).judge(book, options, model, labelled)
    return made


def needs_model(kind: str, model: Model | None) -> Model:
    """The model of a judge that cannot do without."""
    if model is None:
        raise ConfigError(
            f"the judge {kind!r} reads a model, and none was given", fix="name a model for the judge, or use 'api'"
        )
    return model
