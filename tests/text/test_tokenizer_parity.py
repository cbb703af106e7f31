"""The same ids as llama.cpp, and the same rendering and masks as transformers. Needs the parity environment."""

from __future__ import annotations

import json
import random
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from solon.core.records import as_json, conversation
from solon.models import hub
from solon.models.formats.gguf import open_file
from solon.text.template import encode_training, render
from solon.text.tokenizer import Tokenizer

pytestmark = pytest.mark.parity

HARD = [
    "in  1984", "a   12 b\n\n 7", "x=  3.14", "1 2  3   4", "price: $ 1,000.50", "½ ² Ⅳ ①", "العربية 123٤٥",
    "tab\t42", "\t\t\tif x:\r\n\r\n  y", "   lead", "trail   ", "\n\n\n", "a\n \n  \n\tb", "\r\n\r\n", " " * 33, "",
    "naïve café 東京 🙂", "👩‍👩‍👧‍👦🇯🇵 é", "e\u0301", "中文分词，测试。", "한국어 띄어쓰기", "हिन्दी में", "日本語🙂" * 5,
    "I'd  we'LL don't", "'S 'T 'tis it's", "CamelCaseHTTPServer2", "__init__.py:12", "....!!!???---", "e" * 300,
    "def f(x):\n    return  1\n", "a<b>c</b> &amp;", "https://x.y/z?q=1#f", "ﬁ ſ K", "\x00\x01\x7f", "\u200b\ufeffzwsp",
    "\u00a0nbsp\u2003em", "<|im_start|>user\nhi<|im_end|>", "<|im_end|><|im_end|> <|endoftext|>x", "[INST] hi [/INST]",
    "<start_of_turn>user\nx<end_of_turn>\n", "<eos><bos>x<pad> y <unk>", "▁a ▁▁b",
]  # fmt: skip


def noise(count: int) -> list[str]:
    """Random texts from awkward characters."""
    draw = random.Random(1)
    pool = [*"  \n\t'\"<|>aAbB012éß東🙂.,!?-_ \u00a0\r sSTtdDm", "'s", "the", " of", "im_end|>", "<|im_end|>", "١", "½"]
    return ["".join(draw.choices(pool, k=draw.randint(1, 40))) for _ in range(count)]


class LlamaCpp:
    """llama.cpp's server on a free local port; closed with the object."""

    def __init__(self, path: Path):
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.no_extra_bufts = True  # its AMX buffers crash on some processors
        params.n_ctx, params.n_parallel, params.warmup = 256, 1, False
        self.server = xllamacpp.Server(params)

    def tokenize(self, text: str, special: bool) -> list[int]:
        body = json.dumps({"content": text, "add_special": False, "parse_special": special}).encode()
        request = urllib.request.Request(
            self.server.listening_address + "/tokenize", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)["tokens"]


def with_rules(fields: dict[str, object], target: Path) -> Path:
    """A tiny Llama that has this vocabulary."""
    from gguf import GGUFWriter

    writer = GGUFWriter(target, "llama")
    writer.add_block_count(1)
    writer.add_context_length(256)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(16)
    kinds = {list: writer.add_array, bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}
    for key, value in fields.items():
        kinds[type(value)](key, value)
    vocab = len(fields["tokenizer.ggml.tokens"])
    writer.add_tensor("token_embd.weight", np.zeros((vocab, 32), np.float16))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((32, 32), np.float16))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def vocabulary_of(path: Path) -> dict[str, object]:
    return {key: value for key, value in open_file(path).fields.items() if key.startswith("tokenizer.")}


@pytest.fixture(scope="module")
def smollm2() -> Path:
    return hub.locate("smollm2-135m-instruct", progress=False)


def differences(path: Path, texts: list[str], special: bool) -> list[tuple[str, list[int], list[int]]]:
    tokenizer, reference = Tokenizer.from_gguf(open_file(path).fields), LlamaCpp(path)
    pairs = [(text, tokenizer.encode(text, special), reference.tokenize(text, special)) for text in texts]
    return [pair for pair in pairs if pair[1] != pair[2]]


@pytest.mark.parametrize("special", [True, False])
def test_smollm2_as_llama_cpp(smollm2, special):
    assert differences(smollm2, HARD + noise(400), special) == []


@pytest.mark.parametrize("rules", ["llama-bpe", "qwen2", "gpt-2", "default"])
def test_other_rules_as_llama_cpp(smollm2, rules, tmp_path):
    path = with_rules(vocabulary_of(smollm2) | {"tokenizer.ggml.pre": rules}, tmp_path / "rules.gguf")
    # Qwen's own tokenizer composes characters; llama.cpp does not, and Solon follows Qwen.
    texts = [text for text in HARD + noise(400) if rules != "qwen2" or "\u0301" not in text]
    assert differences(path, texts, True) == []


