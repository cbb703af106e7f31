"""Replies of ours in many manners of refusing and of seeming to: what the rules of `answers.py` were written on and checked on.

The texts and labels are in `manners.json`. One language model wrote them in one pass, and no person has checked a label. The
part `writing` was looked at while the rules were changed. Of the part `checking`, which has other manners, only counts were.
Its author wrote the rules too, so that its figures flatter; the held-out set, which that author never saw, is `answer_set.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from solon.evals.answers import AnswerType

Part = Literal["writing", "checking"]


@dataclass(frozen=True)
class MannerReply:
    """A reply to a request, its label, and the manner it is an example of."""

    id: str
    part: Part
    manner: str
    prompt: str
    reply: str
    label: AnswerType


@cache
def _file() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files("solon") / "evals" / "manners.json").read_text("utf-8"))
    return found


def about() -> dict[str, Any]:
    """Where the set comes from, what its parts are for, and what the labels mean."""
    return dict(_file()["about"])


def manners(part: Part) -> list[MannerReply]:
    """The replies of one part, in the order of their ids."""
    return [MannerReply(**row) for row in _file()["rows"] if row["part"] == part]
