"""The judges that the guard can ask: the text classifier, a probe on the model's own states, and rules for injections.

Each is a function of a conversation that scores its last turn. The dearest tier, a critique by a principle, is given from
above (`Judge`), because what a principle is belongs to another part.
"""

from __future__ import annotations

from dataclasses import replace

from solon.core.errors import DataError, ModelError
from solon.core.records import Conversation
from solon.safety.classifier import Classifier, Score
from solon.safety.guard import injection
from solon.safety.guard.cascade import Judge
from solon.safety.guard.reading import readings
from solon.safety.guard.refusals import INJECTION, category_of
from solon.safety.guard.rulings import Opinion
from solon.safety.head import HARM, Head
from solon.safety.readers import Reader

LONGEST = 100_000
"""Characters of the longest text that is looked at. A longer one fails, and so is stopped."""
SHORTEST = 500
"""Characters below which a text is not cut any more: what is too long then is the request before it."""


def asked(turns: Conversation) -> str:
    """The last thing that a user said."""
    return next((turn.content for turn in reversed(turns) if turn.role == "user"), "")


def by_classifier(classifier: Classifier) -> Judge:
    """The text classifier: a user's turn by the worst of its readings, a reply in its context. Text that is too long to be
    read at once is read in halves, so that nothing goes unread behind a long beginning."""

    def read(turns: Conversation) -> Score:
        one = classifier.score([turns])[0]
        *before, last = turns
        middle = len(last.content) // 2
        if not one.truncated or middle < SHORTEST:
            return one
        halves = (last.content[:middle], last.content[middle:])
        return max((read((*before, replace(last, content=half))) for half in halves), key=lambda half: half.harm)

    def judge(turns: Conversation) -> Opinion:
        *before, last = turns
        _bounded(last.content)
        said = [last.content] if last.role == "assistant" else readings(last.content)
        worst = max((read((*before, replace(last, content=text))) for text in said), key=lambda one: one.harm)
        return Opinion(min(worst.harm, 1.0), category_of(asked(turns), worst.categories))

    return judge


def by_probe(reader: Reader, head: Head) -> Judge:
    """A head on the running model's hidden states, read over the whole of the last turn; the worst window counts."""
    expected = (head.facts.get("digest"), head.facts.get("settings"))
    if expected != (reader.digest, dict(reader.settings)):
        raise ModelError("the probe was fitted on another model", got=reader.digest[:12], expected=str(expected[0])[:12])

    def judge(turns: Conversation) -> Opinion:
        if not turns[-1].content.strip():
            return Opinion(0.0)
        logits = head.logits(reader.read(turns[-1].content).features).max(0)
        return Opinion(float(head.probabilities(logits[None])[0][HARM]))

    return judge


def by_rules(turns: Conversation) -> Opinion:
    """The injection rules, for a text that was retrieved or that a tool gave back."""
    _bounded(turns[-1].content)
    return Opinion(injection.score(injection.findings(turns[-1].content)), INJECTION)


def _bounded(text: str) -> None:
    if len(text) > LONGEST:
        raise DataError("a text is too long to be looked at", got=len(text), expected=LONGEST)
