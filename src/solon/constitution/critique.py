"""What a model is shown when it criticises its own reply by a principle (arXiv 2212.08073, section 3.1).

The few-shot transcripts are earlier turns of the same chat, always all of them and always in the book's order: every
critique of a book therefore begins with the same tokens, which the sampler computes once.
"""

from __future__ import annotations

from solon.constitution.store import Book, Principle, Transcript
from solon.core.records import Conversation, Message


def critique_conversation(
    book: Book, prompt: Conversation, reply: str, principle: Principle, shots: int | None = None
) -> Conversation:
    """The conversation to which the next assistant turn is the critique. `shots` keeps only the first transcripts."""
    opening, turns = split_system(prompt)
    shown = [turn for one in few_shot(book, shots) for turn in transcript_turns(one)]
    asked = (Message("assistant", reply), Message("user", principle.critique_request))
    return (*opening, *shown, *turns, *asked)


def few_shot(book: Book, shots: int | None = None) -> tuple[Transcript, ...]:
    """The book's transcripts, or the first of them; the order is part of the book."""
    return book.transcripts if shots is None else book.transcripts[:shots]


def transcript_turns(one: Transcript, critique: bool = True) -> tuple[Message, ...]:
    """A worked transcript as turns of a chat; without the critique it shows a direct revision."""
    first = (Message("user", one.request), Message("assistant", one.reply))
    middle = (Message("user", one.critique_request), Message("assistant", one.critique)) if critique else ()
    return (*first, *middle, Message("user", one.revision_request), Message("assistant", one.revision))


def split_system(prompt: Conversation) -> tuple[Conversation, Conversation]:
    """The system turn, which chat templates want at the very front, and the turns after it."""
    own = 1 if prompt and prompt[0].role == "system" else 0
    return prompt[:own], prompt[own:]
