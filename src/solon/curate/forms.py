"""The forms that rows of training data come in, and the records they become. Strict: a row that is nearly right is refused
with its place, the field, what was found and what was expected."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from solon.core.artifacts import digest
from solon.core.errors import DataError
from solon.core.records import (
    Conversation,
    Demonstration,
    LabelledPair,
    Message,
    MultipleChoice,
    Paraphrase,
    Passage,
    Preference,
    Role,
    Sample,
    WorkedCritique,
    as_json,
    user,
)

Row = tuple[str, Mapping[str, Any]]
"""A place, such as `pairs.jsonl, line 3`, and what stands there."""
R = TypeVar("R")
ROLES = get_args(Role)
REPLIES = ("completion", "response", "output", "answer")


def as_demonstrations(rows: Iterable[Row], source: str = "", skipped: list[str] | None = None) -> list[Demonstration]:
    """Conversations that end with the assistant, from rows of the messages, prompt/completion or instruction form.

    The first bad row raises `DataError`; with a list as `skipped`, bad rows are left out and the complaints put there."""

    def one(place: str, row: Mapping[str, Any], id: str) -> Demonstration:
        return Demonstration(id, _demonstration(place, row), source, _tags(row), _weight(place, row))

    return _records(rows, one, skipped)


def as_preferences(rows: Iterable[Row], source: str = "", skipped: list[str] | None = None) -> list[Preference]:
    """The chosen reply first, with probability 1. `skipped` as in `as_demonstrations`."""

    def one(place: str, row: Mapping[str, Any], id: str) -> Preference:
        prompt, chosen, rejected = _pair(place, row)
        return Preference(id, prompt, chosen, rejected, 1.0, str(row.get("principle") or ""), source)

    return _records(rows, one, skipped)


def as_labelled_pairs(rows: Iterable[Row], source: str = "", skipped: list[str] | None = None) -> list[LabelledPair]:
    """Preference rows with an optional `kind`. `skipped` as in `as_demonstrations`."""

    def one(place: str, row: Mapping[str, Any], id: str) -> LabelledPair:
        return LabelledPair(id, *_pair(place, row), str(row.get("kind") or source))

    return _records(rows, one, skipped)


def as_prompts(rows: Iterable[Row], source: str = "", skipped: list[str] | None = None) -> list[Sample]:
    """Conversations that end with the user, from rows with `prompt`, `text`, `instruction` or `messages`. Other text
    fields become tags, and `source` one of them. `skipped` as in `as_demonstrations`."""

    def one(place: str, row: Mapping[str, Any], id: str) -> Sample:
        tags = _tags(row) | ({"source": source} if source else {})
        return Sample(id, _asked(place, row), row.get("reference"), tags)

    return _records(rows, one, skipped)


def as_questions(rows: Iterable[Row], source: str = "", skipped: list[str] | None = None) -> list[MultipleChoice]:
    """Rows with `question`, `choices` and `answer` (place from 0, letter, or the choice itself)."""

    def one(place: str, row: Mapping[str, Any], id: str) -> MultipleChoice:
        choices = _texts(place, row, "choices", 2)
        return MultipleChoice(
            id, _text(place, row, "question"), choices, _answer(place, row, choices), str(row.get("topic") or "")
        )

    return _records(rows, one, skipped)


def as_passages(rows: Iterable[Row], source: str = "", skipped: list[str] | None = None) -> list[Passage]:
    """Rows with `text`."""

    def one(place: str, row: Mapping[str, Any], id: str) -> Passage:
        return Passage(id, _text(place, row, "text"), str(row.get("genre") or ""))

    return _records(rows, one, skipped)


def as_paraphrases(rows: Iterable[Row], source: str = "", skipped: list[str] | None = None) -> list[Paraphrase]:
    """Rows with `prompts`, a list of at least two wordings."""

    def one(place: str, row: Mapping[str, Any], id: str) -> Paraphrase:
        return Paraphrase(id, _texts(place, row, "prompts", 2), str(row.get("kind") or ""))

    return _records(rows, one, skipped)


def as_worked_critiques(
    rows: Iterable[Row], source: str = "", skipped: list[str] | None = None
) -> list[WorkedCritique]:
    """Rows with `id` (a labelled pair's), `principle`, `critique` and `keep`. `skipped` as in `as_demonstrations`."""

    def one(place: str, row: Mapping[str, Any], id: str) -> WorkedCritique:
        return WorkedCritique(id, *(_text(place, row, name) for name in ("principle", "critique", "keep")))

    return _records(rows, one, skipped)


def _records(
    rows: Iterable[Row], one: Callable[[str, Mapping[str, Any], str], R], skipped: list[str] | None
) -> list[R]:
    """Ids are the rows' own; a row without gets the hash of its content, which does not change when rows are added."""
    made: dict[str, R] = {}
    places: dict[str, str] = {}
    copies: dict[str, int] = {}
    for place, row in rows:
        try:
            id = _own_id(place, row)
            if id is None:
                content = digest(json.loads(json.dumps(dict(row), default=str)))
                copies[content] = copies.get(content, 0) + 1
                id = content if copies[content] == 1 else f"{content}-{copies[content]}"
            if id in made:
                raise DataError(
                    f"{place}: the id {id!r} was used before", got=f"also at {places[id]}", expected="unique ids"
                )
            made[id], places[id] = one(place, row, id), place
        except DataError as error:
            if skipped is None:
                raise
            skipped.append(str(error))
    if not made:
        got = f"{len(skipped)} rows, none of them usable" if skipped else "no rows"
        raise DataError("there is nothing to read", got=got, expected="at least one row")
    return list(made.values())


def _own_id(place: str, row: Mapping[str, Any]) -> str | None:
    id = row.get("id")
    if id is None or id == "":
        return None
    if not isinstance(id, str | int):
        raise DataError(f"{place}: the field 'id' is no name", got=_shown(id), expected="a text or a whole number")
    return str(id)


def _tags(row: Mapping[str, Any]) -> dict[str, str]:
    """Short text fields that say what sort of row it is."""
    texts = {"id", "prompt", "text", "instruction", "input", "context", "reference", "system", "split", *REPLIES}
    return {
        key: value for key, value in row.items() if key not in texts and isinstance(value, str) and len(value) <= 80
    }


def _weight(place: str, row: Mapping[str, Any]) -> float:
    value = row.get("weight")
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise DataError(f"{place}: the field 'weight' is no weight", got=_shown(value), expected="a number above 0")
    return float(value)


def _demonstration(place: str, row: Mapping[str, Any]) -> Conversation:
    if row.get("messages") is not None:
        return _turns(place, "messages", row["messages"], "assistant")
    reply = next((name for name in REPLIES if row.get(name) is not None), None)
    if reply and (row.get("prompt") is not None or row.get("instruction") is not None):
        return _check_order(
            place, reply, (*_asked(place, row), Message("assistant", _reply(place, row, reply))), "assistant"
        )
    raise DataError(
        f"{place}: this is no form of demonstration",
        got="fields " + (", ".join(map(str, row)) or "none"),
        expected="messages, or prompt and completion (or response), or instruction, perhaps input, and output",
    )


def _asked(place: str, row: Mapping[str, Any]) -> Conversation:
    """What the user asks, in any of the forms, as turns that end with the user."""
    if row.get("prompt") is not None:
        return _turns_or_text(place, "prompt", row["prompt"])
    if row.get("messages") is not None:
        return _turns(place, "messages", row["messages"], "user")
    if row.get("instruction") is not None:
        context = next((name for name in ("input", "context") if row.get(name)), None)
        instruction = _text(place, row, "instruction")
        return user(f"{instruction}\n\n{_text(place, row, context)}" if context else instruction)
    if row.get("text") is not None:
        return user(_text(place, row, "text"))
    got = "fields " + (", ".join(map(str, row)) or "none")
    raise DataError(f"{place}: there is no prompt", got=got, expected="a field prompt, messages, instruction or text")


def _pair(place: str, row: Mapping[str, Any]) -> tuple[Conversation, str, str]:
    """Prompt, chosen and rejected. Replies may be whole conversations; then what comes before the last turn must agree."""
    before, replies = [], []
    for name in ("chosen", "rejected"):
        if isinstance(row.get(name), Sequence) and not isinstance(row[name], str):
            turns = _turns(place, name, row[name], "assistant", alone=True)
            before.append(turns[:-1])
            replies.append(turns[-1].content)
        else:
            before.append(())
            replies.append(_text(place, row, name))
    if before[0] != before[1]:
        got, expected = f"{len(before[0])} and {len(before[1])} turns before the reply", "the same turns in both"
        raise DataError(f"{place}: 'chosen' and 'rejected' answer different conversations", got=got, expected=expected)
    if row.get("prompt") is None and before[0]:
        prompt = before[0]
    else:
        prompt = _asked(place, row)
        if before[0] and before[0] != prompt:
            expected = "a reply alone, or the prompt and the reply"
            raise DataError(
                f"{place}: 'chosen' does not go on from 'prompt'", got=_shown(as_json(before[0])), expected=expected
            )
    if replies[0] == replies[1]:
        fix = "leave the row out: it prefers nothing"
        raise DataError(f"{place}: 'chosen' and 'rejected' are the same text", got=_shown(replies[0]), fix=fix)
    return prompt, replies[0], replies[1]


def _reply(place: str, row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if isinstance(value, str):
        return _text(place, row, name)
    return _turns(place, name, value, "assistant", alone=True)[-1].content


def _turns_or_text(place: str, name: str, value: Any) -> Conversation:
    if isinstance(value, str):
        return user(_text(place, {name: value}, name))
    return _turns(place, name, value, "user")


def _turns(place: str, name: str, value: Any, last: Role, alone: bool = False) -> Conversation:
    """A checked conversation. `alone` also allows a single assistant turn, a reply written as a list."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        expected = 'a list such as [{"role": "user", "content": "..."}, ...]'
        raise DataError(f"{place}: the field {name!r} is no conversation", got=_shown(value), expected=expected)
    turns: list[Message] = []
    for number, turn in enumerate(value):
        where = f"{name}[{number}]"
        if not isinstance(turn, Mapping):
            raise DataError(f"{place}: {where} is no turn", got=_shown(turn), expected='{"role": ..., "content": ...}')
        if turn.get("role") not in ROLES:
            raise DataError(
                f"{place}: the field '{where}.role' is no role", got=_shown(turn.get("role")), expected=", ".join(ROLES)
            )
        turns.append(Message(turn["role"], _text(place, turn, "content", f"{where}.content")))
    if alone and len(turns) == 1 and turns[0].role == "assistant":
        return tuple(turns)
    return _check_order(place, name, tuple(turns), last)


def _check_order(place: str, name: str, turns: Conversation, last: Role) -> Conversation:
    """At most one system turn, first; then user and assistant in turn, from user to `last`."""
    spoken = turns[1:] if turns[0].role == "system" else turns
    order = [turn.role for turn in spoken]
    due = [("user", "assistant")[turn % 2] for turn in range(len(order))]
    if not order or order != due:
        expected = "perhaps system, then user and assistant in turn"
        got = " ".join(turn.role for turn in turns)
        raise DataError(f"{place}: the turns of {name!r} are out of order", got=got, expected=expected)
    if order[-1] != last:
        raise DataError(f"{place}: {name!r} does not end with the {last}", got=order[-1], expected=last)
    return turns


def _text(place: str, row: Mapping[str, Any], name: str, where: str = "") -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        got = "nothing" if name not in row else _shown(value)
        raise DataError(
            f"{place}: the field {where or name!r} holds no text", got=got, expected="a text that is not empty"
        )
    return value


def _texts(place: str, row: Mapping[str, Any], name: str, least: int) -> tuple[str, ...]:
    values = row.get(name)
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) < least:
        expected = f"a list of at least {least} texts"
        raise DataError(f"{place}: the field {name!r} is no list of texts", got=_shown(values), expected=expected)
    return tuple(_text(place, {name: value}, name, f"{name}[{number}]") for number, value in enumerate(values))


def _answer(place: str, row: Mapping[str, Any], choices: tuple[str, ...]) -> int:
    value = row.get("answer")
    if isinstance(value, str):
        if value in choices:
            return choices.index(value)
        letter = ord(value.upper()) - ord("A") if len(value) == 1 and value.isalpha() else -1
        value = int(value) if value.isdecimal() else letter
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < len(choices):
        expected = f"0 to {len(choices) - 1}, a letter, or one of the choices"
        raise DataError(
            f"{place}: the field 'answer' points at no choice", got=_shown(row.get("answer")), expected=expected
        )
    return value


def _shown(value: Any) -> str:
    """A value on one line, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
