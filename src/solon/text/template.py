"""Chat templates: a conversation to text and to token ids, and which of the ids are the assistant's own words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from solon.core.errors import DataError, ModelError
from solon.core.records import Conversation
from solon.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from jinja2 import Template

DEFAULT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ 'Assistant:' }}{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}{{ '\\n\\n' }}"
    "{% else %}{{ raise_exception('unknown role: ' + message['role']) }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""For base models, whose vocabularies have no turn marks: ordinary words, so a user who types them can imitate a turn.
The prompt ends before the space, since most vocabularies join a space to the word after it."""

START, END = "\U000f5a00", "\U000f5a01"
OPEN, CLOSE = "\U000f5a02", "\U000f5a03"
"""Private-use characters, which belong to no text: the borders of a generation block, and of a guarded content."""


@dataclass(frozen=True)
class Tokens:
    """Token ids, and for each whether the model is to learn to write it; `weight` is what each of those counts in a loss."""

    ids: list[int]
    learn: list[bool]
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.ids)


def render(
    template: str,
    messages: Conversation | Sequence[Mapping[str, Any]],
    add_generation_prompt: bool = False,
    bos: str = "",
    eos: str = "",
) -> str:
    """The conversation as text, as transformers renders it. Raises `DataError` if the template refuses the turns."""
    text = _rendered(template, _plain(messages), add_generation_prompt, bos, eos)
    return text.replace(START, "").replace(END, "")


def encode_chat(tokenizer: Tokenizer, conversation: Conversation, add_generation_prompt: bool = False) -> list[int]:
    """Token ids of a conversation, BOS included where the template or the vocabulary wants it.

    Control tokens inside a message are plain text, so nobody can forge a turn by writing one."""
    text, guarded = _guarded_text(tokenizer, conversation, add_generation_prompt)
    return _with_bos(tokenizer, _encode(tokenizer, text.replace(START, "").replace(END, ""), guarded))


def encode_training(tokenizer: Tokenizer, conversation: Conversation) -> Tokens:
    """Token ids of a conversation, where exactly the assistant's content and its end-of-turn token are to be learned.

    Text is cut at the borders of the assistant's turns before it is encoded: when the model samples, the header is
    encoded alone, and it must learn the ids that it will then see. Raises `ModelError` if the turns cannot be found."""
    text, guarded = _guarded_text(tokenizer, conversation, False)
    if START in text:
        pieces = _marked_pieces(text)
    else:
        pieces = _turn_pieces(tokenizer, conversation, text)
    tokens = Tokens([], [])
    for piece, learned in pieces:
        ids = _encode(tokenizer, piece, guarded, continued=bool(tokens.ids))
        tokens.ids.extend(ids)
        tokens.learn.extend(_learned(tokenizer, ids) if learned else [False] * len(ids))
    ids = _with_bos(tokenizer, tokens.ids)
    return Tokens(ids, [False] * (len(ids) - len(tokens.ids)) + tokens.learn)


def last_turns(tokens: Tokens, count: int = 1) -> Tokens:
    """The same ids, of which only the last `count` assistant turns are learned: earlier ones are context."""
    learn, turns = list(tokens.learn), 0
    for place in reversed(range(len(learn))):
        if tokens.learn[place] and not (place + 1 < len(learn) and tokens.learn[place + 1]):
            turns += 1
        learn[place] = tokens.learn[place] and turns <= count
    return Tokens(tokens.ids, learn, tokens.weight)


def _learned(tokenizer: Tokenizer, ids: list[int]) -> list[bool]:
    """All up to the last end-of-turn token; what the template writes after it (a newline) comes from nobody."""
    ends = [place for place, id in enumerate(ids) if id in tokenizer.stop_ids]
    last = ends[-1] if ends else len(ids) - 1
    return [place <= last for place in range(len(ids))]


def _marked_pieces(text: str) -> list[tuple[str, bool]]:
    """Text cut at the `{% generation %}` blocks of the template."""
    pieces: list[tuple[str, bool]] = []
    for part in text.split(START):
        if not pieces and not text.startswith(START):
            pieces.append((part, False))
            continue
        inside, _, after = part.partition(END)
        pieces += [(inside, True), (after, False)]
    return pieces


