"""Text to token ids and back, the same for a Hugging Face folder and for the vocabulary inside a GGUF file."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solon.core.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

END_OF_TURN = frozenset(
    (
        "<|im_end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end|>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<end_of_turn>",
        "<|end_of_turn|>",
        "<turn|>",
        "<EOT>",
        "<|return|>",
        "<|END_OF_TURN_TOKEN|>",
        "<｜end▁of▁sentence｜>",
    )
)
"""Tokens that end a turn or a document wherever they are control tokens; llama.cpp goes by the same names."""


def _byte_of_character() -> dict[str, int]:
    """The inverse of GPT-2's table from byte to printable character."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in printable}
    hidden = (byte for byte in range(256) if byte not in set(printable))
    return table | {chr(256 + place): byte for place, byte in enumerate(hidden)}


BYTE_OF_CHARACTER = _byte_of_character()


class Tokenizer:
    """A vocabulary and its rules. Not to be changed once made; safe to use from several threads.

    `kind` says how a token's text stands for bytes: "bytes" (GPT-2's byte characters), "pieces" (SentencePiece: a
    low line for a space and `<0x0A>` for a byte), or "other" (the backend's own decoder).
    """

    def __init__(
        self,
        backend: Backend,
        *,
        bos: int | None = None,
        eos: int | None = None,
        pad: int | None = None,
        stop_ids: Iterable[int] = (),
        template: str | None = None,
        add_bos: bool = False,
        kind: str = "other",
        space_prefix: bool = False,
    ):
        self._backend = backend
        self.bos, self.eos, self.pad = bos, eos, pad
        self.template = template
        self.add_bos = add_bos and bos is not None
        self._kind, self._space_prefix = kind, space_prefix
        added = backend.get_added_tokens_decoder()
        self._added = {id: token.content for id, token in added.items()}
        self.control_ids = frozenset(id for id, token in added.items() if token.special)
        ends = {id for id in self.control_ids if self._added[id] in END_OF_TURN}
        self.stop_ids: frozenset[int] = frozenset({*ends, *stop_ids, *(() if eos is None else (eos,))})
        known = backend.get_vocab(with_added_tokens=True)
        self.vocab_size = max(known.values(), default=-1) + 1
        names = sorted((self._added[id] for id in self.control_ids), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, names))) if names else None

    @classmethod
    def from_folder(cls, path: str | Path) -> Tokenizer:
        """Read a Hugging Face folder (`tokenizer.json`, or a SentencePiece `tokenizer.model`). Raises `ModelError`."""
        from solon.text.vocabulary import folder_parts

        return cls(**folder_parts(Path(path)))

    @classmethod
    def from_gguf(cls, fields: Mapping[str, Any]) -> Tokenizer:
        """Build from the metadata of a GGUF file. An unknown pre-tokenizer is refused with `ModelError`."""
        from solon.text.vocabulary import gguf_parts

        return cls(**gguf_parts(fields))

    def encode(self, text: str, special: bool = True, continued: bool = False) -> list[int]:
        """Token ids of a text. With `special=False` control tokens in it are plain text. BOS is never added.

        `continued` says that the text goes on from an earlier one, so that no SentencePiece space is put before it."""
        if continued and self._space_prefix and text:
            return self._encode_continued(text, special)
        backend = self._backend if special or not self.has_control(text) else self._plain
        return backend.encode(text, add_special_tokens=False).ids

    def _encode_continued(self, text: str, special: bool) -> list[int]:
        found = self._control.search(text) if special and self._control else None
        cut = found.start() if found else len(text)
        first = self._unprefixed.encode(text[:cut], add_special_tokens=False).ids if cut else []
        return first + (self.encode(text[cut:]) if cut < len(text) else [])

    def decode(self, ids: Sequence[int], skip_special: bool = False) -> str:
        """The text of token ids; bytes that are not UTF-8 become U+FFFD."""
        if self._kind == "other":
            return self._backend.decode(list(ids), skip_special_tokens=skip_special)
        stream = StreamDecoder(self, skip_special)
        return "".join([*map(stream.push, ids), stream.finish()])

    def has_control(self, text: str) -> bool:
        """Whether `encode(text)` would find a control token."""
        if self._control is None:
            return False
        if self._control.search(text):
            return True
        normalizer = self._backend.normalizer
        return normalizer is not None and self._control.search(normalizer.normalize_str(text)) is not None

    def token_bytes(self, id: int) -> bytes:
        """The bytes that one token stands for."""
        if id in self._added:
            return self._added[id].encode()
        token = self._backend.id_to_token(id)
        if token is None:
            return b""
        if self._kind == "bytes":
            if all(character in BYTE_OF_CHARACTER for character in token):
                return bytes(BYTE_OF_CHARACTER[character] for character in token)
            return token.encode()
        if len(token) == 6 and re.fullmatch(r"<0x[0-9A-F]{2}>", token):
            return bytes([int(token[3:5], 16)])
        return token.replace("\u2581", " ").encode()

    def token(self, id: int) -> str:
        """The text of one token as the vocabulary writes it. Raises `ModelError` outside the vocabulary."""
        text = self._backend.id_to_token(id)
        if text is None:
            raise ModelError("no such token", got=id, expected=f"an id from 0 to {self.vocab_size - 1}")
        return text

    def id_of(self, token: str) -> int | None:
        """The id of a token as the vocabulary writes it, or None."""
        return self._backend.token_to_id(token)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the vocabulary and the chat template."""
        vocabulary = sorted((id, token) for token, id in self._backend.get_vocab(with_added_tokens=True).items())
        sha = hashlib.sha256("\n".join(f"{id} {token}" for id, token in vocabulary).encode())
        sha.update(b"\0" + (self.template or "").encode())
        return sha.hexdigest()

    @property
    def layout(self) -> dict[str, Any]:
        """All rules as `tokenizer.json` writes them."""
        return json.loads(self._backend.to_str())

    @cached_property
    def _plain(self) -> Backend:
        """The same rules blind to control tokens. A second copy, because the switch would be shared by threads."""
        from tokenizers import Tokenizer as Backend

        blind = Backend.from_str(self._backend.to_str())
        blind.encode_special_tokens = True
        return blind

    @cached_property
    def _unprefixed(self) -> Backend:
        """The same rules without the space that SentencePiece puts in front, and blind to control tokens."""
        from solon.text.vocabulary import without_prefix

        bare = without_prefix(self._backend)
        bare.encode_special_tokens = True
        return bare

    def with_template(self, template: str | None) -> Tokenizer:
        """The same vocabulary with another chat template, such as `solon.text.template.DEFAULT_TEMPLATE`."""
        other = copy(self)
        other.template = template
        other.__dict__.pop("digest", None)
        return other

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja` as Hugging Face has them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._backend.save(str(folder / "tokenizer.json"))
        settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": self.add_bos}
        for name, id in (("bos", self.bos), ("eos", self.eos), ("pad", self.pad)):
            settings[f"{name}_token"] = None if id is None else self.token(id)
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
        if self.template is not None:
            (folder / "chat_template.jinja").write_text(self.template, "utf-8")

    def __repr__(self) -> str:
        return f"Tokenizer({self.vocab_size} tokens, {self._kind}, eos={self.eos}, digest={self.digest[:12]})"


class StreamDecoder:
    """Turns token ids into text one at a time; the bytes of an unfinished character wait for the next id."""

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = False):
        self._tokenizer, self._skip = tokenizer, skip_special
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._strip = tokenizer._space_prefix
        self._ids: list[int] = []
        self._text = ""

    def push(self, id: int) -> str:
        """The text that became complete with this token; often empty in the middle of a character."""
        if self._tokenizer._kind == "other":
            return self._redecoded(id)
        if self._skip and id in self._tokenizer.control_ids:
            return ""
        text = self._utf8.decode(self._tokenizer.token_bytes(id))
        if self._strip and text:
            # SentencePiece put this space in front of the text, so it is not part of it.
            text, self._strip = text.removeprefix(" "), False
        return text

    def finish(self) -> str:
        """What was still held back: U+FFFD for an unfinished character."""
        if self._tokenizer._kind == "other":
            whole = self._tokenizer.decode(self._ids, self._skip)
            rest, self._text = whole[len(self._text) :], whole
            return rest
        return self._utf8.decode(b"", final=True)

    def _redecoded(self, id: int) -> str:
        """For decoders whose tokens have no bytes of their own: decode all again and give what is new."""
        self._ids.append(id)
        whole = self._tokenizer.decode(self._ids, self._skip)
        if whole.endswith("\ufffd") or not whole.startswith(self._text):
            return ""
        fresh, self._text = whole[len(self._text) :], whole
        return fresh
