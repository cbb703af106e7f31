"""AI feedback: two replies shown as (A) and (B), and the probability of either letter (arXiv 2212.08073, section 4.1).

Few-shot comparisons come first, each with a principle drawn for it and with its letters dealt by name, as many As as Bs.
"""

from __future__ import annotations

import math
from typing import Any

from solon.constitution.judging import Question
from solon.constitution.store import Book
from solon.core.errors import ConfigError
from solon.core.keys import rng
from solon.core.records import Conversation, Message

LETTERS = ("A", "B")
BEGINNING = "The answer is: ("
"""What the answer is made to begin with; the next letter is the judgement."""

LOW, HIGH = 0.4, 0.6
_SPEAKERS = {"user": "User", "assistant": "Assistant", "system": "System"}


def comparison_conversation(
    book: Book, question: Question, *names: Any, swapped: bool = False, shots: int | None = None
) -> tuple[Conversation, str]:
    """The conversation that asks for (A) or (B), and the forced beginning of the answer.

    `names` seed the few-shot block: questions under the same names share its tokens. `swapped` shows the second reply
    as (A). The system turn of the judged conversation is part of what is judged, so it is quoted, not obeyed.
    """
    first, second = (question.second, question.first) if swapped else (question.first, question.second)
    asked = comparison_text(question.prompt, question.principle.comparison_request, first, second)
    return (*few_shot_turns(book, *names, shots=shots), Message("user", asked)), BEGINNING


def few_shot_turns(book: Book, *names: Any, shots: int | None = None) -> tuple[Message, ...]:
    """Worked comparisons as turns of a chat, each with its answer; half of the answers are (A)."""
    examples = book.comparisons if shots is None else book.comparisons[:shots]
    good_first = rng("letters", *names).permutation(len(examples)) % 2 == 0
    turns: list[Message] = []
    for place, (one, is_a) in enumerate(zip(examples, good_first, strict=True)):
        request = one.requests[int(rng("principle", *names, place).integers(len(one.requests)))]
        replies = (one.good, one.bad) if is_a else (one.bad, one.good)
        turns.append(Message("user", comparison_text((Message("user", one.prompt),), request, *replies)))
        turns.append(Message("assistant", f"{BEGINNING}{LETTERS[0 if is_a else 1]})"))
    return tuple(turns)


def comparison_text(prompt: Conversation, request: str, first: str, second: str) -> str:
    """One comparison as text."""
    said = "\n\n".join(f"{_SPEAKERS[turn.role]}: {turn.content}" for turn in prompt)
    return (
        f"Consider this conversation.\n\n{said}\n\nHere are two replies that the assistant could give next. {request}"
        f"\n\n(A) {first}\n\n(B) {second}\n\nAnswer with (A) or (B)."
    )


def soft_label(lp_a: float, lp_b: float) -> float:
    """The probability of (A) among the two letters, from their log-probabilities in nats."""
    if not (math.isfinite(lp_a) or math.isfinite(lp_b)):
        return 0.5
    gap = lp_b - lp_a
    return 1 / (1 + math.exp(gap)) if gap < 700 else 0.0


def clamp(p: float, low: float = LOW, high: float = HIGH) -> float:
    """A label after step-by-step reasoning, which is always too sure of itself, pulled into [low, high] (section 4.1)."""
    if not 0 <= low <= 0.5 <= high <= 1:
        raise ConfigError(
            "a clamp must leave room for a tie", got=f"{low} to {high}", expected="0 <= low <= 0.5 <= high <= 1"
        )
    return min(max(p, low), high)
