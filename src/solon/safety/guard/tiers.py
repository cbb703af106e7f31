"""The judges that the guard can ask: the text classifier, a probe on the model's own states, and rules for injections.

Each is a function of a conversation that scores its last turn. The dearest tier, a critique by a principle, is given from
above (`Judge`), because what a principle is belongs to another part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from solon.core.errors import DataError, ModelError
from solon.core.records import Conversation, Message
from solon.safety.classifier import Classifier
from solon.safety.guard import injection
from solon.safety.guard.cascade import Judge
from solon.safety.guard.reading import bounded, readings
from solon.safety.guard.refusals import INJECTION, category_of
from solon.safety.guard.rulings import Opinion
from solon.safety.head import HARM, Head
from solon.safety.readers import Reader

SHORTEST = 500
"""Characters below which a reply is not cut any more: what is too long then is the request before it."""


def asked(turns: Conversation) -> str:
    """The last thing that a user said."""
    return next((turn.content for turn in reversed(turns) if turn.role == "user"), "")


def by_classifier(classifier: Classifier) -> Judge:
    """The text classifier: a user's turn by the worst of its readings, a reply in its context. Of a short reply that is
    not read to its end, the request before it is what is too long; that was looked at before it was answered."""

    def judge(turns: Conversation) -> Opinion:
        *before, last = turns
        read = lambda text: classifier.score([(*before, replace(last, content=text))])[0]  # noqa: E731
        worst = _worst(read, last, SHORTEST if last.role == "assistant" else 0)
        return Opinion(min(worst.harm, 1.0), category_of(asked(turns), worst.categories))

    return judge


@dataclass(frozen=True)
class _Heard:
    """What a probe says of a text, and whether its end was not read."""

    harm: float
    truncated: bool = False


def by_probe(reader: Reader, head: Head) -> Judge:
    """A head on the running model's hidden states, read over the whole of the last turn; the worst window counts, and of a
    user's turn the worst of its readings."""
    expected = (head.facts.get("digest"), head.facts.get("settings"))
    if expected != (reader.digest, dict(reader.settings)):
        raise ModelError("the probe was fitted on another model", got=reader.digest[:12], expected=str(expected[0])[:12])

    def read(text: str) -> _Heard:
        if not text.strip():
            return _Heard(0.0)
        found = reader.read(text)
        return _Heard(float(head.probabilities(head.logits(found.features).max(0)[None])[0][HARM]), found.truncated)

    return lambda turns: Opinion(_worst(read, turns[-1], 0).harm)


def _worst(read: Callable[[str], Any], last: Message, least: int) -> Any:
    """Of all that a judge reads in the last turn the most harmful. Raises `DataError` where it cannot read to the end."""
    said = [bounded(last.content)] if last.role == "assistant" else readings(last.content)
    return max((_in_parts(read, text, least) for text in said), key=lambda one: one.harm)


def _in_parts(read: Callable[[str], Any], text: str, least: int) -> Any:
    """A text that is too long to be read at once is read in halves, so that nothing goes unread behind a long beginning.
    One of which a half would have fewer than `least` characters is not cut any more."""
    found, middle = read(text), len(text) // 2
    if not found.truncated or middle < least:
        return found
    if not middle:
        raise DataError("a text cannot be read to its end", got=f"{len(text)} characters in more than a reader's windows")
    return max((_in_parts(read, half, least) for half in (text[:middle], text[middle:])), key=lambda one: one.harm)


def by_rules(turns: Conversation) -> Opinion:
    """The injection rules, for a text that was retrieved or that a tool gave back."""
    return Opinion(injection.score(injection.findings(turns[-1].content)), INJECTION)
