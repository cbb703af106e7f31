"""The one question that the rest of Solon asks: how harmful is this text, or this reply where it was given?

A text is scored by a head on an encoder's features (`solon.safety.head`). A reply in a conversation is scored in its
context: it does harm where it is itself harmful, or goes along with a request that is (`solon.safety.replies`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from solon.core.errors import DataError, MissingError, ModelError, nearest
from solon.core.records import Conversation, Message, as_messages
from solon.safety.head import HARM, Floats, Head
from solon.safety.readers import ModelReader, Reader, SentenceReader
from solon.safety.replies import ReplyHead
from solon.safety.taxonomy import CATEGORIES

if TYPE_CHECKING:
    from solon.models.load import Model

Item = str | Conversation | Sequence[Mapping[str, str]]
SHIPPED = "minilm"
HEADS = ("minilm",)
ASKED = 4
"""Requests of which a classifier keeps the reading."""


@dataclass(frozen=True)
class Score:
    """What the classifier says of one item.

    `categories` are probabilities of each harm, `harm` that of any; `severity` is the expected level from 0 to 3
    (`taxonomy.SEVERITIES`). Of a reply, `harm` is what the reply head says, which is what its card measures; the categories are
    those of request and reply as texts, made smaller where the reply does less harm than their words. `flagged` compares `harm` with the threshold of the card. `truncated` says that the end of a
    very long text was not read. `card` names the head, and by it the data, figures and limits behind the score."""

    categories: Mapping[str, float]
    harm: float
    severity: float
    flagged: bool
    truncated: bool
    card: str


class Classifier:
    """A head with the reader that it was fitted for; with a `replies` head also for replies in their context."""

    def __init__(self, reader: Reader, head: Head, replies: ReplyHead | None = None, card: str = ""):
        for part in (head, replies):
            wanted = None if part is None else (part.facts.get("digest"), part.facts.get("settings"))
            got = (reader.digest, dict(reader.settings))
            if wanted is not None and wanted != got:
                raise ModelError("the head was fitted on another reader", got=got, expected=wanted)
        self.reader, self.head, self.replies, self.card = reader, head, replies, card
        # A guard looks at a reply many times while it is drawn; the request before it stays as it is.
        self._asked = lru_cache(ASKED)(self.logits)

    def score(self, items: Sequence[Item], progress: Callable[[int], None] | None = None) -> list[Score]:
        """One score an item, in order; no score depends on the items beside it. Raises `DataError` for a wrong item."""
        checked = [_turns(item, place) for place, item in enumerate(_listed(items))]
        out = []
        for turns in checked:
            out.append(self._reply(turns) if turns[-1].role == "assistant" else self._text(turns[-1].content))
            if progress:
                progress(1)
        return out

    def logits(self, text: str) -> tuple[Floats, NDArray[np.float32], bool]:
        """Of the text's windows the largest logit of each output, `[outputs]`; its features, `[windows, width]`; and
        whether its end was not read."""
        reading = self.reader.read(text)
        return self.head.logits(reading.features).max(0), reading.features, reading.truncated

    def _text(self, text: str) -> Score:
        if not text.strip():
            return self._empty()
        logits, _, truncated = self.logits(text)
        p = self.head.probabilities(logits[None])[0]
        return self._score(p, float(self.head.threshold[HARM]), truncated)

    def _reply(self, turns: Conversation) -> Score:
        if self.replies is None:
            raise ModelError("this head scores texts, not replies in their context", fix="make it again (solon safety train), or use the shipped head 'minilm'")
        asked = next((turn.content for turn in reversed(turns[:-1]) if turn.role == "user"), "")
        if not turns[-1].content.strip():
            return self._empty()
        request, reply = self._asked(asked), self.logits(turns[-1].content)
        harm = self.replies.probability((request[0], request[1]), (reply[0], reply[1]))
        p = self.head.probabilities(np.stack([request[0], reply[0]])).max(0)
        words = max(float(p[HARM]), 1e-9)
        # The higher levels keep their odds given harm. What the exchange is about counts as far as the reply takes part in it.
        levels = np.r_[harm, p[HARM + 1 :] / words * harm]
        return self._score(np.r_[p[:HARM] * min(harm / words, 1.0), levels], self.replies.threshold, request[2] or reply[2])

    def _score(self, p: Floats, threshold: float, truncated: bool) -> Score:
        harm = float(p[HARM])
        categories = {name: float(p[j]) for j, name in enumerate(CATEGORIES)}
        return Score(categories, harm, float(p[HARM:].sum()), harm >= threshold, truncated, self.card)

    def _empty(self) -> Score:
        return Score(dict.fromkeys(CATEGORIES, 0.0), 0.0, 0.0, False, False, self.card)


def _listed(items: Any) -> Sequence[Any]:
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Sequence):
        raise DataError("give a list of texts or conversations", got=type(items).__name__, fix="score([text])")
    if items and all(isinstance(item, Message) for item in items):
        raise DataError("this is one conversation", expected="a list of them", fix="score([conversation])")
    return items


def _turns(item: Any, place: int) -> Conversation:
    """An item as turns; a bare text is a user's."""
    if isinstance(item, str):
        return (Message("user", item),)
    wrong = DataError(
        f"item {place} is neither a text nor a conversation", got=type(item).__name__,
        expected='a str, Message turns, or turns {"role": ..., "content": ...}',
    )  # fmt: skip
    if isinstance(item, bytes | Mapping) or not isinstance(item, Sequence) or not item:
        raise wrong
    try:
        turns = tuple(item) if all(isinstance(turn, Message) for turn in item) else as_messages(item)
    except (TypeError, KeyError, IndexError) as error:
        raise wrong from error
    if not all(isinstance(turn.content, str) and isinstance(turn.role, str) for turn in turns):
        raise wrong
    return turns


