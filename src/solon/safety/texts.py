"""Labelled texts as the classifier is trained and tested on them."""

from __future__ import annotations

from dataclasses import dataclass

from solon.safety.taxonomy import Known


@dataclass(frozen=True)
class Text:
    """One text, what is known of it, and the family that it must not be parted from when sides are drawn.

    `group` is the people it speaks of, for slices; `label` the source's own word."""

    source: str
    text: str
    label: str
    known: Known
    family: str
    group: str = ""


@dataclass(frozen=True)
class Reply:
    """A reply to a user's turn and whether it does harm. With `worse`, a pair of which only the order is known: `worse`
    is the more harmful reply and `text` the better one."""

    source: str
    prompt: str
    text: str
    harmful: bool | None
    complies: bool | None
    family: str
    worse: str = ""
