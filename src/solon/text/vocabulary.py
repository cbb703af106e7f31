"""How a `tokenizers` backend is built from what model files store: GGUF metadata, tokenizer.json, tokenizer.model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solon.core.errors import ModelError, nearest
from solon.text.tokenizer import END_OF_TURN

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Token types of GGUF and of SentencePiece, which agree."""

TURN_MARKS = frozenset(("<start_of_turn>", "<|start_of_turn|>", "<|im_start|>", "<|start_header_id|>", "<|turn>"))

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}"
QWEN2 = rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}|{_REST}"
PRE_TOKENIZERS = ("default", "gpt-2", "llama-bpe", "qwen2", "smollm")


def _is_control(token: str, type: int) -> bool:
    """Files differ in the type they give to turn marks; one that is not a control token would let users forge turns."""
    return type in (UNKNOWN, CONTROL) or (type == USER_DEFINED and token in END_OF_TURN | TURN_MARKS)


def _add_tokens(backend: Backend, tokens: Sequence[str], types: Sequence[int]) -> None:
    from tokenizers import AddedToken

    added = [
        AddedToken(token, normalized=False, special=_is_control(token, type))
        for token, type in zip(tokens, types, strict=True)
        if type in (UNKNOWN, CONTROL, USER_DEFINED) and token
    ]
    if added:
        backend.add_tokens(added)


def _split(pattern: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False)


def pre_tokenizer(kind: str) -> Any:
    """The splitting rules that llama.cpp knows by this name."""
    from tokenizers import pre_tokenizers as pre

    gpt2 = pre.ByteLevel(add_prefix_space=False, use_regex=True)
    plain = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    if kind == "smollm":
        return pre.Sequence([pre.Digits(individual_digits=True), gpt2])
    if kind == "gpt-2":
        return gpt2
    if kind == "llama-bpe":
        return pre.Sequence([_split(LLAMA3), plain])
    if kind == "qwen2":
        return pre.Sequence([_split(QWEN2), plain])
    if kind == "default":
        words = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
        return pre.Sequence(
            [_split(r"[\p{P}\$\+<=>\^~\|]+"), _split(words), _split(r"\p{N}+"), _split("[0-9][0-9][0-9]"), plain]
        )
    raise ModelError(
        "the vocabulary splits text by rules that Solon does not know",
        got=f"tokenizer.ggml.pre = {kind!r}",
        expected="one of " + ", ".join(PRE_TOKENIZERS),
        fix=f"use the model's Hugging Face folder, whose tokenizer.json holds the rules ({nearest(kind, PRE_TOKENIZERS)})",
    )


def byte_level(tokens: Sequence[str], types: Sequence[int], merges: Sequence[str], kind: str) -> Backend:
    """GPT-2's byte-level BPE. Merges are written `left right`, and neither side can hold a space."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers

    splitter = pre_tokenizer(kind)
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    vocab = {token: id for id, token in enumerate(tokens)}
    _check_unique(vocab, tokens)
    try:
        # Llama 3 takes a word that is itself a token whole, even if no chain of merges leads there.
        model = models.BPE(vocab=vocab, merges=pairs, ignore_merges=kind == "llama-bpe")
    except Exception as error:
        raise ModelError("the merges of the vocabulary do not fit its tokens", got=error) from error
    backend = Backend(model)
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.ByteLevel()
    if kind == "qwen2":
        # Qwen's own tokenizer composes characters first. llama.cpp leaves this out; the model was trained with it.
        backend.normalizer = normalizers.NFC()
    _add_tokens(backend, tokens, types)
    return backend


def sentence_pieces(
    tokens: Sequence[str], types: Sequence[int], scores: Sequence[float], space_prefix: bool
) -> Backend:
    """SentencePiece BPE: of all neighbours whose join is a token, the join with the best score goes first, the leftmost
    of equals. A merge list sorted by score does the same, because a join has the score of its result.

    The two differ only where different pairs share a score and overlap; the longer left part then goes first here."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers

    vocab = {token: id for id, token in enumerate(tokens)}
    _check_unique(vocab, tokens)
    joinable = {token for token, type in zip(tokens, types, strict=True) if type in (NORMAL, USER_DEFINED, UNUSED)}
    merges: list[tuple[float, int, int, str, str]] = []
    for id, token in enumerate(tokens):
        if token not in joinable:
            continue
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in joinable and right in joinable:
                merges.append((-scores[id], -len(left), id, left, right))
    merges.sort()
    unknown = next((token for token, type in zip(tokens, types, strict=True) if type == UNKNOWN), None)
    has_bytes = sum(type == BYTE for type in types) == 256
    model = models.BPE(
        vocab=vocab,
        merges=[(left, right) for *_, left, right in merges],
        unk_token=unknown,
        byte_fallback=has_bytes,
        fuse_unk=True,
    )
    backend = Backend(model)
    replace = normalizers.Replace(" ", "\u2581")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), replace]) if space_prefix else replace
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if space_prefix else steps)
    _add_tokens(backend, tokens, types)
    return backend


