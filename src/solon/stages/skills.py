"""Worked critiques and revisions as conversations to learn from.

The paper shows a few transcripts in front of every request, which a model of 52B parameters can follow. A model of 135M
cannot (docs/log.md, 2026-11-21: refusals did not become more frequent), so its helpful model learns the two skills from
transcripts first: a faulty reply is criticised and rewritten, a sound one is found sound and kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from solon.constitution.revise import revision_conversation
from solon.constitution.store import Book
from solon.core.artifacts import Record
from solon.core.config import Config
from solon.core.records import LabelledPair, Message, WorkedCritique, as_json


class Lessons(Config):
    """What the helpful model is taught: demonstrations, faulty replies to mend (`kinds` of labelled pairs; none named
    means all) and sound replies to keep as they are."""

    demonstrations: int = Field(150, ge=1)
    mend: int = Field(200, ge=0)
    keep: int = Field(60, ge=0)
    kinds: tuple[str, ...] = ()


def transcripts(
    book: Book, lessons: Lessons, worked: Sequence[tuple[LabelledPair, WorkedCritique]]
) -> list[Record]:
    """For each worked critique two rows: the worse reply is criticised and rewritten, the better is found sound and kept.
    Of each row only critique and revision are learned."""
    rows: list[Record] = []
    worked = [item for item in worked if not lessons.kinds or item[0].kind in lessons.kinds]
    for place, (pair, one) in enumerate(worked):
        principle = book.principle(one.principle)
        wanted = [("mend", pair.rejected, one.critique)] if place < lessons.mend else []
        # Kept replies come from the other end, so that few prompts are met twice.
        wanted += [("keep", pair.chosen, one.keep)] if place >= len(worked) - lessons.keep else []
        for kind, reply, critique in wanted:
            asked = revision_conversation(book, pair.prompt, reply, principle, critique, shots=0)
            messages = as_json((*asked, Message("assistant", pair.chosen)))
            row = {"id": f"{pair.id}/{kind}", "messages": messages, "learn": 2, "source": "transcripts"}
            rows.append({**row, "principle": principle.id, "book": book.hash})
    return rows
