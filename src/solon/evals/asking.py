"""The words of a benchmark: what a suite is, what it asks, what came back, and how multiple choice is scored.

A suite turns rows of data into items and answers into figures; it never touches a model. Items are of two kinds:
`Options`, whose continuations are scored by log-likelihood, and `Ask`, to which the model writes replies.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from solon.core.records import Conversation

Record = dict[str, Any]
Data = Mapping[str, Any]
"""What a suite's `FILES` hold: a list of rows for each table, the text for each text file, records for `starter:` sets."""
NORMALISED = ("acc", "acc_norm", "acc_bytes", "acc_tokens")


@dataclass(frozen=True)
class Card:
    """What a suite is, for the table, the evidence and the reader: where it comes from, how it is asked, what its figures
    mean. The first of `figures` is the one that stands for the suite; `numbers` are those that are not shares of 1; `neutral`
    says at which value a figure is best that is bad on either side of it."""

    title: str
    source: str
    licence: str
    split: str
    asked: str
    scored: str
    figures: Mapping[str, str]
    domain: str = ""
    slices: tuple[str, ...] = ()
    lower_is_better: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    targets: Mapping[str, float] = field(default_factory=dict)
    neutral: Mapping[str, float] = field(default_factory=dict)

    @property
    def main(self) -> str:
        return next(iter(self.figures))


@dataclass(frozen=True)
class Options:
    """Continuations of one text, of which the places in `right` are correct. `delimiter` stands before each option and
    does not count for its length, as in lm-eval. `chance` is what guessing gives, by figure. `tokenwise` asks for the
    log-probability of each token too."""

    id: str
    context: str
    options: tuple[str, ...]
    right: tuple[int, ...]
    delimiter: str = " "
    chance: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    tokenwise: bool = False


@dataclass(frozen=True)
class Ask:
    """A text to go on with, or a conversation to reply to; `more` are user turns that follow, each after a reply.

    `temperature` and `samples` are the suite's own where it fixes them; None leaves them to whoever runs it."""

    id: str
    prompt: str | Conversation
    reference: Any = None
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    temperature: float | None = None
    samples: int | None = None
    chance: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


Item = Options | Ask


@dataclass(frozen=True)
class Read:
    """What reading the options gave: log-probability (nats) and number of tokens of each. `by_token` has, for each option
    of a `tokenwise` item, its tokens' ids and log-probabilities."""

    nats: tuple[float, ...]
    tokens: tuple[int, ...]
    by_token: tuple[tuple[tuple[int, float], ...], ...] = ()


@dataclass(frozen=True)
class Said:
    """What the model wrote: for each draw, the reply of each turn."""

    draws: tuple[tuple[str, ...], ...]

    @property
    def text(self) -> str:
        """The last turn of the first draw."""
        return self.draws[0][-1]


@dataclass(frozen=True)
class Graded:
    """Figures of one item: a number, or a list of numbers where the item holds several (they count as one cluster).

    `missing` says why a figure of the suite is not there; it then counts for nothing and is shown as not graded."""

    figures: Mapping[str, float | list[float]]
    facts: Record = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True)
class Means:
    """What grading may need from outside: a sandbox that runs a program and gives its status (`passed`, `failed`,
    `timeout`, ..., `sandbox_error`), a judge that answers a conversation in words, and a classifier that gives the chance
    of harm in a conversation's last turn."""

    run: Callable[[str], str] | None = None
    judge: Callable[[Conversation], str] | None = None
    harm: Callable[[Conversation], float] | None = None


@dataclass(frozen=True)
class Room:
    """The model's context in tokens, and how many tokens a text takes."""

    context: int
    count: Callable[[str], int]


class Suite(Protocol):
    """The form of a suite's module."""

    VERSION: int
    CARD: Card
    FILES: tuple[str, ...]

    def items(self, data: Data, seed: int, room: Room) -> Sequence[Item]: ...
    def grade(self, item: Any, answer: Any, means: Means) -> Graded: ...


def needs(suite: Suite) -> tuple[str, ...]:
    """Which of `Means` a suite grades with: its module's `NEEDS`, if it has one."""
    return tuple(getattr(suite, "NEEDS", ()))


def gathered(suite: Suite, rows: Sequence[Record]) -> list[Record]:
    """The rows that a suite's figures are of: its items', or those that its `gather` makes of them."""
    gather = getattr(suite, "gather", None)
    return gather(rows) if gather else list(rows)


def scores(suite: Suite) -> Mapping[str, Any]:
    """The suite's figures that are no means of its rows, by name: its module's `SCORES`, if it has them."""
    return getattr(suite, "SCORES", {})


def load(name: str) -> Suite:
    """The suite of one file of `evals/suites`. Raises `MissingError` with the nearest name."""
    from solon.core import plugins

    return cast(Suite, plugins.load("suites", name))


def names() -> list[str]:
    from solon.core import plugins

    return plugins.names("suites")


def multiple_choice(item: Options, read: Read) -> Graded:
    """`acc`: is the option of highest log-likelihood right; `acc_norm`: of highest log-likelihood a character (lm-eval's
    normalisation); `acc_bytes`: a UTF-8 byte; `acc_tokens`: a token. The delimiter does not count; ties go to the first."""
    lengths = {
        "acc": [1.0] * len(item.options),
        "acc_norm": [float(max(len(option), 1)) for option in item.options],
        "acc_bytes": [float(max(len(option.encode()), 1)) for option in item.options],
        "acc_tokens": [float(max(count, 1)) for count in read.tokens],
    }
    picked = {
        name: max(range(len(by)), key=lambda i, by=by: read.nats[i] / by[i])  # type: ignore[misc]
        for name, by in lengths.items()
    }
    return Graded({name: float(place in item.right) for name, place in picked.items()}, {"picked": picked["acc"]})


def guess(options: int, right: int = 1) -> dict[str, float]:
    """What guessing gives in each of the figures of `multiple_choice`."""
    return dict.fromkeys(NORMALISED, right / options)


def normalised_answer(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces: how SQuAD and open-domain QA compare short answers."""
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def shots(rows: Sequence[Record], count: int, seed: int, name: str) -> tuple[list[Record], list[Record]]:
    """Rows to show as examples, and the others: a row that is shown is never asked. The seed alone decides."""
    from solon.core.keys import seed_of

    order = sorted(range(len(rows)), key=lambda i: seed_of("shots", seed, name, i))
    shown = order[:count]
    return [rows[i] for i in shown], [row for i, row in enumerate(rows) if i not in set(shown)]
