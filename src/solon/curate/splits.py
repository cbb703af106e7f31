"""Which side of a split a row falls on: decided by its text alone, so the same words never lie on both sides."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Literal, get_args

from solon.core.errors import ConfigError, nearest
from solon.core.keys import share
from solon.core.records import (
    Conversation,
    Demonstration,
    LabelledPair,
    MultipleChoice,
    Paraphrase,
    Passage,
    Preference,
    Sample,
    WorkedCritique,
)

Split = Literal["train", "heldout", "all"]


def normalised(text: str) -> str:
    """Lower case, no punctuation, single spaces; what is left when two people type the same sentence."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("'", "").replace("\u2019", "")
    return re.sub(r"[\W_]+", " ", folded).strip()


def side(text: str, heldout: float) -> Split:
    """`heldout` for about that share of texts. Growing the share only ever moves texts from train to held out."""
    return "heldout" if share(normalised(text)) < heldout else "train"


def checked(split: str) -> Split:
    """The split, or a `ConfigError` that names the nearest one."""
    if split not in get_args(Split):
        raise ConfigError(
            f"there is no split {split!r}", expected="train, heldout or all", fix=nearest(split, get_args(Split))
        )
    return split  # type: ignore[return-value]


def text_of(record: Any) -> str:
    """What a row asks, or says where it asks nothing: the text that splits and searches for copies go by."""
    match record:
        case Sample() | LabelledPair() | Preference():
            return spoken(record.prompt)
        case Demonstration():
            return spoken(record.messages[:-1])
        case MultipleChoice():
            return record.question
        case Passage():
            return record.text
        case WorkedCritique():
            return record.critique
        case Paraphrase():
            return record.prompts[0]
    raise TypeError(f"not a row of data: {type(record).__name__}")


def spoken(turns: Conversation) -> str:
    """The user's first turn: it alone decides, since conversations that begin alike often go on alike."""
    return next((turn.content for turn in turns if turn.role == "user"), turns[-1].content)
