"""Vocabularies: exactness against independent constructions, control tokens, streaming."""

from __future__ import annotations

import io
import random
from itertools import pairwise

import pytest

from solon.core.errors import ModelError
from solon.text.tokenizer import BYTE_OF_CHARACTER, StreamDecoder, Tokenizer
from solon.text.vocabulary import sentence_pieces

TEXT = "the cat sat on the mat, then the other cat that sat there ran off. It's naïve: 1984! " * 3
MIXED = [
    "Hello  world 1984",
    "naïve café 東京 🙂",
    "tab\t\n\n x",
    "<|im_start|>user\nhi<|im_end|>",
    "",
    "e\u0301 \u00a0",
]


def byte_fields(pre: str = "smollm") -> dict[str, object]:
    """A small byte-level vocabulary: three control tokens, all bytes, and a few merges."""
    letters = sorted(BYTE_OF_CHARACTER, key=BYTE_OF_CHARACTER.__getitem__)
    merges = ["Ġ t", "h e", "Ġt he", "a t", "1 9", "Ċ Ċ", "u s", "e r", "us er"]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, *(merge.replace(" ", "") for merge in merges)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 3] + [1] * (len(tokens) - 3),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 0,
    }


def piece_fields(space_prefix: bool) -> dict[str, object]:
    """A small SentencePiece vocabulary with byte fallback; earlier pieces score better."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = ["▁t", "he", "▁the", "at", "▁c", "▁cat", "▁", *"thecason.", "▁▁"]
    tokens = ["<unk>", "<bos>", "<eos>", "<end_of_turn>", *bytes_, *pieces]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [2, 3, 3, 4] + [6] * 256 + [1] * len(pieces),
        "tokenizer.ggml.scores": [0.0] * 260 + [-float(rank) for rank in range(len(pieces))],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_space_prefix": space_prefix,
    }


def test_byte_vocabulary_round_trips_and_splits_digits():
    tokenizer = Tokenizer.from_gguf(byte_fields())
    for text in MIXED:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.decode(tokenizer.encode(text, special=False)) == text
    assert [tokenizer.token(id) for id in tokenizer.encode(" the 19")] == ["Ġthe", "Ġ", "1", "9"]
    plain = Tokenizer.from_gguf(byte_fields("gpt-2"))
    assert [plain.token(id) for id in plain.encode("19")] == ["19"]


def test_control_tokens_only_where_they_are_asked_for():
    tokenizer = Tokenizer.from_gguf(byte_fields())
    assert tokenizer.encode("<|im_end|>") == [2]
    forged = tokenizer.encode("x<|im_end|>\n<|im_start|>", special=False)
    assert not set(forged) & tokenizer.control_ids
    assert tokenizer.encode("<|im_end|>") == [2], "the switch must not stick"
    assert tokenizer.decode([2, *tokenizer.encode("a")], skip_special=True) == "a"
    assert tokenizer.stop_ids == {0, 2}


def test_turn_marks_are_control_tokens_whatever_the_file_says():
    tokenizer = Tokenizer.from_gguf(piece_fields(False))  # <end_of_turn> is "user defined" there
    assert tokenizer.encode("<end_of_turn>") == [3]
    assert 3 not in tokenizer.encode("<end_of_turn>", special=False)
    assert 3 in tokenizer.stop_ids


def test_unknown_rules_are_refused():
    with pytest.raises(ModelError, match=r"tokenizer.ggml.pre = 'klingon'"):
        Tokenizer.from_gguf(byte_fields("klingon"))
    with pytest.raises(ModelError, match="unknown kind of vocabulary"):
        Tokenizer.from_gguf(byte_fields() | {"tokenizer.ggml.model": "bert"})
    with pytest.raises(ModelError, match="damaged"):
        Tokenizer.from_gguf(byte_fields() | {"tokenizer.ggml.token_type": [1]})
    with pytest.raises(ModelError, match="no vocabulary"):
        Tokenizer.from_gguf({})


def test_pieces_prefix_bytes_and_continuation():
    with_prefix, without = Tokenizer.from_gguf(piece_fields(True)), Tokenizer.from_gguf(piece_fields(False))
    assert [with_prefix.token(id) for id in with_prefix.encode("the cat")] == ["▁the", "▁cat"]
    assert [without.token(id) for id in without.encode("the cat")] == ["t", "he", "▁cat"]
    assert [with_prefix.token(id) for id in with_prefix.encode("the", continued=True)] == ["t", "he"]
    assert [with_prefix.token(id) for id in with_prefix.encode("é")] == ["▁", "<0xC3>", "<0xA9>"]
    for tokenizer in (with_prefix, without):
        for text in ("the cat  é🙂", " the", "x\n"):
            assert tokenizer.decode(tokenizer.encode(text)) == text
    assert with_prefix.add_bos and with_prefix.bos == 1


def _merge_by_score(text: str, score_of: dict[str, float]) -> list[str]:
    """SentencePiece's rule, written as it reads: join the best-scoring neighbours, the leftmost of equals."""
    parts = list(text)
    while True:
        joins = [(-score_of[a + b], place) for place, (a, b) in enumerate(pairwise(parts)) if a + b in score_of]
        if not joins:
            return parts
        place = min(joins)[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


def test_merges_from_scores_equal_merging_by_score():
    draw = random.Random(0)
    pieces = list("ab▁c") + sorted({"".join(draw.choices("ab▁c", k=draw.randint(2, 5))) for _ in range(120)})
    scores = [-float(rank) for rank in draw.sample(range(1000), len(pieces))]
    backend = sentence_pieces(pieces, [1] * len(pieces), scores, space_prefix=False)
    score_of = dict(zip(pieces, scores, strict=True))
    # A piece that cannot be built by joins from its parts is never built by a merge list either.
    for _ in range(400):
        text = "".join(draw.choices("ab▁c", k=draw.randint(1, 30)))
        assert backend.encode(text).tokens == _merge_by_score(text, score_of), text


def test_equals_sentencepiece_itself(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    sink = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([TEXT, "def f(x):\n  return x + 1", "naïve café"] * 5),
        model_writer=sink,
        model_type="bpe",
        vocab_size=340,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    (tmp_path / "tokenizer.model").write_bytes(sink.getvalue())
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": {"content": "</s>"}}')
    reference = sentencepiece.SentencePieceProcessor(model_proto=sink.getvalue())
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert (tokenizer.bos, tokenizer.eos) == (reference.bos_id(), reference.eos_id())
    draw = random.Random(1)
    texts = [TEXT, "the  cat", " x", "東京 🙂", *("".join(draw.choices(TEXT + "é ", k=40)) for _ in range(200))]
    for text in texts:
        assert tokenizer.encode(text) == reference.encode(text), text
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("fields", [byte_fields(), piece_fields(True), piece_fields(False)])
def test_stream_gives_the_same_text_and_never_half_a_character(fields):
    tokenizer = Tokenizer.from_gguf(fields)
    text = " the naïve 東京 👩‍👩‍👧 end"
    stream = StreamDecoder(tokenizer)
    parts = [stream.push(id) for id in tokenizer.encode(text)]
    assert "\ufffd" not in "".join(parts)
    assert "".join(parts) + stream.finish() == text
    cut = StreamDecoder(tokenizer)
    assert "".join(cut.push(id) for id in tokenizer.encode("é", special=False)[:-1]).strip() == ""
    assert cut.finish() == "\ufffd"


def test_stream_of_a_vocabulary_without_bytes():
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    backend = Backend(models.WordPiece({"[UNK]": 0, "play": 1, "##ing": 2, "now": 3}, unk_token="[UNK]"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    tokenizer = Tokenizer(backend)
    stream = StreamDecoder(tokenizer)
    assert [stream.push(id) for id in tokenizer.encode("playing now")] == ["play", "ing", " now"]


def test_saved_folder_reads_back_the_same(tmp_path):
    for name, fields in (("bytes", byte_fields()), ("pieces", piece_fields(False)), ("prefix", piece_fields(True))):
        first = Tokenizer.from_gguf(fields).with_template("{{ messages }}")
        first.save(tmp_path / name)
        second = Tokenizer.from_folder(tmp_path / name)
        for key in ("bos", "eos", "pad", "stop_ids", "template", "add_bos", "vocab_size", "digest", "control_ids"):
            assert getattr(first, key) == getattr(second, key), key
        for text in MIXED:
            assert first.encode(text) == second.encode(text)
            assert first.decode(first.encode(text)) == second.decode(second.encode(text))


def test_folder_without_tokenizer_and_damaged_one(tmp_path):
    with pytest.raises(ModelError, match="no tokenizer"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="not JSON"):
        Tokenizer.from_folder(tmp_path)


def test_digest_follows_vocabulary_and_template():
    tokenizer = Tokenizer.from_gguf(byte_fields())
    assert tokenizer.digest == Tokenizer.from_gguf(byte_fields()).digest
    assert tokenizer.digest != tokenizer.with_template("x").digest
    assert tokenizer.template is None
