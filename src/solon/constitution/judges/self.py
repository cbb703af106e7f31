"""The model judges by itself: log p of "A" against "B" after a few worked comparisons, in both orders.

It is what the paper does, and for a small model it is weak: see what its certificate says before you train on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from solon.constitution.compare import LETTERS, comparison_conversation, soft_label
from solon.constitution.judging import Labelled, Opinion, Progress, Question, both_orders, needs_model
from solon.constitution.store import Book
from solon.constitution.validation import Record, checked
from solon.core.errors import ConfigError, ModelError
from solon.core.keys import seed_of
from solon.core.records import Conversation, Message

if TYPE_CHECKING:
    from solon.models.load import Model
    from solon.text.tokenizer import Tokenizer


class Options(Record):
    """How the model is asked.

    The few-shot block costs most of the time, so there are only `blocks` of them, each with its own principles and
    letters, and a question's id says which it gets. `shots` keeps only the first comparisons; None keeps all.
    """

    seed: int = 0
    blocks: int = Field(default=4, ge=1)
    shots: int | None = Field(default=None, ge=0)
    batch: int = Field(default=64, ge=1)


class SelfJudge:
    """Reads the log-probabilities of the two letters."""

    fitted_on: frozenset[str] = frozenset()

    def __init__(self, book: Book, options: Options, model: Model):
        self.book, self.options, self.model = book, options, model
        self.name = f"self:{model.name}"

    def prefer(self, questions: Sequence[Question], progress: Progress | None = None) -> list[Opinion]:
        """One opinion a question, over both orders."""
        from solon.generate.score import option_logprobs

        chosen: dict[tuple[int, bool], float] = {}
        done = 0
        for block in range(self.options.blocks):
            members = [i for i, one in enumerate(questions) if self._block(one) == block]
            # One block a call: its few-shot comparisons are then read once.
            for start in range(0, len(members), self.options.batch):
                part = members[start : start + self.options.batch]
                asked = [(i, swapped) for i in part for swapped in (False, True)]
                read = {key: self._tokens(questions[key[0]], key[1]) for key in asked}
                fit = [key for key in asked if len(read[key][0]) < self.model.arch.context]
                letters = {read[key][1] for key in fit}
                if len(letters) > 1:
                    raise ModelError("the letters A and B have no tokens of their own in this vocabulary", got=letters)
                logprobs = option_logprobs(self.model, [read[key][0] for key in fit], letters.pop()) if fit else ()
                chosen |= {key: soft_label(float(a), float(b)) for key, (a, b) in zip(fit, logprobs, strict=True)}
                done += len(part)
                if progress:
                    progress(done, len(questions))
        orders = [(chosen.get((i, False)), chosen.get((i, True))) for i in range(len(questions))]
        return [both_orders(*both, note="longer than the model's context" if None in both else "") for both in orders]

    def _block(self, question: Question) -> int:
        return seed_of("block", question.id) % self.options.blocks

    def _tokens(self, question: Question, swapped: bool) -> tuple[list[int], tuple[tuple[int, ...], tuple[int, ...]]]:
        names = (self.options.seed, self._block(question))
        asked, beginning = comparison_conversation(
            self.book, question, *names, swapped=swapped, shots=self.options.shots
        )
        return letter_tokens(self.model.tokenizer, asked, beginning)


def letter_tokens(
    tokenizer: Tokenizer, asked: Conversation, beginning: str
) -> tuple[list[int], tuple[tuple[int, ...], tuple[int, ...]]]:
    """The prompt's ids and the ids of either letter, found where two whole answers part and before they meet again:
    so a vocabulary that joins a letter to its bracket needs no special case."""
    from solon.text.template import encode_chat

    a, b = (encode_chat(tokenizer, (*asked, Message("assistant", f"{beginning}{letter})"))) for letter in LETTERS)
    shorter = min(len(a), len(b))
    same = next((i for i in range(shorter) if a[i] != b[i]), shorter)
    tail = next((i for i in range(shorter - same) if a[-1 - i] != b[-1 - i]), shorter - same)
    return a[:same], (tuple(a[same : len(a) - tail]), tuple(b[same : len(b) - tail]))


def judge(book: Book, options: Mapping[str, Any], model: Model | None, labelled: Sequence[Labelled]) -> SelfJudge:
    """The model as its own judge. It learns nothing from the labelled pairs."""
    return SelfJudge(book, checked(Options, options, "judge 'self'", ConfigError), needs_model("self", model))