def without_prefix(backend: Backend) -> Backend:
    """A copy that puts no space in front of a text, whether its normalizer or its pre-tokenizer did."""
    from tokenizers import Tokenizer as Backend

    layout = json.loads(backend.to_str())

    def bare(part: Any) -> Any:
        if isinstance(part, list):
            return [bare(item) for item in part if item.get("type") != "Prepend"]
        if not isinstance(part, dict):
            return part
        part = {key: bare(value) if isinstance(value, list) else value for key, value in part.items()}
        return part | {"prepend_scheme": "never"} if part.get("type") == "Metaspace" else part

    for stage in ("normalizer", "pre_tokenizer"):
        part = layout.get(stage) or {}
        layout[stage] = None if part.get("type") in (None, "Prepend") else bare(part)
    return Backend.from_str(json.dumps(layout))


def _check_unique(vocab: Mapping[str, int], tokens: Sequence[str]) -> None:
    if len(vocab) != len(tokens):
        twice = next(token for id, token in enumerate(tokens) if vocab[token] != id)
        raise ModelError("the vocabulary holds one token twice", got=repr(twice), expected="each token once")


def gguf_parts(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Tokenizer` from GGUF metadata."""

    def field(name: str, default: Any = None) -> Any:
        return fields.get(f"tokenizer.ggml.{name}", default)

    kind, tokens = field("model"), field("tokens")
    if not kind or tokens is None:
        raise ModelError("the file holds no vocabulary", expected="tokenizer.ggml.model and tokenizer.ggml.tokens")
    given = field("token_type")
    types = [NORMAL] * len(tokens) if given is None else [int(type) for type in given]
    if len(types) != len(tokens):
        raise ModelError("the vocabulary is damaged", got=f"{len(types)} types", expected=f"{len(tokens)}, one a token")
    space_prefix, pre = False, str(field("pre", "default"))
    if kind == "gpt2":
        backend = byte_level(tokens, types, field("merges", []), pre)
    elif kind == "llama":
        scores = field("scores")
        if scores is None or len(scores) != len(tokens):
            raise ModelError("a SentencePiece vocabulary needs a score for each token", got="none or too few")
        space_prefix = bool(field("add_space_prefix", True))
        backend = sentence_pieces(tokens, types, [float(score) for score in scores], space_prefix)
    else:
        raise ModelError(
            "unknown kind of vocabulary", got=kind, expected="gpt2 (byte-level BPE) or llama (SentencePiece)"
        )
    add_bos = bool(field("add_bos_token", kind == "llama" or pre == "llama-bpe"))
    ends = [int(id) for name in ("eot", "eom") if (id := field(f"{name}_token_id")) is not None]
    bos, eos, pad = (field(f"{name}_token_id") for name in ("bos", "eos", "padding"))
    return {
        "backend": backend,
        "bos": bos,
        "eos": eos,
        "pad": pad,
        "stop_ids": ends,
        "template": fields.get("tokenizer.chat_template"),
        "add_bos": add_bos,
        "kind": "bytes" if kind == "gpt2" else "pieces",
        "space_prefix": space_prefix,
    }


def _json(path: Path) -> dict[str, Any]:
    """A JSON object, or an empty one if there is no such file."""
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{path.name} is not JSON", got=error, fix="fetch the file again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} does not hold a JSON object", got=type(value).__name__)
    return value


def folder_parts(folder: Path) -> dict[str, Any]:
    """The arguments of `Tokenizer` from a Hugging Face folder."""
    settings = _json(folder / "tokenizer_config.json")
    names = _json(folder / "special_tokens_map.json") | settings
    space_prefix = False
    if (folder / "tokenizer.json").exists():
        backend, kind, space_prefix = _from_tokenizer_json(folder / "tokenizer.json")
    elif (folder / "tokenizer.model").exists():
        backend, kind, space_prefix = _from_sentencepiece(folder / "tokenizer.model", settings)
    else:
        raise ModelError(f"no tokenizer in {folder}", expected="tokenizer.json or tokenizer.model")
    ids = {name: _id_of(backend, names.get(f"{name}_token")) for name in ("bos", "eos", "pad")}
    also = _json(folder / "generation_config.json").get("eos_token_id")
    stops = also if isinstance(also, list) else [] if also is None else [also]
    if ids["eos"] is None and stops:
        ids["eos"] = int(stops[0])
    leads = backend.encode("a", add_special_tokens=True).ids[:1] == [ids["bos"]]
    return {
        "backend": backend,
        **ids,
        "stop_ids": [int(id) for id in stops],
        "template": _folder_template(folder, settings),
        "add_bos": bool(leads or settings.get("add_bos_token", False)),
        "kind": kind,
        "space_prefix": space_prefix,
    }


def _id_of(backend: Backend, token: Any) -> int | None:
    """The id of a token that is written as text or as `{"content": text}`."""
    text = token.get("content") if isinstance(token, dict) else token
    return None if text is None else backend.token_to_id(text)


def _folder_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The file wins over the setting; a list of named templates means the one called `default`."""
    if (folder / "chat_template.jinja").exists():
        return (folder / "chat_template.jinja").read_text("utf-8")
    template = settings.get("chat_template") or _json(folder / "chat_template.json").get("chat_template")
    if isinstance(template, list):
        return next((item["template"] for item in template if item.get("name") == "default"), None)
    return template


def _from_tokenizer_json(path: Path) -> tuple[Backend, str, bool]:
    from tokenizers import Tokenizer as Backend

    layout = _json(path)
    loose = [
        token
        for token in layout.get("added_tokens") or []
        if not token.get("special") and token.get("content") in END_OF_TURN | TURN_MARKS
    ]
    for token in loose:
        token["special"] = True
    try:
        backend = Backend.from_str(json.dumps(layout)) if loose else Backend.from_file(str(path))
    except Exception as error:  # the library raises bare Exception for whatever it cannot read
        raise ModelError("tokenizer.json cannot be used", got=error, fix="fetch the file again") from error
    backend.no_padding()
    backend.no_truncation()
    decoder = json.dumps(layout.get("decoder"))
    kind = "bytes" if '"ByteLevel"' in decoder else "pieces" if '"ByteFallback"' in decoder else "other"
    return backend, kind, kind == "pieces" and '"Strip"' in decoder


def _from_sentencepiece(path: Path, settings: Mapping[str, Any]) -> tuple[Backend, str, bool]:
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:
        raise ModelError("tokenizer.model cannot be read", got=error, fix="fetch the file again") from error
    if model.trainer_spec.model_type != model.trainer_spec.BPE:
        raise ModelError("tokenizer.model is not of the BPE kind", got=model.trainer_spec.model_type, expected="BPE")
    if model.normalizer_spec.precompiled_charsmap or model.normalizer_spec.remove_extra_whitespaces:
        raise ModelError(
            "tokenizer.model rewrites characters or spaces before it splits them, which Solon does not do",
            got=model.normalizer_spec.name,
            fix="use a folder with tokenizer.json",
        )
    tokens, types = [piece.piece for piece in model.pieces], [piece.type for piece in model.pieces]
    scores = [piece.score for piece in model.pieces]
    for id, token in sorted((int(id), token) for id, token in settings.get("added_tokens_decoder", {}).items()):
        type = CONTROL if token.get("special") else USER_DEFINED
        if id == len(tokens):
            tokens, types, scores = [*tokens, token["content"]], [*types, type], [*scores, -1000.0]
        elif id < len(tokens) and types[id] == NORMAL:
            types[id] = type
    prefix = bool(model.normalizer_spec.add_dummy_prefix)
    return sentence_pieces(tokens, types, scores, prefix), "pieces", prefix
