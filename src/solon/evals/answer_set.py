"""Replies of ours with a label for each class of answer, the finer ones of refusal too, which no public set tells apart.

What the labels mean, who gave them and how far the two passes agree is told by `about`. The rules of `answers.py` were
not changed after the set was made: it measures them and must not be what they are fitted to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from solon.evals.answers import AnswerType


@dataclass(frozen=True)
class LabelledReply:
    """A reply to a request, and the labels of the first and the second pass."""

    id: str
    prompt: str
    reply: str
    first: AnswerType
    second: AnswerType


@cache
def _file() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files("solon") / "evals" / "answer_set.json").read_text("utf-8"))
    return found


def about() -> dict[str, Any]:
    """The labels' meanings, the kind of the rater, how the set was made, and the agreement of the passes (a figure)."""
    return dict(_file()["about"])


def replies() -> list[LabelledReply]:
    """All replies, in the order of their ids."""
    return [LabelledReply(**row) for row in _file()["rows"]]
