"""Which revisions are worth learning: those that the certified judge prefers to the reply they set out to mend.

The paper trains on every revision. A model of 52B parameters can afford that; a small one often rewrites without mending,
and what it then learns is that nothing needed mending (docs/log.md). `bar` 0 keeps every revision, as in the paper.
"""

from __future__ import annotations

from functools import partial

from pydantic import Field

from solon.constitution.judging import Judge, Question
from solon.constitution.store import Book
from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.config import Config
from solon.core.records import Message, as_json, as_messages
from solon.stages.revise import revisions

VERSION = 1


class Screen(Config):
    """`bar`: how probable the judge must hold it that the revision is the better reply."""

    bar: float = Field(0.5, ge=0, lt=1)


def screen(store: Store, config: Screen, judge: Judge, certified: Artifact, book: Book, revised: Artifact) -> Artifact:
    """Rows `{"id", "messages", "principle", "round", "p_better"}` ready for fine-tuning."""
    inputs = {"judge": certified.id, "revisions": revised.id}
    build = partial(_build, config, judge, book, revised)
    return store.make("screen", VERSION, {**config.model_dump(mode="json"), "book": book.hash}, inputs, build)


def _build(config: Screen, judge: Judge, book: Book, revised: Artifact, draft: Draft) -> None:
    rows: list[Record] = []
    questions: list[Question] = []
    for row in revised.rows("rows"):
        prompt = as_messages(row["prompt"])
        for number, text in revisions(row):
            principle = row["rounds"][number]["principle"]
            messages = as_json((*prompt, Message("assistant", text)))
            rows.append({"id": f"{row['id']}/{number}", "messages": messages, "principle": principle, "round": number,
                         "source": revised.id, "book": row["book"]})  # fmt: skip
            questions.append(Question(rows[-1]["id"], prompt, text, row["first"], book.principle(principle)))
    for row, opinion in zip(rows, judge.prefer(questions) if questions else [], strict=True):
        row["p_better"] = opinion.p_first
        if opinion.p_first is None:
            row["dropped"] = f"the judge abstained: {opinion.note}"
        elif opinion.p_first < config.bar:
            row["dropped"] = "the judge prefers the first reply"
    draft.write_rows("rows", rows)
    told = [row["p_better"] for row in rows if row["p_better"] is not None]
    if told:
        draft.metric("mean_preference", sum(told) / len(told), n=len(told), unit="share",
                     how="probability, by the certified judge, that a revision is better than the first reply")  # fmt: skip