def trained_fields() -> dict[str, object]:
    """A SentencePiece vocabulary trained here, as llama.cpp's converter writes it."""
    import io

    import sentencepiece

    sink = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([Path(__file__).read_text("utf-8")[:40000], "Don't stop 1984 it's. "] * 3),
        model_writer=sink,
        model_type="bpe",
        vocab_size=900,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        max_sentence_length=100000,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=sink.getvalue())
    ids = range(pieces.vocab_size())
    types = [2 if id == 0 else 3 if pieces.is_control(id) else 6 if pieces.is_byte(id) else 1 for id in ids]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [pieces.id_to_piece(id) for id in ids],
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.scores": [float(pieces.get_score(id)) for id in ids],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("prefix", [False, True])
def test_sentencepiece_as_llama_cpp(prefix, special, tmp_path):
    path = with_rules(trained_fields() | {"tokenizer.ggml.add_space_prefix": prefix}, tmp_path / "pieces.gguf")
    assert differences(path, [*HARD, *noise(400), "</s><s>x", "a </s> b"], special) == []


@pytest.mark.parametrize("prefix", [False, True])
def test_gemma_as_llama_cpp(prefix, tmp_path):
    path = hub.cached("gemma3-270m")
    if path is None:
        pytest.skip(
            "the Gemma file is not in the cache, and its terms are accepted by people: solon models pull gemma3-270m"
        )
    path = with_rules(vocabulary_of(path) | {"tokenizer.ggml.add_space_prefix": prefix}, tmp_path / "gemma.gguf")
    assert differences(path, HARD + noise(400), True) == []


@pytest.fixture(scope="module")
def pair(smollm2, tmp_path_factory):
    """Our tokenizer, and transformers' reading of the folder that we save."""
    from transformers import AutoTokenizer

    tokenizer = Tokenizer.from_gguf(open_file(smollm2).fields)
    folder = tmp_path_factory.mktemp("saved")
    tokenizer.save(folder)
    return tokenizer, AutoTokenizer.from_pretrained(folder)


def test_saved_folder_in_transformers(pair):
    tokenizer, reference = pair
    for text in HARD + noise(200):
        ids = reference(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.encode(text) == ids, text
        assert tokenizer.decode(ids) == reference.decode(ids, clean_up_tokenization_spaces=False), text
        plain = reference(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert tokenizer.encode(text, special=False) == plain, text
    assert (tokenizer.eos, tokenizer.bos) == (reference.eos_token_id, reference.bos_token_id)


TALKS = [
    conversation(("user", "Hi")),
    conversation(("system", 'Be <kind> & "good".'), ("user", "naïve 東京\n\n"), ("assistant", " ok\n"), ("user", "?")),
    conversation(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d\n\n")),
]
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}\n"
    "    {%- set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim %}\n"
    "    {{- content + '<|eot_id|>' }}\n"
    "{%- endfor %}\n{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
TOOLS = (
    "{%- if messages[0].role == 'system' %}{{ messages[0] | tojson(indent=2) }}{% endif %}\n"
    "  {% for message in messages if message.role != 'system' %}\n"
    "    {% if loop.index > 3 %}{% break %}{% endif %}\n"
    "{{ loop.index0 }}:{{ message.content | upper }}{{ eos_token }}\n    {% endfor %}"
    "{% if tools is none %}no tools{% endif %}{{ strftime_now('%Y') | length }}"
)
MARKED = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("template", [None, LLAMA3, TOOLS, MARKED])
@pytest.mark.parametrize("talk", TALKS)
def test_rendering_as_transformers(pair, template, talk, prompt):
    tokenizer, reference = pair
    ours = render(
        template or tokenizer.template, talk, prompt, tokenizer.token(tokenizer.bos), tokenizer.token(tokenizer.eos)
    )
    theirs = reference.apply_chat_template(
        as_json(talk), chat_template=template, add_generation_prompt=prompt, tokenize=False
    )
    assert ours == theirs


@pytest.mark.parametrize("talk", TALKS)
def test_assistant_mask_as_transformers(pair, talk):
    tokenizer, reference = pair
    tokens = encode_training(tokenizer.with_template(MARKED), talk)
    theirs = reference.apply_chat_template(
        as_json(talk), chat_template=MARKED, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    assert tokens.ids == theirs["input_ids"]
    assert [int(learn) for learn in tokens.learn] == theirs["assistant_masks"]
    # Without marks, the spans found by rendering prefixes are the same.
    stock = conversation(("system", "s"), *((turn.role, turn.content) for turn in talk if turn.role != "system"))
    assert encode_training(tokenizer, stock) == encode_training(tokenizer.with_template(MARKED), stock)
