"""A tokenizer as GGUF metadata: the inverse of `solon.text.vocabulary.gguf_parts`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from solon.core.errors import ModelError
from solon.text.template import DEFAULT_TEMPLATE
from solon.text.tokenizer import END_OF_TURN, Tokenizer
from solon.text.vocabulary import BYTE, CONTROL, NORMAL, PRE_TOKENIZERS, UNKNOWN, UNUSED, USER_DEFINED, pre_tokenizer

PROBE = (
    "Hello, WORLD's it's IT'S we'll  two   spaces\n\n\tTab 1 12 123 1234567 3.14 a1b2 x_y (z) [w] <tag> $5+5=10 ^~|` "
    "naïve Ünïcode 你好，世界 ١٢٣ привет 🤗🤗 don't\r\n  end\n"
)
"""A text that the known rules of splitting cut in different ways."""


def template_of(tokenizer: Tokenizer) -> str | None:
    """The chat template as other programs have to have it: Solon's plain one leaves BOS out where the vocabulary does
    not want it, which Solon decides by looking at the tokenizer and others cannot."""
    template = tokenizer.template
    if template == DEFAULT_TEMPLATE and not tokenizer.add_bos:
        return DEFAULT_TEMPLATE.removeprefix("{{ bos_token }}")
    return template


def vocabulary(tokenizer: Tokenizer, rows: int) -> dict[str, Any]:
    """The fields `tokenizer.*` for an embedding of this many rows. Raises `ModelError` for rules that GGUF cannot name."""
    layout = tokenizer.layout
    model, decoder = layout["model"], json.dumps(layout.get("decoder"))
    pieces = '"ByteFallback"' in decoder
    if model["type"] != "BPE" or not (pieces or '"ByteLevel"' in decoder):
        raise ModelError(
            "GGUF has no form for this tokenizer", got=f"{model['type']} with its own decoder",
            expected="byte-level BPE or SentencePiece BPE", fix="use --to hf, or --to gguf-lora for an adapter",
        )  # fmt: skip
    tokens, types = _table(layout, pieces, rows)
    merges = [(left, right) for left, right in (m.split(" ") if isinstance(m, str) else m for m in model["merges"])]
    fields: dict[str, Any] = {"model": "llama" if pieces else "gpt2", "tokens": tokens, "token_type": types}
    if pieces:
        fields |= {"pre": "default", "scores": scores(tokens, merges), "add_space_prefix": '"Strip"' in decoder}
    else:
        fields |= {"pre": _rules(layout, model), "merges": [f"{left} {right}" for left, right in merges]}
    # llama.cpp knows most ends of a turn by name, as Solon does; only the others have to be said.
    by_name = {id for id in tokenizer.control_ids if tokenizer.token(id) in END_OF_TURN}
    ends = sorted(tokenizer.stop_ids - by_name - {tokenizer.eos})
    named = {"bos": tokenizer.bos, "eos": tokenizer.eos, "padding": tokenizer.pad, "unknown": _unknown(model, tokens)}
    named |= dict(zip(("eot", "eom"), ends, strict=False))
    fields |= {f"{name}_token_id": id for name, id in named.items() if id is not None}
    fields["add_bos_token"] = tokenizer.add_bos
    out = {f"tokenizer.ggml.{name}": value for name, value in fields.items()}
    template = template_of(tokenizer)
    return out if template is None else out | {"tokenizer.chat_template": template}


def _unknown(model: Mapping[str, Any], tokens: Sequence[str]) -> int | None:
    return tokens.index(model["unk_token"]) if model.get("unk_token") in tokens else None


def _table(layout: Mapping[str, Any], pieces: bool, rows: int) -> tuple[list[str], list[int]]:
    """Token and type of every row; rows without a token get one that no text can hold, as llama.cpp's converter does."""
    known = {id: (token, NORMAL) for token, id in layout["model"]["vocab"].items()}
    if pieces:
        byte = re.compile(r"<0x[0-9A-F]{2}>")
        known = {id: (token, BYTE if byte.fullmatch(token) else type) for id, (token, type) in known.items()}
    for token in layout["added_tokens"]:
        known[token["id"]] = (token["content"], CONTROL if token["special"] else USER_DEFINED)
    unknown = layout["model"].get("unk_token")
    known = {id: (token, UNKNOWN if token == unknown else type) for id, (token, type) in known.items()}
    if max(known) >= rows:
        raise ModelError("the tokenizer has more tokens than the model has rows", got=max(known) + 1, expected=f"at most {rows}")
    table = [known.get(id, (f"[PAD{id}]", UNUSED)) for id in range(rows)]
    return [token for token, _ in table], [type for _, type in table]


def scores(tokens: Sequence[str], merges: Sequence[tuple[str, str]]) -> list[float]:
    """A score for each token, from which the same list of merges follows.

    SentencePiece gives scores to tokens, a list of merges gives ranks to pairs. The first merge that makes a token ranks
    it; tokens whose merges are entangled in the list had equal scores, and get equal ones. What no merge makes comes last.
    """
    spans: dict[str, list[int]] = {}
    for rank, (left, right) in enumerate(merges):
        spans.setdefault(left + right, [rank, rank])[1] = rank
    score: dict[str, float] = {}
    group, end = 0, -1
    for token, (first, last) in sorted(spans.items(), key=lambda item: item[1][0]):
        group += first > end
        end = max(end, last)
        score[token] = -float(group)
    return [score.get(token, -float(group + 1)) for token in tokens]


def _rules(layout: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """Which of llama.cpp's rules split text as this tokenizer does, judged by what they do to a text."""
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_str(json.dumps({**layout, "added_tokens": [], "post_processor": None}))
    normalizer = (layout.get("normalizer") or {}).get("type")
    splitter = backend.pre_tokenizer
    got = splitter.pre_tokenize_str(PROBE) if splitter is not None else None
    for kind in sorted(PRE_TOKENIZERS, key="default".__eq__):
        same = got is not None and [one for one, _ in got] == [one for one, _ in pre_tokenizer(kind).pre_tokenize_str(PROBE)]
        if same and normalizer == ("NFC" if kind == "qwen2" else None) and bool(model.get("ignore_merges")) == (kind == "llama-bpe"):
            return kind
    raise ModelError(
        "llama.cpp has no name for the rules by which this tokenizer splits text", got=f"normalizer {normalizer}",
        expected="those of " + ", ".join(PRE_TOKENIZERS), fix="use --to hf",
    )  # fmt: skip