def card(name: str = SHIPPED) -> dict[str, Any]:
    """The model card of a shipped head, or of the .json card at a path: what it was made of, its figures and its limits."""
    place = _folder(name) / f"{Path(name).stem}.json"
    if not place.is_file():
        made = "the package is incomplete: install it again, or make the head with solon safety train --out FOLDER"
        raise MissingError(f"there is no head {name!r}", fix=made if name in HEADS else nearest(name, HEADS))
    try:
        found = json.loads(place.read_text("utf-8"))
        if not {"id", "files", "name"} <= set(found):
            raise ValueError("no card of a head")
    except (ValueError, TypeError) as error:
        raise ModelError(f"{place.name} is not a card", got=error, fix="make it again: solon safety train") from error
    return found


def _folder(name: str) -> Any:
    return Path(name).parent if name.endswith(".json") else files("solon") / "safety" / "heads"


@cache
def load(name: str = SHIPPED, find: Callable[[str], Model] | None = None) -> Classifier:
    """A shipped head with its reader (`minilm`, fetched once, 84 MB), or the one whose card is at a path.

    `find` gives the language model that a head names; without it only published ones are known (`stages.safety.opened` knows
    those of runs). Kept in memory. Raises `ModelError` where a file is not what the card says, or the model not the head's."""
    about = card(name)
    data: dict[str, bytes] = {}
    for file, said in about["files"].items():
        place = _folder(name) / Path(file).name
        content = place.read_bytes() if place.is_file() else b""
        got = hashlib.sha256(content).hexdigest()
        if got != said["sha256"]:
            raise ModelError(f"{file} is not what its card says", got=got, expected=said["sha256"])
        data[file] = content
    head = Head.from_bytes(data[f"{about['name']}.npz"], f"{about['name']}.npz")
    replies = data.get(f"{about['name']}-replies.npz")
    return Classifier(reader_of(head, find), head, ReplyHead.from_bytes(replies) if replies else None, about["id"])


def reader_of(head: Head, find: Callable[[str], Model] | None = None) -> Reader:
    """The reader that a head was fitted for; the language model that it names is loaded, or given by `find`."""
    from solon.models.encoders import minilm
    from solon.models.load import load as load_model

    settings = head.facts["settings"]
    if "layers" in settings:
        return SentenceReader(minilm.load(), tuple(settings["layers"]))
    return ModelReader((find or load_model)(head.facts["reader"]), settings["layer"])


def score(items: Sequence[Item], head: str = SHIPPED) -> list[Score]:
    """Score texts, or conversations by their last turn, with a shipped head. See `Score` for what comes back."""
    return load(head).score(items)
