"""Artifacts and data as rows for fine-tuning: `{"id", "messages", "source", ...}`."""

from __future__ import annotations

from solon.constitution.store import Book
from solon.core.artifacts import Artifact, Record
from solon.core.records import Message, as_json, as_messages
from solon.stages import skills
from solon.stages.gather import Gathered
from solon.stages.revise import revisions as usable


def demonstrations(data: Gathered, most: int) -> list[Record]:
    """The training side of the demonstrations, without those that refuse."""
    chosen = data.demonstrations[:most]
    return [{"id": one.id, "messages": as_json(one.messages), "source": one.source} for one in chosen]


def lessons(plan: skills.Lessons, book: Book, data: Gathered) -> list[Record]:
    """What the helpful model learns: to answer, to criticise and to revise."""
    return demonstrations(data, plan.demonstrations) + skills.transcripts(book, plan, data.worked)


def revisions(revised: Artifact) -> list[Record]:
    """Every usable revision of every round, as the answer that should have been given at once."""
    out: list[Record] = []
    for row in revised.rows("rows"):
        for number, text in usable(row):
            messages = as_json((*as_messages(row["prompt"]), Message("assistant", text)))
            out.append(
                {"id": f"{row['id']}/{number}", "messages": messages, "source": revised.id, "book": row["book"],
                 "principle": row["rounds"][number]["principle"]}
            )  # fmt: skip
    return out


def kept(answers: Artifact) -> list[Record]:
    """The helpful answers that passed the cleaning rules."""
    return [{**row, "source": answers.id} for row in answers.rows("rows") if not row.get("dropped")]
