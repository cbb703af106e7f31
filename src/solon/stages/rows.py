"""Artifacts and data as rows for fine-tuning: `{"id", "messages", "source", ...}`."""

from __future__ import annotations

from solon.constitution.store import Book
from solon.core.artifacts import Artifact, Record
from solon.core.records import as_json
from solon.stages import skills
from solon.stages.gather import Gathered


def demonstrations(data: Gathered, most: int) -> list[Record]:
    """The training side of the demonstrations, without those that refuse."""
    chosen = data.demonstrations[:most]
    return [
        {"id": one.id, "messages": as_json(one.messages), "source": one.source}
        | ({"weight": one.weight} if one.weight != 1 else {})
        for one in chosen
    ]


def lessons(plan: skills.Lessons, book: Book, data: Gathered) -> list[Record]:
    """What the helpful model learns: to answer, to criticise and to revise."""
    return demonstrations(data, plan.demonstrations) + skills.transcripts(book, plan, data.worked)


def kept(made: Artifact) -> list[Record]:
    """The rows that a stage found fit to train on."""
    return [{**row, "source": made.id} for row in made.rows("rows") if not row.get("dropped")]