def _turn_pieces(tokenizer: Tokenizer, conversation: Conversation, text: str) -> list[tuple[str, bool]]:
    """Text cut where each assistant turn starts and ends, found by rendering the conversation up to there."""
    pieces, done = [], 0
    for number, message in enumerate(conversation):
        if message.role != "assistant":
            continue
        # Guarding depends on each message alone, so the prefixes are guarded as the whole is.
        before = _guarded_text(tokenizer, conversation[:number], True)[0]
        after = _guarded_text(tokenizer, conversation[: number + 1], False)[0]
        if not (text.startswith(before) and text.startswith(after) and done <= len(before) <= len(after)):
            raise ModelError(
                "the chat template marks no assistant turns, and rendering a part of the conversation does not give the "
                "start of the whole (not prefix-stable), so the assistant's tokens cannot be told apart",
                got=f"turn {number} of {len(conversation)}",
                fix="use a template with {% generation %} blocks, or train on single-turn conversations",
            )
        pieces += [(text[done : len(before)], False), (text[len(before) : len(after)], True)]
        done = len(after)
    return [*pieces, (text[done:], False)]


def _with_bos(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """Templates usually write BOS themselves; one that does not leaves it to the vocabulary."""
    if tokenizer.add_bos and tokenizer.bos is not None and ids[:1] != [tokenizer.bos]:
        return [tokenizer.bos, *ids]
    return ids


def _guarded_text(tokenizer: Tokenizer, conversation: Conversation, add_generation_prompt: bool) -> tuple[str, bool]:
    """The rendered text, in which every content that holds a control token stands between OPEN and CLOSE, and whether
    there is any such content."""
    if tokenizer.template is None:
        raise ModelError(
            "this model has no chat template",
            fix="use its instruction-tuned version, or give the tokenizer solon.text.template.DEFAULT_TEMPLATE",
        )
    messages = _plain(conversation)
    guarded = False
    for message in messages:
        for key, value in message.items():
            if not isinstance(value, str):
                continue
            if any(mark in value for mark in (START, END, OPEN, CLOSE)):
                raise DataError("a message holds a character that Solon keeps for itself (U+F5A00 to U+F5A03)")
            if not tokenizer.has_control(value):
                continue
            if key == "role":
                raise DataError("a role holds a control token", got=value)
            core = value.strip()  # templates often strip contents, so the space around stays outside
            message[key] = value.replace(core, OPEN + core + CLOSE, 1)
            guarded = True
    bos = tokenizer.token(tokenizer.bos) if tokenizer.bos is not None else ""
    if tokenizer.template == DEFAULT_TEMPLATE and not tokenizer.add_bos:
        bos = ""
    eos = tokenizer.token(tokenizer.eos) if tokenizer.eos is not None else ""
    text = _rendered(tokenizer.template, messages, add_generation_prompt, bos, eos)
    return text, guarded


def _encode(tokenizer: Tokenizer, text: str, guarded: bool, continued: bool = False) -> list[int]:
    """Encode in one go, or, where contents are guarded, piece by piece with the contents as plain text."""
    ids: list[int] = []
    inside = False
    for part in re.split(f"([{OPEN}{CLOSE}])", text) if guarded else [text]:
        if part in (OPEN, CLOSE):
            if inside == (part == OPEN):
                raise ModelError(
                    "the chat template takes contents apart, so the control tokens in them cannot be made harmless",
                    fix="take the control tokens out of the messages, or use another template",
                )
            inside = not inside
        elif part:
            ids += tokenizer.encode(part, special=not inside, continued=continued or bool(ids))
    return ids


def _plain(messages: Conversation | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        dict(message) if isinstance(message, Mapping) else {"role": message.role, "content": message.content}
        for message in messages
    ]


def _rendered(template: str, messages: list[dict[str, Any]], add_generation_prompt: bool, bos: str, eos: str) -> str:
    from jinja2.exceptions import TemplateError

    try:
        return _compiled(template).render(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            bos_token=bos,
            eos_token=eos,
        )
    except TemplateError as error:
        roles = " ".join(str(message.get("role")) for message in messages)
        raise DataError(f"the chat template refuses this conversation: {error}", got=f"roles: {roles}") from error


@lru_cache(maxsize=32)
def _compiled(template: str) -> Template:
    """The template in a sandbox, since it comes with the weights from somebody else."""
    from jinja2 import ext, nodes
    from jinja2.exceptions import TemplateError, TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(ext.Extension):
        """`{% generation %}` ... `{% endgeneration %}`: what the assistant wrote."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

        def _mark(self, caller: Any) -> str:
            return f"{START}{caller()}{END}"

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = _strftime_now
    try:
        return environment.from_string(template)
    except TemplateSyntaxError as error:
        raise ModelError("the chat template is not valid Jinja", got=f"line {error.lineno}: {error}") from error


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes for HTML, which is wrong in a prompt."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(format: str) -> str:
    from datetime import datetime

    return datetime.now().strftime(format)
