"""What a model is shown when it rewrites its own reply (arXiv 2212.08073, section 3.1).

A revision ends its round: the next round is asked about prompt and revised reply alone, as if that had been the reply
all along. Critiques are dropped and never trained on.
"""

from __future__ import annotations

from solon.constitution.critique import critique_conversation, few_shot, split_system, transcript_turns
from solon.constitution.store import Book, Principle
from solon.core.records import Conversation, Message


def revision_conversation(
    book: Book, prompt: Conversation, reply: str, principle: Principle, critique: str, shots: int | None = None
) -> Conversation:
    """The conversation to which the next assistant turn is the revision. It begins with that of the critique."""
    before = critique_conversation(book, prompt, reply, principle, shots)
    return (*before, Message("assistant", critique), Message("user", principle.revision_request))


def direct_revision_conversation(
    book: Book, prompt: Conversation, reply: str, principle: Principle, shots: int | None = None
) -> Conversation:
    """A revision without a critique before it: the paper's ablation (section 3.5, figure 7)."""
    opening, turns = split_system(prompt)
    shown = [turn for one in few_shot(book, shots) for turn in transcript_turns(one, critique=False)]
    return (*opening, *shown, *turns, Message("assistant", reply), Message("user", principle.revision_request))
